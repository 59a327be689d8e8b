package proc

import (
	"os"
	"syscall"
)

// Background starts the calling program again as a daemon: in a session of its
// own, with args and one more, "--ready-fd 3", a descriptor to which the daemon
// writes one byte when it answers. It waits for that and tells whether it came;
// if not, the daemon has said why on standard error, which it lets go of in Ready.
func Background(name string, args ...string) (ok bool, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer r.Close()
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	_, err = Start(Role{
		Path: self, Args: append(append([]string{name}, args...), "--ready-fd", "3"),
		Env: append(CleanEnv(), journal+"="+os.Getenv(journal)), Stderr: os.Stderr, Files: []*os.File{w}, Session: true,
	})
	w.Close()
	if err != nil {
		return false, err
	}
	n, _ := r.Read(make([]byte, 1))
	return n == 1, nil
}

// journal is what systemd sets where standard error leads to its journal.
const journal = "JOURNAL_STREAM"

// Ready tells whoever waits in Background that the daemon answers; fd is the
// value of --ready-fd, 0 when nobody waits. Standard error is let go of: a shell
// whose pipe it is would wait for its end for ever ("service postfix start | cat",
// or over ssh). A file is kept, and so is the journal of systemd.
func Ready(fd int) {
	if fd <= 0 {
		return
	}
	if fi, err := os.Stderr.Stat(); err == nil && !fi.Mode().IsRegular() && os.Getenv(journal) == "" {
		if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			syscall.Dup3(int(null.Fd()), 2, 0)
			null.Close()
		}
	}
	w := os.NewFile(uintptr(fd), "ready")
	w.Write([]byte{'\n'})
	w.Close()
}
