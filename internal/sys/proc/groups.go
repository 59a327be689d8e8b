package proc

import (
	"os"
	"syscall"
)

// DropGroups gives up the supplementary groups of a daemon that runs as root, so
// that what it opens with a user's rights is opened with those alone. Others keep
// their groups.
func DropGroups() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.NewSyscallError("setgroups", syscall.Setgroups(nil))
}
