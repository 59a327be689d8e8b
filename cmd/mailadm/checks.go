package main

import (
	"io"

	"packetboat/cmd/mailadm/check"
	"packetboat/cmd/mailadm/explain"
)

// runCheck is mailadm check: every problem of the configuration.
func runCheck(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	return check.Run(args, stdout, stderr)
}

// runExplain is mailadm explain: what happens to mail for an address.
func runExplain(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	return explain.Run(args, stdout, stderr)
}
