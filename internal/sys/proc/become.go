package proc

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// NoTrace keeps the users that a process may run as out of its memory (ptrace(2),
// /proc/PID/mem, core dumps): a process that was started as somebody with a group
// that he is not in must not be his. It cannot fail on Linux.
func NoTrace() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// BecomeWith makes a process that root started run as u with exactly these
// supplementary groups, with no way back. A process that changes its user by
// itself, and not by being started as it, cannot be traced by that user
// (ptrace(2): it is not dumpable), so a group that u does not belong to, mail
// for one, does not fall into u's hands. It does nothing when the process runs
// as u already, and fails when it may not change.
func BecomeWith(u *User, groups []int) error {
	if os.Geteuid() != 0 {
		if os.Geteuid() == u.UID {
			return nil
		}
		return fmt.Errorf("cannot become %s: only root changes users", u.Name)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("setgroups for %s: %w", u.Name, err)
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return fmt.Errorf("setresgid for %s: %w", u.Name, err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return fmt.Errorf("setresuid for %s: %w", u.Name, err)
	}
	return nil
}
