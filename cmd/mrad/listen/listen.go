// Package listen opens the listening sockets of cmd/mrad's parent. Errors name
// the service as Dovecot's do.
package listen

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// TCP listens at host:port; an IPv6 address is a socket of its own, beside the
// one of IPv4.
func TCP(service, addr string) (*net.TCPListener, error) {
	network := "tcp4"
	if strings.HasPrefix(addr, "[") {
		network = "tcp6"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("service %s: listen(%s) failed: %s", service, addr, proc.ErrText(err))
	}
	return l.(*net.TCPListener), nil
}

// Unix makes a unix socket with its owner and mode. One that a former run left
// is taken away; one that somebody answers is not.
func Unix(service string, l *config.UnixListener) (*net.UnixListener, error) {
	path := l.Path
	uid, gid, err := owner(l)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("service %s: socket %s is in use", service, path)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
		os.Remove(path)
	}
	ear, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("service %s: listen(%s) failed: %s", service, path, proc.ErrText(err))
	}
	u := ear.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // its owner does it: a File of the listener must not
	if os.Geteuid() == 0 {
		err = os.Lchown(path, uid, gid)
	}
	if err == nil {
		err = os.Chmod(path, os.FileMode(l.Mode)&os.ModePerm)
	}
	if err != nil {
		os.Remove(path)
		u.Close()
		return nil, err
	}
	return u, nil
}

// owner looks up whose socket it is; empty names are root's.
func owner(l *config.UnixListener) (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return -1, -1, nil
	}
	if l.User != "" {
		u, err := proc.LookupUser(l.User)
		if err != nil {
			return 0, 0, fmt.Errorf("unix_listener %s: user %s: %w", l.Path, l.User, err)
		}
		uid = u.UID
	}
	if l.Group != "" {
		if gid, err = proc.LookupGroup(l.Group); err != nil {
			return 0, 0, fmt.Errorf("unix_listener %s: group %s: %w", l.Path, l.Group, err)
		}
	}
	return uid, gid, nil
}
