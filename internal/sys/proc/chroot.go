package proc

import (
	"fmt"
	"os"
	"syscall"
)

// Chroot makes dir the root folder of the whole process, for ever. Only root
// can; for others it does nothing, and Confine is the wall. Call it before
// Become, which takes away the right to leave again.
func Chroot(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := syscall.Chroot(dir); err != nil {
		return fmt.Errorf("chroot %s: %w", dir, err)
	}
	return os.Chdir("/")
}
