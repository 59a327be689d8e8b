package grants

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/route/alias"
	"packetboat/internal/route/table"
	"packetboat/internal/send/local"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// Rules is what one local(8) service of master.cf lets its users have done.
// The parent holds the engine's requests against it: it finds a user's .forward
// and his mailbox_command by itself.
type Rules struct {
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

// ReadRules reads the rules of all local services, by name.
func ReadRules(m *config.Main, services []config.Service) map[string]*Rules {
	out := map[string]*Rules{}
	for _, svc := range services {
		if svc.Type != "unix" || svc.Command != "local" {
			continue
		}
		r := &Rules{}
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

// MailboxCommand returns the command that takes a user's mail in place of his mailbox;
// empty for none.
func (r *Rules) MailboxCommand(user string) (string, error) {
	cmd, found, err := r.maps.Lookup(context.Background(), user)
	if err != nil || found {
		return cmd, err
	}
	return r.Mailbox, nil
}

// OpenForward opens the first file of forward_path that is there. What cannot be
// looked at is as if it were not, as for local(8).
func (r *Rules) OpenForward(q alias.ForwardQuery, u *proc.User) (*alias.ForwardFile, error) {
	for path, extension := range r.forwards(q, u) {
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

// forwards are the places where a recipient may have a .forward, and whether each
// holds his extension.
func (r *Rules) forwards(q alias.ForwardQuery, u *proc.User) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		// An extension never leads out of a folder, whoever says so.
		if strings.Contains(q.Ext, "/") || strings.Contains(q.User, "/") {
			return
		}
		for _, element := range strings.FieldsFunc(r.Path, func(c rune) bool { return strings.ContainsRune(", \t\r\n", c) }) {
			path, extension, ok := q.Path(element, u, r.PathChars)
			if ok && strings.HasPrefix(path, "/") && !yield(path, extension) {
				return
			}
		}
	}
}

// WatchForward has w tell when a .forward of the recipient may have come. It is
// false where that cannot be told.
func (r *Rules) WatchForward(w *disk.Watch, q alias.ForwardQuery, u *proc.User) bool {
	if w == nil {
		return false
	}
	for path := range r.forwards(q, u) {
		if w.Add(filepath.Dir(path), u.UID, u.GID) != nil {
			return false
		}
	}
	return true
}

// Lists tells whether the .forward of a recipient, whose account is u, lists w as it
// is now.
func (r *Rules) Lists(q alias.ForwardQuery, u *proc.User, w Grant) bool {
	if q.User == "" || w.Account != q.User && w.Op != Include {
		return false
	}
	f, err := r.OpenForward(q, u)
	if err != nil {
		return false
	}
	defer f.Close()
	l := &listing{all: map[Grant]bool{}, shell: r.Shell, commands: r.Commands, files: r.Files, home: u.Home}
	l.read(u.Name, "forward", f)
	return l.all[w]
}

// listing is what lists of recipients grant.
type listing struct {
	all      map[Grant]bool
	shell    string   // local_command_shell
	commands []string // allow_mail_to_commands
	files    []string // allow_mail_to_files
	home     string   // where ~/ leads; empty = nowhere
}

// read Grants what the lines of a file name.
func (l *listing) read(account, via string, r io.Reader) {
	sc := bufio.NewScanner(io.LimitReader(r, maxInclude))
	sc.Buffer(nil, maxInclude)
	for sc.Scan() {
		if !strings.HasPrefix(sc.Text(), "#") {
			l.add(account, via, sc.Text())
		}
	}
}

// add Grants what one list of recipients names. via is alias, forward or include.
func (l *listing) add(account, via, list string) {
	items, _ := alias.Parse(list) // what cannot be read leads nowhere
	for _, it := range items {
		switch it.Kind {
		case alias.Command:
			if slices.Contains(l.commands, via) {
				l.all[Grant{Command, account, strings.Join(local.Argv(it.Text, l.shell), "\x00")}] = true
			}
		case alias.Home:
			if l.home != "" && slices.Contains(l.files, via) {
				l.all[Grant{File, account, l.home + it.Text[1:]}] = true
			}
		case alias.File:
			if slices.Contains(l.files, via) {
				l.all[Grant{File, account, it.Text}] = true
			}
		case alias.Include:
			l.include(account, it.Text)
		}
	}
}

// include Grants an :include: file and what it lists.
func (l *listing) include(account, path string) {
	w := Grant{Include, account, path}
	if l.all[w] || len(l.all) > maxIncludes {
		return
	}
	l.all[w] = true
	f, err := OpenInclude(account, path)
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

// commandEnv are the variables that local(8) sets for a command, beside those of
// export_environment and those of the account, which are set here.
var commandEnv = [...]string{"LOGNAME", "USER", "LOCAL", "DOMAIN", "RECIPIENT", "SENDER", "ORIGINAL_RECIPIENT", "EXTENSION", "CLIENT_ADDRESS",
	"CLIENT_HELO", "CLIENT_HOSTNAME", "CLIENT_PROTOCOL", "SASL_METHOD", "SASL_SENDER", "SASL_USERNAME"}

// Environment keeps of the engine's variables those that a command may have from
// it. What would change how a program runs (LD_PRELOAD, BASH_ENV) is not among them.
func (r *Rules) Environment(asked []string, who *proc.User) []string {
	env := append(Exported(r.Export), "PATH="+Path)
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

// Exported returns the variables of export_environment: name=value, or name where
// we have one of that name ourselves.
func Exported(list string) (env []string) {
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

// Folder returns the working directory of a user's command, empty where
// command_execution_directory says nothing; who may be nil.
func (r *Rules) Folder(q alias.ForwardQuery, who *proc.User) string {
	text, undefined := alias.Names(r.Dir, func(name string) (string, bool) {
		v, known := q.Value(name, who)
		return alias.Safe(v, r.DirChars), known
	})
	if undefined {
		return ""
	}
	return text
}
