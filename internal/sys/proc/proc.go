// Package proc starts the roles of a program as other users, passes
// descriptors between them, and takes rights away. It is the one place of the
// house that executes programs.
package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Role is a process to be started: one of our own programs, or a command of
// the administrator's.
type Role struct {
	Path  string   // absolute path of the program
	Args  []string // argv, argv[0] included
	Env   []string // the whole environment; nothing is inherited
	Dir   string   // working directory; empty = "/"
	User  *User    // run as this account with its groups; nil = as the caller
	Group int      // with User: another primary group, if above 0
	Extra []int    // with User: further groups
	Stdin *os.File // nil = /dev/null
	// Stdout and Stderr, nil = /dev/null.
	Stdout, Stderr io.Writer
	Files          []*os.File // become descriptors 3, 4 ... of the child
	Session        bool       // start a session of its own, so that Kill reaches its children too
	Umask          int        // of the process, if above 0; else the caller's
	Chroot         string     // its root folder, which only root can change; Path and Dir are inside
	// Slack is by how much the kernel may put off its timers to save a wake-up
	// (PR_SET_TIMERSLACK); 0 = the caller's, usually 50 microseconds.
	Slack time.Duration
}

// Process is a started Role.
type Process struct {
	cmd     *exec.Cmd
	session bool
}

// Start starts r. The child dies with its parent's thread group (PR_SET_PDEATHSIG
// is not used: Go's threads come and go); roles end when their channel closes.
func Start(r Role) (*Process, error) {
	cmd := &exec.Cmd{Path: r.Path, Args: r.Args, Env: r.Env, Dir: r.Dir,
		Stdout: r.Stdout, Stderr: r.Stderr, ExtraFiles: r.Files}
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	if r.Stdin != nil {
		if err := blocking(r.Stdin); err != nil {
			return nil, err
		}
		cmd.Stdin = r.Stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: r.Session, Chroot: r.Chroot}
	if r.User != nil && os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = r.credential()
	} else if r.User != nil && r.User.UID != os.Geteuid() {
		return nil, fmt.Errorf("cannot run %s as %s: only root changes users", r.Path, r.User.Name)
	}
	if err := startWith(cmd, r.Umask, r.Slack); err != nil {
		return nil, err
	}
	return &Process{cmd, r.Session}, nil
}

// blocking makes reads of f wait. The end of a pipe of Go's that came from another
// process does not, and programs do not expect that of their standard input:
// one that reads before the first octet is there gets EAGAIN.
func blocking(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = syscall.SetNonblock(int(fd), false) }); err != nil {
		return err
	}
	return inner
}

// startWith starts cmd with a umask of its own. A umask belongs to the whole
// process, so that changing it would race with every file being made: a thread
// takes a copy for itself (unshare(2), CLONE_FS), and is thrown away.
func startWith(cmd *exec.Cmd, umask int, slack time.Duration) error {
	if umask == 0 {
		return startSlack(cmd, slack)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with us
		if unix.Unshare(unix.CLONE_FS) == nil {
			unix.Umask(umask)
		} else { // some containers forbid it
			throughShell(cmd, umask)
		}
		done <- startSlack(cmd, slack)
	}()
	return <-done
}

// startSlack starts cmd with a timer slack: it is the calling thread's, and the
// child has it from there.
func startSlack(cmd *exec.Cmd, slack time.Duration) error {
	if slack > 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
		defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the default again
	}
	return cmd.Start()
}

// throughShell has the shell set the umask and then become the command.
func throughShell(cmd *exec.Cmd, umask int) {
	script := fmt.Sprintf(`umask %04o; exec "$0" "$@"`, umask)
	cmd.Args = append([]string{"sh", "-c", script, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

func (r Role) credential() *syscall.Credential {
	c := &syscall.Credential{Uid: uint32(r.User.UID), Gid: uint32(r.User.GID)}
	if r.Group > 0 {
		c.Gid = uint32(r.Group)
	}
	for _, g := range append(r.User.Groups(), r.Extra...) {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// PID returns the process number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait waits for the end and returns the exit code; a signal n counts as 128+n.
func (p *Process) Wait() int {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	if err != nil {
		return 255
	}
	return 0
}

// Result waits for the end like Wait and returns the exit code, or -n for the
// signal n that killed the process.
func (p *Process) Result() int {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return 255
		}
		return 0
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -int(ws.Signal())
	}
	return exit.ExitCode()
}

// Signal sends sig to the process, and to its children if it leads a session.
func (p *Process) Signal(sig syscall.Signal) {
	if p.session {
		syscall.Kill(-p.PID(), sig)
		return
	}
	p.cmd.Process.Signal(sig)
}

// Run starts r and waits for its end. When ctx ends first, the process gets
// SIGTERM and five seconds later SIGKILL, and the error is ctx's.
func Run(ctx context.Context, r Role) (int, error) {
	p, err := Start(r)
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() {
		p.Signal(syscall.SIGTERM)
		time.AfterFunc(killDelay, func() { p.Signal(syscall.SIGKILL) })
	})
	code := p.Wait()
	if !stop() {
		return code, ctx.Err()
	}
	return code, nil
}

// killDelay is the time between SIGTERM and SIGKILL.
const killDelay = 5 * time.Second

// Become makes a process that root started run as u from here on, with no way
// back. Group mail, if above 0, stays the effective group, so that dotlocks
// and mailboxes can be made in /var/mail (mode 2775 root:mail); DropGroup gives
// it up before a command of the user's is run. It does nothing when the
// process runs as u already, and fails when it may not change.
func Become(u *User, mail int) error {
	if os.Geteuid() != 0 {
		if os.Geteuid() == u.UID {
			return nil
		}
		return fmt.Errorf("cannot become %s: only root changes users", u.Name)
	}
	if err := syscall.Setgroups(u.Groups()); err != nil {
		return fmt.Errorf("setgroups for %s: %w", u.Name, err)
	}
	egid := u.GID
	if mail > 0 {
		egid = mail
	}
	if err := syscall.Setresgid(u.GID, egid, u.GID); err != nil {
		return fmt.Errorf("setresgid for %s: %w", u.Name, err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return fmt.Errorf("setresuid for %s: %w", u.Name, err)
	}
	return nil
}

// PeerUID returns the user number of the process at the other end of a unix
// socket (SO_PEERCRED), as it was when it connected.
func PeerUID(c syscall.RawConn) (int, error) {
	var cred *unix.Ucred
	var err error
	if e := c.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}
