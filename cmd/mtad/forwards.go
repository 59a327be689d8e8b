package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"packetboat/internal/route/alias"
	"packetboat/internal/route/table"
	"packetboat/internal/send/local"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// localRules is what one local(8) service of master.cf lets its users have done.
// The parent holds the engine's requests against it: it finds a user's .forward
// and his mailbox_command by itself.
type localRules struct {
	Shell       string   `main:"local_command_shell"`
	Commands    []string `main:"allow_mail_to_commands"`
	Files       []string `main:"allow_mail_to_files"`
	Path        string   `main:"forward_path"`
	PathChars   string   `main:"forward_expansion_filter"`
	NeedHome    bool     `main:"require_home_directory"`
	Mailbox     string   `main:"mailbox_command"`
	MailboxMaps []string `main:"mailbox_command_maps"`
	Dir         string   `main:"command_execution_directory"`
	DirChars    string   `main:"execution_directory_expansion_filter"`
	EnvChars    string   `main:"command_expansion_filter"`
	Export      string   `main:"export_environment"`

	maps table.Maps
}

// readRules reads the rules of all local services, by name.
func readRules(m *config.Main, services []config.Service) map[string]*localRules {
	out := map[string]*localRules{}
	for _, svc := range services {
		if svc.Type != "unix" || svc.Command != "local" {
			continue
		}
		r := &localRules{}
		if m.With(svc.Options...).Decode(r) != nil {
			continue // the engine refuses mail for it, too
		}
		var err error
		r.maps, err = table.OpenAll(r.MailboxMaps, table.Options{NoRegSub: true, Missing: func(error) {}})
		if err == nil {
			out[svc.Name] = r
		}
	}
	return out
}

// command returns the command that takes a user's mail in place of his mailbox;
// empty for none.
func (r *localRules) command(user string) (string, error) {
	cmd, found, err := r.maps.Lookup(context.Background(), user)
	if err != nil || found {
		return cmd, err
	}
	return r.Mailbox, nil
}

// rules returns the rules of a local service.
func (s *starter) rules(service string) (*localRules, error) {
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
	f, err := rules.openForward(q.Query, u)
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

// openForward opens the first file of forward_path that is there. What cannot be
// looked at is as if it were not, as for local(8).
func (r *localRules) openForward(q alias.ForwardQuery, u *proc.User) (*alias.ForwardFile, error) {
	// An extension never leads out of a folder, whoever says so.
	if strings.Contains(q.Ext, "/") || strings.Contains(q.User, "/") {
		return nil, fs.ErrNotExist
	}
	for _, element := range strings.FieldsFunc(r.Path, func(c rune) bool { return strings.ContainsRune(", \t\r\n", c) }) {
		path, extension, ok := q.Path(element, u, r.PathChars)
		if !ok || !strings.HasPrefix(path, "/") {
			continue
		}
		f, err := disk.OpenDotfile(path, u.UID, u.GID)
		var odd *disk.UntrustedError
		if errors.As(err, &odd) {
			return nil, err
		}
		if err == nil {
			return &alias.ForwardFile{File: f, Path: path, UID: u.UID, Extension: extension}, nil
		}
	}
	return nil, fs.ErrNotExist
}

// listed tells whether the .forward of a user, as it is now, lists it.
func (s *starter) listed(service string, q alias.ForwardQuery, w grant) bool {
	rules, err := s.rules(service)
	if err != nil || q.User == "" || w.account != q.User && w.op != opInclude {
		return false
	}
	u, err := s.users.Lookup(q.User)
	if err != nil {
		return false
	}
	f, err := rules.openForward(q, u)
	if err != nil {
		return false
	}
	defer f.Close()
	l := &listing{all: map[grant]bool{}, shell: rules.Shell, commands: rules.Commands, files: rules.Files, home: u.Home}
	l.read(u.Name, "forward", f)
	return l.all[w]
}

// granted tells whether a table or the .forward of the request lists it.
func (s *starter) granted(q request, w grant) bool {
	if q.Query.User != "" && q.Listed {
		return s.listed(q.Service, q.Query, w)
	}
	return s.grants.allows(w)
}

// listing is what lists of recipients grant.
type listing struct {
	all      map[grant]bool
	shell    string   // local_command_shell
	commands []string // allow_mail_to_commands
	files    []string // allow_mail_to_files
	home     string   // where ~/ leads; empty = nowhere
}

// read grants what the lines of a file name.
func (l *listing) read(account, via string, r io.Reader) {
	sc := bufio.NewScanner(io.LimitReader(r, maxInclude))
	sc.Buffer(nil, maxInclude)
	for sc.Scan() {
		if !strings.HasPrefix(sc.Text(), "#") {
			l.add(account, via, sc.Text())
		}
	}
}

// add grants what one list of recipients names. via is alias, forward or include.
func (l *listing) add(account, via, list string) {
	items, _ := alias.Parse(list) // what cannot be read leads nowhere
	for _, it := range items {
		switch it.Kind {
		case alias.Command:
			if slices.Contains(l.commands, via) {
				l.all[grant{opCommand, account, strings.Join(local.Argv(it.Text, l.shell), "\x00")}] = true
			}
		case alias.Home:
			if l.home != "" && slices.Contains(l.files, via) {
				l.all[grant{opFile, account, l.home + it.Text[1:]}] = true
			}
		case alias.File:
			if slices.Contains(l.files, via) {
				l.all[grant{opFile, account, it.Text}] = true
			}
		case alias.Include:
			l.include(account, it.Text)
		}
	}
}

// include grants an :include: file and what it lists.
func (l *listing) include(account, path string) {
	w := grant{opInclude, account, path}
	if l.all[w] || len(l.all) > maxIncludes {
		return
	}
	l.all[w] = true
	f, err := openInclude(account, path)
	if err != nil {
		return
	}
	defer f.Close()
	if account == "" { // the owner of a file that root's alias includes answers for it
		uid, err := disk.Owner(f)
		name, known := accountOf(uid)
		if err != nil || !known {
			return
		}
		account = name
	}
	l.read(account, "include", f)
}
