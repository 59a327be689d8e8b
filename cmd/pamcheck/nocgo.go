//go:build !cgo

// Pamcheck needs cgo and the package libpam0g-dev. Built without them it says
// so and has no answer: mrad then refuses passdbs with the driver pam.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "error: pamcheck was built without PAM")
	fmt.Fprintln(os.Stderr, "hint: install libpam0g-dev and gcc, and build it with CGO_ENABLED=1 go build ./cmd/pamcheck")
	os.Exit(69) // EX_UNAVAILABLE of sysexits.h
}
