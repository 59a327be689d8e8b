package proc

import (
	"os"
)

// Background starts the calling program again as a daemon: in a session of its
// own, with args and one more, "--ready-fd 3", a descriptor to which the daemon
// writes one byte when it answers. It waits for that and tells whether it came;
// if not, the daemon has said why on standard error.
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
		Env: CleanEnv(), Stderr: os.Stderr, Files: []*os.File{w}, Session: true,
	})
	w.Close()
	if err != nil {
		return false, err
	}
	n, _ := r.Read(make([]byte, 1))
	return n == 1, nil
}

// Ready tells whoever waits in Background that the daemon answers; fd is the
// value of --ready-fd, 0 when nobody waits.
func Ready(fd int) {
	if fd <= 0 {
		return
	}
	w := os.NewFile(uintptr(fd), "ready")
	w.Write([]byte{'\n'})
	w.Close()
}
