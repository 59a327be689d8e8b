package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"packetboat/cmd/internal/boxes"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// spool is where a local service has its mailboxes.
type spool struct {
	Dir    string `main:"mail_spool_directory"`
	Home   string `main:"home_mailbox"`
	Strict bool   `main:"strict_mailbox_ownership"`

	writer *proc.User    // who the deliver that writes them runs as; nil = there is none
	mail   int           // its group
	keeper *boxes.Keeper // of it
}

// readSpools returns the spools of all local services, by name.
func (s *starter) readSpools(m *config.Main, services []config.Service) map[string]*spool {
	out := map[string]*spool{}
	writer, mail := s.writer()
	for _, svc := range services {
		p := &spool{}
		if svc.Type != "unix" || svc.Command != "local" || m.With(svc.Options...).Decode(p) != nil {
			continue
		}
		if p.Dir == "" {
			p.Dir = "/var/mail"
		}
		p.writer, p.mail = writer, mail
		p.keeper = boxes.NewKeeper(func(far *os.File) error { return s.startShared(svc.Name, p, far) }, p.open)
		out[svc.Name] = p
	}
	return out
}

// box returns a user's mailbox when the shared deliver can write it: one in Debian's
// /var/mail, where group mail makes the dotlocks. What is unusual - a Maildir, a
// mailbox that a crash left half rewritten - is for a process of the user's own.
func (p *spool) box(u *proc.User) (b boxes.Box, ok bool) {
	if p.writer == nil || u.UID == 0 || p.Home != "" || strings.HasSuffix(p.Dir, "/") {
		return b, false
	}
	if !disk.SharedFolder(p.Dir, p.writer.UID, p.mail) {
		return b, false
	}
	b = boxes.Box{User: u.Name, UID: u.UID, Path: filepath.Join(p.Dir, u.Name)}
	return b, !journal.Pending(b.Path, "")
}

// open opens a mailbox with the rights of its user.
func (p *spool) open(b boxes.Box) (*os.File, error) {
	owner := -1
	if p.Strict {
		owner = b.UID
	}
	return disk.OpenMailboxAs(b.Path, b.UID, p.mail, owner)
}

// writer returns who the shared deliver runs as, mail_owner in group mail, and that
// group; nil where there can be none.
func (s *starter) writer() (*proc.User, int) {
	mail, err := proc.LookupGroup("mail")
	if err != nil || os.Geteuid() != 0 {
		return nil, 0
	}
	owner, err := proc.LookupUser(s.main.Get("mail_owner"))
	if err != nil || owner.UID == 0 {
		return nil, 0
	}
	return &proc.User{UID: owner.UID, GID: owner.GID}, mail // without the account's further groups
}

// startShared starts the shared deliver of a service.
func (s *starter) startShared(service string, p *spool, far *os.File) error {
	pr, err := proc.Start(proc.Role{
		Path: filepath.Join(s.bin, "deliver"), Args: append([]string{"deliver", "-c", s.dir, "-z", "--shared"}, s.options[service]...),
		Env: proc.CleanEnv(), User: p.writer, Group: p.mail, Files: []*os.File{far}, Stderr: s.words, Slack: timerSlack,
	})
	if err == nil {
		go pr.Wait()
	}
	return err
}

// share has the shared deliver lead a conversation about a user's mailbox; an error
// says that a process of the user's own has to.
func (s *starter) share(service string, u *proc.User) (*os.File, error) {
	p := s.spools[service]
	if p == nil {
		return nil, fs.ErrNotExist
	}
	b, ok := p.box(u)
	if !ok {
		return nil, fs.ErrNotExist
	}
	ours, theirs, err := proc.SocketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if err := p.keeper.Hand(b, theirs); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}
