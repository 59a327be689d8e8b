package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"packetboat/cmd/internal/grants"
	"packetboat/cmd/internal/wiring"
	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/srs"
	"packetboat/internal/send/local"
	"packetboat/internal/send/pipe"
	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
)

// local makes the transport local(8): aliases, then deliver as the user.
func (e *engine) local(name string, m *config.Main) (sched.Transport, error) {
	o, err := e.kit.Local(name, m)
	if err != nil {
		return nil, err
	}
	o.Queued, o.Via = e.queued, e.via
	if o.SRS, err = e.srs(m); err != nil {
		return nil, err
	}
	s := starterLink{e.link, name}
	o.Expander.Forward, o.Expander.OpenListed = s.forward, s.openListed
	return local.New(o, e.queue, s, e.logs)
}

// secretSize is the length of the secret of SRS, in octets.
const secretSize = 32

// srs returns what rewrites the senders of forwarded mail; nil without srs_domain. Its
// secret is made at the first start and kept in data_directory, since bounces come
// back for weeks.
func (e *engine) srs(m *config.Main) (*srs.Rewriter, error) {
	var o struct {
		Domain string `main:"srs_domain"`
		Data   string `main:"data_directory"`
	}
	if err := m.Decode(&o); err != nil || o.Domain == "" {
		return nil, err
	}
	path := filepath.Join(o.Data, "srs_secret")
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, secretSize)
		rand.Read(secret)
		err = disk.WriteFile(path, secret, 0o600)
	}
	if err == nil && len(secret) < secretSize/2 {
		err = fmt.Errorf("%s is too short", path)
	}
	return &srs.Rewriter{Domain: o.Domain, Secret: secret}, err
}

// virtual makes the transport virtual(8): mailboxes of no account.
func (e *engine) virtual(name string, m *config.Main) (sched.Transport, error) {
	var o local.VirtualOptions
	if err := m.Decode(&o); err != nil {
		return nil, err
	}
	o.Tables = e.kit.Tables(m)
	return local.NewVirtual(o, starterLink{e.link, name}, e.logs)
}

// queued takes on a message that local has forwarded.
func (e *engine) queued(id string, env *mail.Envelope, size int64) { e.sched.Add(id, env, size) }

// via finds another transport for mailbox_transport and fallback_transport.
func (e *engine) via(name string) local.Transport {
	if t, ok := e.byName[name]; ok {
		return t
	}
	return nil
}

// pipe makes the transport pipe(8) of a service.
func (e *engine) pipe(svc config.Service, m *config.Main) (sched.Transport, error) {
	var o pipe.Options
	var f struct {
		Filter []string      `main:"pipe_delivery_status_filter"`
		Time   time.Duration `main:"command_time_limit"`
	}
	if err := wiring.Decode(m, &o, &f); err != nil {
		return nil, err
	}
	o.Time = f.Time
	if text, set := m.Raw(svc.Name + "_time_limit"); set {
		d, err := timeOf(m, text)
		if err != nil {
			return nil, fmt.Errorf("%s_time_limit: %w", svc.Name, err)
		}
		o.Time = d
	}
	var err error
	if o.Filter, err = local.OpenFilter("pipe_delivery_status_filter", f.Filter, e.kit.Tables(m)); err != nil {
		return nil, err
	}
	return pipe.New(o, svc.Name, svc.Args, starterLink{e.link, svc.Name}, e.logs.Program(wiring.ProgramName(e.main, m, "pipe")))
}

// timeOf reads a time as main.cf writes one.
func timeOf(m *config.Main, text string) (time.Duration, error) {
	var v struct {
		Time time.Duration `main:"command_time_limit"`
	}
	err := m.With(config.Setting{Name: "command_time_limit", Value: text}).Decode(&v)
	return v.Time, err
}

// starterLink asks the parent for what a service needs other users' rights for.
type starterLink struct {
	link    *link
	service string
}

// Deliver returns a conversation with a deliver process.
func (s starterLink) Deliver(ctx context.Context, who local.Who) (net.Conn, error) {
	q := request{Op: opDeliver, Service: s.service, User: who.User, UID: who.UID, GID: who.GID, Mailbox: who.Mailbox,
		Query: who.Listed, Listed: who.Listed.User != ""}
	switch {
	case who.Mailbox != "" && who.UID == 0 && who.GID == 0:
		q.Op = opFile
	case who.Mailbox != "":
		q.Op = opVirtual
	}
	return s.link.conn(ctx, q)
}

// Command runs a command with the message on its standard input.
func (s starterLink) Command(ctx context.Context, who local.Who, c local.Command) (int, string, error) {
	q := request{Op: opCommand, Service: s.service, User: who.User, Argv: c.Argv, Env: c.Env, Timeout: c.Timeout,
		Via: c.Via, Query: c.Query, Listed: c.Via == local.ViaForward}
	return s.run(ctx, q, func(w io.Writer) error { return feed(w, c.Input) })
}

// Pipe runs the command of a pipe service.
func (s starterLink) Pipe(ctx context.Context, service string, v *pipe.Values, limit time.Duration, feed func(io.Writer) error) (int, string, error) {
	return s.run(ctx, request{Op: opPipe, Service: service, Values: v, Timeout: limit}, feed)
}

// run has the parent run a command, and writes its standard input. What reading
// the message fails with is the error, whatever the command made of half of it.
func (s starterLink) run(ctx context.Context, q request, feed func(io.Writer) error) (int, string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	fed := make(chan error, 1)
	go func() {
		defer w.Close()
		fed <- feed(w)
	}()
	a, err := s.link.call(ctx, q, r)
	// A child that the command has left behind may hold the other end, unread.
	w.SetWriteDeadline(time.Now())
	if ferr := <-fed; err == nil {
		err = ferr
	}
	if err == nil && a.Late {
		err = local.ErrLate
	}
	return a.Exit, a.Output, err
}

// feed writes a command's input. A command need not read it all: its exit code
// says what became of the message (pipe_command(3)).
func feed(w io.Writer, in local.Input) error {
	if _, err := w.Write(in.Head); err != nil {
		return nil
	}
	src := in.Content.Reader()
	if _, err := io.Copy(w, src); err != nil {
		if _, rerr := io.Copy(io.Discard, src); rerr != nil {
			return rerr
		}
	}
	return nil
}

// forward has the parent open the .forward of a recipient, unless it is known that
// there is none.
func (s starterLink) forward(ctx context.Context, q alias.ForwardQuery) (*alias.ForwardFile, error) {
	absent, epoch := s.link.absent.Has(grants.Forward{Service: s.service, ForwardQuery: q})
	if absent {
		return nil, fs.ErrNotExist
	}
	a, err := s.link.call(ctx, request{Op: opForward, Service: s.service, Query: q})
	switch {
	case errors.Is(err, fs.ErrNotExist) && a.Watched:
		s.link.absent.Note(grants.Forward{Service: s.service, ForwardQuery: q}, epoch)
		return nil, err
	case err != nil:
		return nil, err
	case a.Home != "":
		return nil, mail.Defer("4.3.0", "%s", a.Home)
	case a.Odd != "":
		return nil, &disk.UntrustedError{Path: a.Path, Why: a.Odd}
	case a.file == nil:
		return nil, fs.ErrNotExist
	}
	return &alias.ForwardFile{File: a.file, Path: a.Path, UID: a.UID, Extension: a.Extension}, nil
}

// openListed has the parent open an :include: file that a .forward lists.
func (s starterLink) openListed(path string, q alias.ForwardQuery) (*os.File, error) {
	return s.link.file(request{Op: opInclude, Service: s.service, Path: path, User: q.User, Query: q, Listed: true})
}
