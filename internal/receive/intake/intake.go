// Package intake is the one door into the queue: what cleanup(8) does in
// Postfix. It writes the Received: header, completes what local users leave
// out, removes what must not travel, changes addresses, judges header and body,
// lets milters have their say, expands virtual aliases, adds copies, and commits
// the message. Nothing of a message is held in memory but the header field, or
// 2 KiB of the body line, that is being looked at, what milters add to its header
// (1 MiB at most), and 64 KiB while a message that they changed is written anew.
package intake

import (
	"fmt"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/route/checks"
	"packetboat/internal/sys/maillog"
)

// Intake takes messages into one queue. All methods may be called at once.
type Intake struct {
	o      Options
	create func() (file, error)
	log    *maillog.Log
	queued func(id string, env *mail.Envelope, size int64)
	kinds  map[string]headerKind
	users  clients // of local_header_rewrite_clients

	addresses                                mapper
	header, mime, nested, body, milterHeader *checks.Maps
	reject, strip                            *charset
	report                                   checks.Fault // MIME faults that refuse a message
	everywhere                               *Source      // of Open
}

// file is the unfinished queue file, *queue.Writer outside of tests.
type file interface {
	ID() string
	Write(p []byte) (int, error)
	Commit(env *mail.Envelope) error
	CommitHold(env *mail.Envelope) error
	Abort()
	ReadAt(p []byte, off int64) (int, error)
	Restart() error
}

// New returns the door into q. log speaks as "cleanup". queued is called with
// every committed message, in the goroutine that committed it; send/sched's
// Add is meant. It may be nil. The error names a table that cannot be opened.
func New(o Options, q *queue.Queue, log *maillog.Log, queued func(id string, env *mail.Envelope, size int64)) (*Intake, error) {
	in := &Intake{o: o, log: log, queued: queued}
	in.create = func() (file, error) {
		w, err := q.Create()
		if err != nil {
			return nil, err // not w: a nil *Writer in an interface is not nil
		}
		return w, nil
	}
	return in, in.open()
}

// open fills in defaults and opens tables.
func (in *Intake) open() error {
	in.defaults()
	topts := in.o.Tables
	c := &in.o.Content
	for _, m := range []struct {
		to    **checks.Maps
		param string
		specs []string
	}{
		{&in.header, "header_checks", c.HeaderChecks}, {&in.mime, "mime_header_checks", c.MIMEChecks},
		{&in.nested, "nested_header_checks", c.NestedChecks}, {&in.body, "body_checks", c.BodyChecks},
		{&in.milterHeader, "milter_header_checks", c.MilterChecks},
	} {
		var err error
		if *m.to, err = checks.Open(m.param, m.specs, topts); err != nil {
			return err
		}
	}
	var err error
	if in.reject, err = newCharset(c.RejectChars); err != nil {
		return fmt.Errorf("message_reject_characters: %w", err)
	}
	if in.strip, err = newCharset(c.StripChars); err != nil {
		return fmt.Errorf("message_strip_characters: %w", err)
	}
	if err = in.users.open(&in.o); err != nil {
		return fmt.Errorf("local_header_rewrite_clients: %w", err)
	}
	in.report = c.faults()
	return in.addresses.open(in, topts)
}

// faults are the MIME faults that refuse a message.
func (c *ContentOptions) faults() (f checks.Fault) {
	if c.Strict8Bit || c.Strict7Header {
		f |= checks.FaultHeader8Bit
	}
	if c.Strict8Bit || c.Strict8Body {
		f |= checks.FaultBody8Bit
	}
	if c.StrictDomain {
		f |= checks.FaultDomain
	}
	if f != 0 || len(c.HeaderChecks)+len(c.MIMEChecks)+len(c.NestedChecks) > 0 {
		f |= checks.FaultNesting
	}
	return f
}

func (in *Intake) defaults() {
	o := &in.o
	o.HopcountLimit = orElse(o.HopcountLimit, 50)
	o.HeaderSizeLimit = orElse(o.HeaderSizeLimit, 102400)
	o.ExpansionLimit = orElse(o.ExpansionLimit, 1000)
	o.EmptyRecipient = orElse(o.EmptyRecipient, "MAILER-DAEMON")
	o.MailName = orElse(o.MailName, "Postfix")
	o.Hostname = orElse(o.Hostname, "localhost")
	if o.DropHeaders == nil {
		o.DropHeaders = []string{"bcc", "content-length", "resent-bcc", "return-path"}
	}
	in.kinds = headerKinds(o.DropHeaders)
	in.everywhere = &Source{}
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Open makes the queue file, with its id, for a message that begins. The error
// is a temporary *mail.Status. The caller ends the Message with Commit or Abort.
func (in *Intake) Open() (*Message, error) { return in.OpenFrom(in.everywhere) }

// OpenFrom is Open for the mail of a service.
func (in *Intake) OpenFrom(src *Source) (*Message, error) {
	w, err := in.create()
	if err != nil {
		return nil, err
	}
	return &Message{in: in, src: src, w: w, id: w.ID()}, nil
}
