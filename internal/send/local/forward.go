package local

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
)

// bundle is one new message: destinations that share sender and Delivered-To:.
type bundle struct {
	sender, delivered mail.Address
	srs               bool // the sender is to be rewritten
	dests             []*alias.Dest
}

// forward queues the message again for destinations that are not delivered
// from here, and answers for each of them.
func (d *delivery) forward(dests []*alias.Dest) []outcome {
	var out []outcome
	if d.job.Env.VerifyOnly {
		for _, t := range dests {
			out = append(out, outcome{t, d.result(mail.OK("2.0.0", "forwards to %s", t.Addr))})
		}
		return out
	}
	for _, b := range d.bundles(dests) {
		var st *mail.Status
		if id, err := d.resubmit(b); err != nil {
			d.l.log.LocalWarning("%s: cannot queue forwarded message: %v", d.job.ID, err)
			st = mail.Defer("4.3.0", "unable to forward message")
		} else {
			st = mail.OK("2.0.0", "forwarded as %s", id)
		}
		// One message, one answer: Postfix logs the recipient that was forwarded.
		t := *b.dests[0]
		t.Addr = d.rcpt.Addr
		out = append(out, outcome{&t, d.result(st)})
	}
	return out
}

func (d *delivery) bundles(dests []*alias.Dest) []*bundle {
	var list []*bundle
	for _, t := range dests {
		sender := d.sender(t)
		away := d.leaves(sender, t.Addr)
		var b *bundle
		for _, c := range list {
			if c.sender == sender && c.delivered == t.Delivered && c.srs == away {
				b = c
			}
		}
		if b == nil {
			b = &bundle{sender: sender, delivered: t.Delivered, srs: away}
			list = append(list, b)
		}
		b.dests = append(b.dests, t)
	}
	return list
}

// resubmit writes the new message and returns its queue id. When it returns
// the message is on disk.
func (d *delivery) resubmit(b *bundle) (string, error) {
	env, err := d.envelope(b)
	if err != nil {
		return "", err
	}
	content, err := d.job.Open()
	if err != nil {
		return "", err
	}
	defer content.Close()
	w, err := d.l.q.Create()
	if err != nil {
		return "", err
	}
	if _, err = w.Write(d.trace(b, w.ID(), env.Arrived)); err == nil {
		var n int64
		if n, err = io.Copy(w, content.Reader()); err == nil && n != content.Len {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		w.Abort()
		return "", err
	}
	id, size := w.ID(), w.Size()
	if err := w.Commit(env); err != nil {
		return "", err
	}
	d.l.clean.MessageID(id, env.MessageID)
	d.l.o.Queued(id, env, size)
	return id, nil
}

// trace is what the new message begins with: Received: (RFC 5321 section 4.4)
// and the address that forwarded it, by which a loop is found.
func (d *delivery) trace(b *bundle, id string, now time.Time) []byte {
	var h bytes.Buffer
	fmt.Fprintf(&h, "Received: by %s (%s)\n\tid %s; %s\n", d.l.o.Hostname, d.l.o.MailName, id,
		now.Local().Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)"))
	if contains(d.l.o.PrependHeaders, "forward") {
		fmt.Fprintf(&h, "Delivered-To: %s\n", oneLine(b.delivered.Fold().Quoted()))
	}
	return h.Bytes()
}

// envelope is that of the message on hand with other recipients. A mailing
// list (owner-) answers to its owner, so nobody asked for notices from there.
func (d *delivery) envelope(b *bundle) (*mail.Envelope, error) {
	env := *d.job.Env
	env.Sender, env.Arrived, env.Rcpts = b.sender, time.Now(), nil
	env.Verify, env.VerifyOnly = false, false
	if b.srs {
		env.Sender = d.l.o.SRS.Forward(b.sender)
	}
	owned := b.dests[0].Owned
	for _, t := range b.dests {
		addrs := []mail.Address{t.Addr}
		if d.l.o.Expand != nil {
			var err error
			if addrs, err = d.l.o.Expand(t.Addr); err != nil {
				return nil, err
			}
		}
		for _, a := range addrs {
			r := mail.Rcpt{Addr: a, State: mail.Pending}
			if !owned {
				r.Orig = d.orig()
				r.ORCPT, r.Notify = d.rcpt.ORCPT, d.rcpt.Notify
			}
			if !listed(env.Rcpts, a) {
				env.Rcpts = append(env.Rcpts, r)
			}
		}
	}
	if owned {
		env.Ret, env.EnvID = "", ""
	}
	return &env, nil
}

func listed(rcpts []mail.Rcpt, a mail.Address) bool {
	for i := range rcpts {
		if rcpts[i].Addr.Fold() == a.Fold() {
			return true
		}
	}
	return false
}
