package main

import (
	"io"

	"packetboat/cmd/mailadm/doveconf"
)

// runDoveconf is doveconf(1).
func runDoveconf(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	return doveconf.Run(args, stdout, stderr)
}
