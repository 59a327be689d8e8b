package main

import (
	"context"
	"io"
	"net"
	"os"

	"packetboat/internal/mail"
	"packetboat/internal/send/local"
	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
)

// local makes the transport local(8): aliases, then deliver as the user.
func (e *engine) local(name string, m *config.Main) (sched.Transport, error) {
	o, err := e.kit.Local(name, m)
	if err != nil {
		return nil, err
	}
	o.Queued, o.Via = e.queued, e.via
	return local.New(o, e.queue, starterLink{e.link}, e.logs)
}

// virtual makes the transport virtual(8): mailboxes of no account.
func (e *engine) virtual(m *config.Main) (sched.Transport, error) {
	var o local.VirtualOptions
	if err := m.Decode(&o); err != nil {
		return nil, err
	}
	o.Tables = e.kit.Tables(m)
	return local.NewVirtual(o, starterLink{e.link}, e.logs)
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

// starterLink asks the parent for what local needs other users' rights for.
type starterLink struct{ link *link }

// Deliver returns a conversation with a deliver process.
func (s starterLink) Deliver(ctx context.Context, who local.Who) (net.Conn, error) {
	q := request{Op: opDeliver, User: who.User, UID: who.UID, GID: who.GID, Mailbox: who.Mailbox}
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
	r, w, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	go feed(w, c.Input)
	a, err := s.link.call(ctx, request{Op: opCommand, User: who.User, Argv: c.Argv, Env: c.Env, Dir: c.Dir, Timeout: c.Timeout}, r)
	return a.Exit, a.Output, err
}

// feed writes a command's input. A command need not read it all: its exit code
// says what became of the message (pipe_command(3)).
func feed(w *os.File, in local.Input) {
	defer w.Close()
	if _, err := w.Write(in.Head); err == nil {
		io.Copy(w, in.Content.Reader())
	}
}
