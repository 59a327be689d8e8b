package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"packetboat/internal/route/alias"
	"packetboat/internal/send/local"
	"packetboat/internal/send/pipe"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// commandPath is where commands without a "/" are looked for, and their PATH
// (_PATH_DEFPATH of paths.h).
const commandPath = "/usr/bin:/bin"

// commandUmask is that of every command, as Postfix's master sets it: nobody else
// reads what a command makes of a mail.
const commandUmask = 0o077

// command runs a command of a user's mail with the message on its standard input.
func (s *starter) command(q request, files []*os.File) (reply, error) {
	if len(q.Argv) == 0 || len(files) != 1 {
		return reply{}, errors.New("a command needs its arguments and one file")
	}
	rules, err := s.rules(q.Service)
	if err != nil {
		return reply{}, err
	}
	if !s.mayRun(rules, q) {
		return reply{}, s.refuse("nothing leads to command %q as %q", q.Argv, q.User)
	}
	var who *proc.User // whose HOME it is
	if q.User != "" {
		if who, err = s.users.Lookup(q.User); err != nil {
			return reply{}, err
		}
	}
	u, err := s.account(q.User)
	if err != nil {
		return reply{}, err
	}
	dir := s.main.Get("queue_directory")
	if rules.Dir != "" {
		text, undefined := alias.Names(rules.Dir, func(name string) (string, bool) {
			v, known := q.Query.Value(name, who)
			return alias.Safe(v, rules.DirChars), known
		})
		if !undefined && text != "" {
			dir = text
		}
	}
	if !s.enter(dir, u) {
		return reply{Exit: tempFail}, nil
	}
	return run(proc.Role{Args: q.Argv, Env: rules.environment(q.Env, who), Dir: dir, User: u}, files[0], q.Timeout, "local: fatal")
}

// mayRun tells whether the configuration, the tables or the user's .forward lead
// to a command.
func (s *starter) mayRun(rules *localRules, q request) bool {
	if q.Via != local.ViaMailbox {
		return s.granted(q, grant{opCommand, q.User, strings.Join(q.Argv, "\x00")})
	}
	cmd, err := rules.command(q.User)
	return err == nil && cmd != "" && q.User != "" && slices.Equal(q.Argv, local.Argv(cmd, rules.Shell))
}

// tempFail is EX_TEMPFAIL of sysexits.h.
const tempFail = 75

// enter tells beforehand whether a command can begin in dir; the log says why not.
func (s *starter) enter(dir string, u *proc.User) bool {
	err := disk.StatAs(dir, u.UID, u.GID)
	if err != nil {
		s.log("cannot change directory to \"%s\" for uid=%d gid=%d: %s", dir, u.UID, u.GID, proc.ErrText(err))
	}
	return err == nil
}

// commandEnv are the variables that local(8) sets for a command, beside those of
// export_environment and those of the account, which are set here.
var commandEnv = [...]string{"LOGNAME", "USER", "LOCAL", "DOMAIN", "RECIPIENT", "SENDER", "ORIGINAL_RECIPIENT", "EXTENSION", "CLIENT_ADDRESS",
	"CLIENT_HELO", "CLIENT_HOSTNAME", "CLIENT_PROTOCOL", "SASL_METHOD", "SASL_SENDER", "SASL_USERNAME"}

// environment keeps of the engine's variables those that a command may have from
// it. What would change how a program runs (LD_PRELOAD, BASH_ENV) is not among them.
func (r *localRules) environment(asked []string, who *proc.User) []string {
	env := append(exported(r.Export), "PATH="+commandPath)
	own := map[string]string{}
	if who != nil {
		own = map[string]string{"HOME": who.Home, "SHELL": who.Shell}
	}
	for _, v := range asked {
		name, value, _ := strings.Cut(v, "=")
		if mine, ok := own[name]; ok {
			value = mine
		} else if !slices.Contains(commandEnv[:], name) {
			continue
		}
		env = append(env, name+"="+alias.Safe(value, r.EnvChars))
	}
	return env
}

// exported returns the variables of export_environment: name=value, or name where
// we have one of that name ourselves.
func exported(list string) (env []string) {
	for _, name := range config.Fields(list) {
		name, value, given := strings.Cut(name, "=")
		if !given {
			value, given = os.LookupEnv(name)
		}
		if given {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// readPipes reads the pipe services of master.cf; the engine tells what is wrong
// with the others.
func readPipes(services []config.Service) map[string]*pipe.Attrs {
	out := map[string]*pipe.Attrs{}
	for _, svc := range services {
		if svc.Type == "unix" && svc.Command == "pipe" {
			if a, err := pipe.Parse(svc.Args); err == nil {
				out[svc.Name] = a
			}
		}
	}
	return out
}

// pipe runs the command of a pipe service.
func (s *starter) pipe(q request, files []*os.File) (reply, error) {
	a := s.pipes[q.Service]
	if a == nil || q.Values == nil || len(files) != 1 {
		return reply{}, fmt.Errorf("no pipe service %q", q.Service)
	}
	u, err := s.pipeUser(a)
	if err != nil {
		return reply{}, err
	}
	dir := cmp.Or(a.Directory, s.main.Get("queue_directory"))
	if a.Chroot != "" {
		dir = cmp.Or(a.Directory, "/")
	} else if !s.enter(dir, u) {
		return reply{Exit: tempFail}, nil
	}
	env := append(exported(s.main.Get("export_environment")), "PATH="+commandPath)
	argv, unknown := a.Expand(q.Values)
	if unknown != "" {
		return reply{}, fmt.Errorf("unknown macro name: %q", unknown)
	}
	return run(proc.Role{Args: argv, Env: env, Dir: dir, User: u, Chroot: a.Chroot}, files[0], q.Timeout, "pipe: fatal: pipe_command")
}

// pipeUser returns the account of user=, which must be none of the mail system's
// and not root (pipe(8)).
func (s *starter) pipeUser(a *pipe.Attrs) (*proc.User, error) {
	u, err := s.users.Lookup(a.User)
	if err != nil {
		return nil, fmt.Errorf("user= command-line attribute: unknown user name: %s", a.User)
	}
	gid := u.GID
	if a.Group != "" {
		if gid, err = proc.LookupGroup(a.Group); err != nil {
			return nil, fmt.Errorf("user= command-line attribute: unknown group name: %s", a.Group)
		}
	}
	switch {
	case os.Geteuid() != 0:
	case u.UID == 0:
		return nil, errors.New("user= command-line attribute specifies root privileges")
	case gid == 0:
		return nil, errors.New("user= command-line attribute specifies privileged group 0")
	case u.Name == s.main.Get("mail_owner"):
		return nil, fmt.Errorf("user= command-line attribute specifies mail system owner %s", u.Name)
	}
	return &proc.User{Name: u.Name, UID: u.UID, GID: gid}, nil
}

// run runs a command as r.User, with his primary group alone, and waits for the end
// of its output and for its own; after limit it is killed with all its children.
func run(r proc.Role, input *os.File, limit time.Duration, agent string) (reply, error) {
	if limit <= 0 || limit > maxCommandTime {
		limit = maxCommandTime
	}
	if len(r.Args) == 0 || slices.ContainsFunc(r.Args, func(s string) bool { return strings.Contains(s, "\x00") }) {
		return reply{}, errors.New("a command's arguments cannot be passed on")
	}
	out, in, err := os.Pipe()
	if err != nil {
		return reply{}, err
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
		return reply{Output: said, Late: true}, nil
	}
	return reply{Exit: code, Output: said}, nil
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

// readAll reads to the end and keeps the first maxOutput octets.
func readAll(f *os.File) (string, error) {
	var kept []byte
	b := make([]byte, maxOutput)
	for {
		n, err := f.Read(b)
		kept = append(kept, b[:min(n, maxOutput-len(kept))]...)
		if err != nil {
			return string(kept), err
		}
	}
}

// find looks for a command in commandPath. What is not there may be a command of
// the shell, which is asked (exec_command(3)).
func find(argv []string, root string) (path string, args []string) {
	if strings.Contains(argv[0], "/") {
		return argv[0], argv
	}
	for dir := range strings.SplitSeq(commandPath, ":") {
		path := filepath.Join(dir, argv[0])
		if st, err := os.Stat(filepath.Join(root, path)); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0 {
			return path, argv
		}
	}
	return "/bin/sh", []string{"sh", "-c", strings.Join(argv, " ")}
}

// notStarted is what Postfix's agent says of a program that execve(2) refuses.
func notStarted(r proc.Role, err error, agent string) reply {
	text := proc.ErrText(err)
	if errors.Is(err, fs.ErrNotExist) {
		text = "No such file or directory"
	}
	return reply{Exit: tempFail, Output: fmt.Sprintf("%s: execvp %s: %s\n", agent, r.Args[0], text)}
}
