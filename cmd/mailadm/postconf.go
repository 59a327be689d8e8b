package main

import (
	"io"

	"packetboat/cmd/mailadm/postconf"
)

// runPostconf is postconf(1).
func runPostconf(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	return postconf.Run(args, stdout, stderr)
}
