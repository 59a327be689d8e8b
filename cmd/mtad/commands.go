package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"packetboat/cmd/internal/grants"
	"packetboat/internal/send/local"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

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
	dir := cmp.Or(rules.Folder(q.Query, who), s.main.Get("queue_directory"))
	if !s.enter(dir, u) {
		return reply{Exit: grants.TempFail}, nil
	}
	return ended(grants.Run(proc.Role{Args: q.Argv, Env: rules.Environment(q.Env, who), Dir: dir, User: u}, files[0], q.Timeout, "local: fatal"))
}

// mayRun tells whether the configuration, the tables or the user's .forward lead
// to a command.
func (s *starter) mayRun(rules *grants.Rules, q request) bool {
	if q.Via != local.ViaMailbox {
		return s.granted(q, grants.Grant{Op: opCommand, Account: q.User, What: strings.Join(q.Argv, "\x00")})
	}
	cmd, err := rules.MailboxCommand(q.User)
	return err == nil && cmd != "" && q.User != "" && slices.Equal(q.Argv, local.Argv(cmd, rules.Shell))
}

// enter tells beforehand whether a command can begin in dir; the log says why not.
func (s *starter) enter(dir string, u *proc.User) bool {
	err := disk.StatAs(dir, u.UID, u.GID)
	if err != nil {
		s.log("cannot change directory to \"%s\" for uid=%d gid=%d: %s", dir, u.UID, u.GID, proc.ErrText(err))
	}
	return err == nil
}

// pipe runs the command of a pipe service.
func (s *starter) pipe(q request, files []*os.File) (reply, error) {
	a := s.pipes[q.Service]
	if a == nil || q.Values == nil || len(files) != 1 {
		return reply{}, fmt.Errorf("no pipe service %q", q.Service)
	}
	u, err := grants.PipeUser(a, s.users.Lookup, s.main.Get("mail_owner"))
	if err != nil {
		return reply{}, err
	}
	dir := cmp.Or(a.Directory, s.main.Get("queue_directory"))
	if a.Chroot != "" {
		dir = cmp.Or(a.Directory, "/")
	} else if !s.enter(dir, u) {
		return reply{Exit: grants.TempFail}, nil
	}
	env := append(grants.Exported(s.main.Get("export_environment")), "PATH="+grants.Path)
	argv, unknown := a.Expand(q.Values)
	if unknown != "" {
		return reply{}, fmt.Errorf("unknown macro name: %q", unknown)
	}
	return ended(grants.Run(proc.Role{Args: argv, Env: env, Dir: dir, User: u, Chroot: a.Chroot}, files[0], q.Timeout, "pipe: fatal: pipe_command"))
}

// rules returns the rules of a local service.
func (s *starter) rules(service string) (*grants.Rules, error) {
	r := s.locals[service]
	if r == nil {
		return nil, fmt.Errorf("no local service %q", service)
	}
	return r, nil
}

// forward opens the .forward of a user for the engine.
func (s *starter) forward(q request) (r reply, out *os.File, err error) {
	rules, err := s.rules(q.Service)
	if err != nil {
		return r, nil, err
	}
	u, err := s.users.Lookup(q.Query.User)
	if err != nil {
		return r, nil, err
	}
	if rules.NeedHome {
		if err := disk.StatAs(u.Home, u.UID, u.GID); err != nil {
			r.Home = fmt.Sprintf("cannot access home directory %s: %s", u.Home, proc.ErrText(err))
			return r, nil, nil
		}
	}
	r.Watched = rules.WatchForward(s.watch, q.Query, u) // before we look
	f, err := rules.OpenForward(q.Query, u)
	var odd *disk.UntrustedError
	if errors.As(err, &odd) {
		r.Path, r.Odd = odd.Path, odd.Why
		return r, nil, nil
	}
	if err != nil {
		return r, nil, err
	}
	r.Path, r.UID, r.Extension = f.Path, f.UID, f.Extension
	return r, f.File, nil
}

// granted tells whether a table or the .forward of the request lists it.
func (s *starter) granted(q request, w grants.Grant) bool {
	if !q.Listed {
		return s.grants.Allows(w)
	}
	rules, err := s.rules(q.Service)
	if err != nil {
		return false
	}
	u, err := s.users.Lookup(q.Query.User)
	return err == nil && rules.Lists(q.Query, u, w)
}

// ended makes a reply of a command's end.
func ended(end grants.End, err error) (reply, error) {
	return reply{Exit: end.Exit, Output: end.Output, Late: end.Late}, err
}
