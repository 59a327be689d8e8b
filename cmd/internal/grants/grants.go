// Package grants says what the root parent of mtad does for its engine with other
// accounts' rights, and does it: which commands, files and :include: files alias_maps,
// a .forward or mailbox_command lead to. Nothing that the engine says is believed.
package grants

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// Grants is what the parent lets an engine do with other accounts' rights: run
// the commands, write the files and read the :include: files that alias_maps
// lists, each with the rights that the table's or file's owner gives it. An
// engine that has fallen into a stranger's hands can so do nothing that some mail
// could not do. The tables are read here, too, and nothing of what the engine
// says is believed.
type Grants struct {
	maps []string // alias_maps of all local services

	mu      sync.Mutex
	at      time.Time       // of the last reading
	listing                 // what the tables list
	open    map[string]bool // accounts of tables that cannot be listed
}

// Grant is one thing that may be done as an account, "" for default_privs.
type Grant struct {
	Op      string // Command, File or Include
	Account string
	What    string // the path, or the words of a command with NUL between them
}

// What may be done: the values of Grant.Op.
const (
	Command = "command"
	File    = "file"
	Include = "include"
)

// rereadAfter is how soon the tables are read again for something that they did
// not list.
const rereadAfter = time.Second

// maxIncludes bounds the files that are read for one set of tables.
const maxIncludes = 10000

// New gathers the parameters of all services that deliver with local(8).
func New(m *config.Main, services []config.Service) *Grants {
	g := &Grants{listing: listing{shell: m.Get("local_command_shell")}}
	for _, svc := range services {
		if svc.Type != "unix" || svc.Command != "local" {
			continue
		}
		var o struct {
			Maps     []string `main:"alias_maps"`
			Commands []string `main:"allow_mail_to_commands"`
			Files    []string `main:"allow_mail_to_files"`
		}
		if m.With(svc.Options...).Decode(&o) == nil {
			g.maps = append(g.maps, o.Maps...)
			g.commands, g.files = append(g.commands, o.Commands...), append(g.files, o.Files...)
		}
	}
	slices.Sort(g.maps)
	g.maps = slices.Compact(g.maps)
	return g
}

// Allows tells whether the tables list it, as they are now.
func (g *Grants) Allows(w Grant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.all[w] && time.Since(g.at) >= rereadAfter {
		g.read()
		g.at = time.Now()
	}
	// A table of patterns cannot be listed: what is found there goes by its owner.
	return g.all[w] || g.open[w.Account]
}

// read reads all tables; one that cannot be read Grants nothing.
func (g *Grants) read() {
	g.all, g.open = map[Grant]bool{}, map[string]bool{}
	for _, spec := range g.maps {
		t, err := table.Open(spec, table.Options{Alias: true, NoRegSub: true})
		if err != nil {
			continue
		}
		uid, err := table.OwnerOf(t)
		account, known := accountOf(uid)
		if err != nil || !known {
			continue
		}
		list, ok := t.(table.Lister)
		if !ok {
			g.open[account] = true
			continue
		}
		list.All(func(_, value string) error {
			g.add(account, "alias", value)
			return nil
		})
	}
}

// accountOf names the account whose rights count for what uid owns.
func accountOf(uid int) (name string, known bool) {
	if uid == 0 {
		return "", true
	}
	u, err := proc.LookupUID(uid)
	if err != nil {
		return "", false
	}
	return u.Name, true
}

// maxInclude is how much of an :include: file is searched for commands, files and
// further files, in octets.
const maxInclude = 16 << 20

// OpenInclude opens an :include: file with the rights of the account; of a file
// that root's alias includes with those of its owner, as local(8) does.
func OpenInclude(account, path string) (*os.File, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%s is no absolute path", path)
	}
	var u *proc.User
	var err error
	if account != "" {
		u, err = proc.LookupUser(account)
	} else {
		u, err = ownerOf(path)
	}
	if err != nil {
		return nil, err
	}
	f, err := disk.OpenAs(path, u.UID, u.GID)
	if err != nil {
		return nil, err
	}
	if err := honest(f, path, u.UID); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ownerOf returns the account that path belongs to.
func ownerOf(path string) (*proc.User, error) {
	uid, err := disk.OwnerOf(path)
	if err != nil {
		return nil, err
	}
	return proc.LookupUID(uid)
}

// honest refuses a file of root's that not everybody may read when the path leads
// to it through a link, or it has several names: whoever owns a folder on the way
// could make us read /etc/shadow.
func honest(f *os.File, path string, uid int) error {
	st, err := disk.StatFile(f)
	if err != nil || uid != 0 || os.Geteuid() != 0 || st.Mode.Perm()&0o004 != 0 {
		return err
	}
	if real, err := disk.RealPath(f); err != nil || real != path || st.Links != 1 {
		return errors.New("it is reached through a link, and not everybody may read it")
	}
	return nil
}
