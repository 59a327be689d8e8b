package local

import (
	"errors"
	"fmt"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/sys/proc"
)

// outcome is the answer of one destination.
type outcome struct {
	dest *alias.Dest
	res  mail.Result
}

// all delivers to everything that a recipient leads to, and makes one answer of
// it for the queue.
//
// A recipient with one destination has that one's answer. Where there are
// several, what was delivered must not be delivered again because another one
// failed: the mailboxes that failed go on as a message of their own, which then
// waits or bounces by itself. What cannot go on so (commands, files, and a user
// whose alias lists himself) is done first, and if one of these is to be tried
// again, nothing else is done.
func (d *delivery) all(dests []alias.Dest) mail.Result {
	if len(dests) == 1 && dests[0].Kind != alias.Forward {
		return d.named(&dests[0])
	}
	var first, boxes, forward []*alias.Dest
	for i := range dests {
		switch t := &dests[i]; {
		case t.Kind == alias.Forward:
			forward = append(forward, t)
		case t.Kind == alias.Mailbox && t.Addr.Fold() != d.rcpt.Addr.Fold():
			boxes = append(boxes, t)
		default:
			first = append(first, t)
		}
	}
	var done []outcome
	for _, t := range first {
		done = append(done, outcome{t, d.named(t)})
		if again := &done[len(done)-1].res; again.Status.Outcome == mail.Deferred {
			return *again
		}
	}
	sent, failed := split(d.boxes(boxes))
	// While nothing at all is delivered everything can simply be tried later.
	if w := worst(failed); w != nil && w.Status.Outcome == mail.Deferred && len(done)+len(sent) == 0 {
		return *w
	}
	for _, f := range failed {
		forward = append(forward, f.dest)
	}
	return d.answer(append(append(done, sent...), d.forward(forward)...))
}

// split divides answers into successes and failures.
func split(all []outcome) (sent, failed []outcome) {
	for _, o := range all {
		if o.res.Status.Outcome == mail.Sent {
			sent = append(sent, o)
		} else {
			failed = append(failed, o)
		}
	}
	return sent, failed
}

// boxes delivers to several mailboxes at once.
func (d *delivery) boxes(dests []*alias.Dest) []outcome {
	out := make([]outcome, len(dests))
	slots := make(chan struct{}, parallel)
	for i, t := range dests {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			out[i] = outcome{t, d.safely(t)}
		}()
	}
	for range parallel {
		slots <- struct{}{}
	}
	return out
}

// safely is to for a goroutine of its own.
func (d *delivery) safely(t *alias.Dest) (res mail.Result) {
	defer func() {
		if v := recover(); v != nil {
			res = d.result(mail.Defer("4.3.0", "internal error of the delivery agent"))
		}
	}()
	return d.named(t)
}

// worst returns the answer that decides: a deferral before a failure before a
// success; nil for none.
func worst(done []outcome) *mail.Result {
	rank := map[mail.Outcome]int{mail.Sent: 0, mail.Bounced: 1, mail.Deferred: 2}
	var w *mail.Result
	for i := range done {
		if w == nil || rank[done[i].res.Status.Outcome] > rank[w.Status.Outcome] {
			w = &done[i].res
		}
	}
	return w
}

// answer logs what has no place in the queue's answer and returns the latter:
// the worst one, which a bounce or the next try is about.
func (d *delivery) answer(done []outcome) mail.Result {
	w := worst(done)
	if w == nil {
		return d.result(mail.OK("2.0.0", "no recipients left"))
	}
	for i := range done {
		if res := &done[i].res; res != w {
			d.l.log.LocalAlso(d.job, d.rcpt, done[i].dest.Addr, res)
		}
	}
	return *w
}

// named delivers to one destination and says whose mail it was in the end.
func (d *delivery) named(t *alias.Dest) mail.Result {
	res := d.to(t)
	if t.Addr != d.rcpt.Addr {
		res.To = t.Addr
	}
	return res
}

// to delivers to one destination.
func (d *delivery) to(t *alias.Dest) mail.Result {
	switch t.Kind {
	case alias.Failed:
		return d.result(t.Status)
	case alias.ToCommand:
		return d.command(t, listedBy(t))
	case alias.ToFile:
		return d.file(t)
	case alias.Forward:
		return d.forward([]*alias.Dest{t})[0].res
	}
	return d.mailbox(t)
}

// mailbox delivers to a local user: deliver_mailbox and deliver_unknown of
// local(8).
func (d *delivery) mailbox(t *alias.Dest) mail.Result {
	via, err := d.l.maps.transport(d.ctx, t.User, d.l.o.Transport)
	if err != nil {
		return d.unavailable("mailbox_transport_maps", err)
	}
	if via != "" {
		return d.pass(t, via)
	}
	switch _, err := d.l.o.LookupUser(t.User); {
	case errors.Is(err, proc.ErrNoUser):
		return d.unknown(t)
	case err != nil:
		d.l.log.LocalWarning("error looking up passwd info for %s: %v", t.User, err)
		return d.result(mail.Defer("4.0.0", "user lookup error"))
	}
	switch cmd, err := d.l.maps.command(d.ctx, t.User, d.l.o.MailboxCommand); {
	case err != nil:
		return d.unavailable("mailbox_command_maps", err)
	case cmd != "":
		c := *t
		c.Text, c.Account = cmd, t.User
		return d.command(&c, ViaMailbox)
	case d.job.Env.VerifyOnly:
		return d.result(mail.OK("2.0.0", "delivers to mailbox"))
	}
	res := d.send(Who{User: t.User}, t, "delivered to mailbox")
	if errors.Is(res.Status, errGone) {
		return d.unknown(t)
	}
	return res
}

// unavailable defers mail because of a table.
func (d *delivery) unavailable(what string, err error) mail.Result {
	d.l.log.LocalWarning("%s: %v", what, err)
	return d.result(mail.Defer("4.3.0", "%s lookup failure", what))
}

// unknown is for users that do not exist: fallback_transport, luser_relay, or
// the sender is told.
func (d *delivery) unknown(t *alias.Dest) mail.Result {
	via, err := d.l.maps.fallback(d.ctx, t.User, d.l.o.Fallback)
	if err != nil {
		return d.unavailable("fallback_transport_maps", err)
	}
	if via != "" {
		return d.pass(t, via)
	}
	if d.l.o.LuserRelay != "" {
		return d.luser(t)
	}
	// RFC 5321 section 4.5.1: there must be a postmaster. Without an alias or
	// account of that name the message goes nowhere, but nobody is bounced.
	if strings.EqualFold(t.User, "mailer-daemon") || strings.EqualFold(t.User, "postmaster") {
		d.l.log.LocalWarning("required alias not found: %s", t.Local)
		return d.result(mail.OK("2.0.0", "discarded"))
	}
	return d.result(mail.Bounce("5.1.1", "unknown user: \"%s\"", t.User))
}

// luser sends mail of unknown users to luser_relay.
func (d *delivery) luser(t *alias.Dest) mail.Result {
	value := d.expandLuser(t)
	dests := d.l.o.Expander.Follow(d.ctx, *t, value, d.seen.has)
	for i := range dests {
		// Who is unknown again stays so: luser_relay does not follow itself.
		if dests[i].Kind == alias.Mailbox {
			if _, err := d.l.o.LookupUser(dests[i].User); errors.Is(err, proc.ErrNoUser) {
				dests[i].Kind = alias.Failed
				dests[i].Status = mail.Bounce("5.1.1", "unknown user: \"%s\"", t.User)
			}
		}
	}
	return d.all(dests)
}

// expandLuser fills the $names of luser_relay (local(8)). What a stranger chose
// keeps only the characters of forward_expansion_filter's default.
func (d *delivery) expandLuser(t *alias.Dest) string {
	q := t.Query(d.l.o.Expander.Delimiter)
	text, _ := alias.Names(d.l.o.LuserRelay, func(name string) (string, bool) {
		v, ok := q.Value(name, nil)
		return alias.Safe(v, commandChars), ok
	})
	return text
}

// pass hands the recipient to another transport (mailbox_transport).
func (d *delivery) pass(t *alias.Dest, via string) mail.Result {
	name, nexthop, _ := strings.Cut(via, ":")
	var tr Transport
	if d.l.o.Via != nil {
		tr = d.l.o.Via(name)
	}
	if tr == nil || tr == Transport(d.l) {
		d.l.log.LocalWarning("mail for %s cannot be passed to transport %s", t.Addr, name)
		return d.result(mail.Defer("4.3.5", "mail system configuration error"))
	}
	rcpt := *d.rcpt
	rcpt.Addr, rcpt.Orig = t.Addr, d.orig()
	env := *d.job.Env
	env.Sender = d.sender(t)
	job := *d.job
	job.Transport, job.Nexthop, job.Env, job.Rcpts = name, nexthop, &env, []mail.Rcpt{rcpt}
	res := d.result(mail.Defer("4.3.0", "%s", fmt.Sprintf("transport %s gave no answer", name)))
	job.Report = func(_ int, r mail.Result) { res = r }
	tr.Deliver(d.ctx, &job)
	return res
}
