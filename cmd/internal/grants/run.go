package grants

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"packetboat/internal/send/local"
	"packetboat/internal/sys/proc"
)

// Path is where commands without a "/" are looked for, and their PATH
// (_PATH_DEFPATH of paths.h).
const Path = "/usr/bin:/bin"

// MaxOutput is how much of a command's output is kept for the log and the bounce, in
// octets.
const MaxOutput = 4096

// maxTime bounds every command, whatever the engine asks for.
const maxTime = time.Hour

// commandUmask is that of every command, as Postfix's master sets it: nobody else
// reads what a command makes of a mail.
const commandUmask = 0o077

// TempFail is EX_TEMPFAIL of sysexits.h.
const TempFail = 75

// End is the end of a command.
type End struct {
	Exit   int    // exit code, -n for signal n
	Output string // the beginning of what it said
	Late   bool   // it was killed: its time was over
}

// Run runs a command as r.User, with his primary group alone, and waits for the end
// of its output and for its own; after limit it is killed with all its children.
func Run(r proc.Role, input *os.File, limit time.Duration, agent string) (End, error) {
	if limit <= 0 || limit > maxTime {
		limit = maxTime
	}
	if len(r.Args) == 0 || slices.ContainsFunc(r.Args, func(s string) bool { return strings.Contains(s, "\x00") }) {
		return End{}, errors.New("a command's arguments cannot be passed on")
	}
	out, in, err := os.Pipe()
	if err != nil {
		return End{}, err
	}
	defer out.Close()
	// Without a name the account has no further groups, as with Postfix.
	r.User = &proc.User{UID: r.User.UID, GID: r.User.GID}
	r.Path, r.Args = find(r.Args, r.Chroot)
	r.Stdin, r.Stdout, r.Stderr, r.Session, r.Umask = input, in, in, true, commandUmask
	p, err := proc.Start(r)
	in.Close()
	if err != nil {
		return notStarted(r, err, agent), nil
	}
	end := time.Now().Add(limit)
	out.SetReadDeadline(end)
	said, err := readAll(out)
	said = local.Tidy(said) // JSON would make more of foreign bytes
	late := errors.Is(err, os.ErrDeadlineExceeded)
	code := await(p, end, late, &late)
	if late {
		return End{Output: said, Late: true}, nil
	}
	return End{Exit: code, Output: said}, nil
}

// await waits for the end of a process, which is killed when its time is over.
func await(p *proc.Process, end time.Time, over bool, late *bool) int {
	ended := make(chan int, 1)
	go func() { ended <- p.Result() }()
	if !over {
		timer := time.NewTimer(time.Until(end))
		defer timer.Stop()
		select {
		case code := <-ended:
			return code
		case <-timer.C:
		}
	}
	*late = true
	p.Signal(proc.SIGKILL)
	return <-ended
}

// readAll reads to the end and keeps the first MaxOutput octets.
func readAll(f *os.File) (string, error) {
	var kept []byte
	b := make([]byte, MaxOutput)
	for {
		n, err := f.Read(b)
		kept = append(kept, b[:min(n, MaxOutput-len(kept))]...)
		if err != nil {
			return string(kept), err
		}
	}
}

// find looks for a command in Path. What is not there may be a command of
// the shell, which is asked (exec_command(3)).
func find(argv []string, root string) (path string, args []string) {
	if strings.Contains(argv[0], "/") {
		return argv[0], argv
	}
	for dir := range strings.SplitSeq(Path, ":") {
		path := filepath.Join(dir, argv[0])
		if st, err := os.Stat(filepath.Join(root, path)); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0 {
			return path, argv
		}
	}
	return "/bin/sh", []string{"sh", "-c", strings.Join(argv, " ")}
}

// notStarted is what Postfix's agent says of a program that execve(2) refuses.
func notStarted(r proc.Role, err error, agent string) End {
	text := proc.ErrText(err)
	if errors.Is(err, fs.ErrNotExist) {
		text = "No such file or directory"
	}
	return End{Exit: TempFail, Output: fmt.Sprintf("%s: execvp %s: %s\n", agent, r.Args[0], text)}
}
