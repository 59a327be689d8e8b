package main

import (
	"io"

	"packetboat/cmd/mailadm/doveadm"
)

// runDoveadm is doveadm(1).
func runDoveadm(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return doveadm.Run(args, stdin, stdout, stderr)
}
