package proc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// HungUp tells whether the other side of a connection is gone in both
// directions, also while octets of its are still unread. A side that only has
// nothing more to say (shutdown(2)) is still there. What is no connection of the
// system's never hangs up.
func HungUp(c any) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	raw.Control(func(fd uintptr) { // fails only for a connection that we closed
		p := []unix.PollFd{{Fd: int32(fd)}}
		if n, err := unix.Poll(p, 0); err == nil && n > 0 {
			gone = p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		}
	})
	return gone
}
