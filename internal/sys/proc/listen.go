package proc

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ListenUnix opens a socket that everybody who reaches its folder may use, in
// place of one that a former process left. The mode comes from the umask of a
// thread of its own: a chmod afterwards could be led to another file by whoever
// owns the folder.
func ListenUnix(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	type result struct {
		l   *net.UnixListener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with us
		var r result
		if r.err = unix.Unshare(unix.CLONE_FS); r.err == nil {
			unix.Umask(0o111)
			r.l, r.err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		}
		done <- r
	}()
	r := <-done
	return r.l, r.err
}
