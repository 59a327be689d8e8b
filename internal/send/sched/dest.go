package sched

import (
	"context"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/bounce"
)

// transport is one client service with its destinations.
type transport struct {
	name    string
	t       Transport
	pipe    Pipeliner // nil: none
	l       Limits
	busy    int  // jobs under way
	resting bool // TransportRateDelay after a job
	dests   map[string]*dest
	rings   [2][]*dest // destinations that can start a job, in turn: see class
	turn    class      // whose turn it is
}

// class tells mail of a few recipients from lists. Both have every other job of a
// transport: a list of 50,000 recipients, each perhaps a destination of its own, does
// not stand in front of a single mail, and many single mails do not stop a list. It
// is what qmgr(8) has delivery slots for, with a simpler account.
type class uint8

const (
	few  class = iota
	many       // more than listSize recipients
)

// listSize is the number of recipients above which a message is a list.
const listSize = 100

// dest is one (transport, next hop): what waits for it and how much it bears.
// The window works as Postfix's (SCHEDULER_README): it grows by one after each
// window of good jobs, shrinks with each failure to reach the site, and a site
// that failed for a whole cohort is dead for minimal_backoff_time.
type dest struct {
	tr      *transport
	nexthop string
	rcpt    mail.Address // empty where a destination has several
	key     string
	todo    []*group
	few     int // groups of todo that are no list's
	busy    int
	window  int
	credit  float64 // positive feedback not yet turned into a step
	debt    float64 // negative feedback not yet turned into a step
	resting bool    // RateDelay after a job
	cohorts float64 // windows' worth of failures in a row
	dead    *mail.Status
	revive  *time.Timer
	in      [2]bool // which rings it stands in
}

// group is the recipients of one message that go to one destination.
type group struct {
	m     *message
	place place
	rcpts []int // indexes into the envelope that have no job yet
}

// class is that of the message. Without preemption all are alike.
func (d *dest) class(g *group) class {
	if len(g.m.Env.Rcpts) > listSize && !d.tr.l.NoPreemption {
		return many
	}
	return few
}

// push puts a group behind the others.
func (d *dest) push(g *group) {
	d.todo = append(d.todo, g)
	if d.class(g) == few {
		d.few++
	}
}

// pop takes the first group.
func (d *dest) pop() *group {
	g := d.todo[0]
	d.todo[0] = nil
	d.todo = d.todo[1:]
	if d.class(g) == few {
		d.few--
	}
	return g
}

// clear takes all groups.
func (d *dest) clear() []*group {
	all := d.todo
	d.todo, d.few = nil, 0
	return all
}

// newTransport returns a transport with its limits.
func newTransport(name string, t Transport, l Limits) *transport {
	p, _ := t.(Pipeliner)
	return &transport{name: name, t: t, pipe: p, l: l, dests: map[string]*dest{}}
}

// setTransports makes the table of transports; the built-in ones come first so
// that master.cf's win.
func (s *Sched) setTransports(ts map[string]Transport) {
	builtin := map[string]Transport{"error": Failure{}, "retry": Failure{Temporary: true}, "discard": Discard{}}
	for _, table := range []map[string]Transport{builtin, ts} {
		for name, t := range table {
			s.transports[name] = newTransport(name, t, s.o.limits(name))
		}
	}
}

// adopt moves what waits from old transports to those of the same name. The
// caller holds s.mu.
func (s *Sched) adopt(old map[string]*transport) {
	var all []*group
	for _, tr := range old {
		for _, d := range tr.dests {
			all = append(all, d.clear()...)
			if d.revive != nil {
				d.revive.Stop()
			}
		}
	}
	s.enqueue(all)
}

// enqueue gives groups to their destinations; without a transport they are
// deferred. The caller holds s.mu.
func (s *Sched) enqueue(groups []*group) {
	for _, g := range groups {
		tr := s.transports[g.place.transport]
		if tr == nil {
			s.answer([]*group{g}, noTransport())
			continue
		}
		d := tr.dests[g.place.nexthop]
		if d == nil {
			nexthop, rcpt, _ := strings.Cut(g.place.nexthop, "\x00")
			d = &dest{tr: tr, nexthop: nexthop, rcpt: mail.Address(rcpt), key: g.place.nexthop, window: tr.l.InitialConcurrency}
			tr.dests[d.key] = d
		}
		d.push(g)
		if d.dead != nil && g.m.force {
			d.wakeUp()
		}
		if d.dead != nil {
			s.suspend(d)
			continue
		}
		d.offer()
	}
}

// offer puts a destination into its ring when it can start a job. One that stands
// behind lists goes into the other ring too when other mail comes.
func (d *dest) offer() {
	if len(d.todo) == 0 || !d.room() || d.dead != nil {
		return
	}
	c := many
	if d.few > 0 {
		c = few
	}
	if !d.in[c] {
		d.in[c] = true
		d.tr.rings[c] = append(d.tr.rings[c], d)
	}
}

// room tells whether one more job may begin.
func (d *dest) room() bool {
	if d.tr.l.RateDelay > 0 {
		return d.busy == 0 && !d.resting
	}
	return d.busy < d.window || d.tr.pipe != nil && d.busy < d.tr.pipe.Pipeline(d.rcpt)
}

// dispatch starts jobs as long as limits allow, one for each destination in
// turn. The caller holds s.mu.
func (s *Sched) dispatch() {
	if s.stopping {
		return
	}
	for _, tr := range s.transports {
		for tr.free() {
			d := tr.next()
			if d == nil {
				break
			}
			if m, rcpts := d.take(); m != nil {
				s.start(d, m, rcpts)
			}
			d.offer()
		}
	}
}

// next takes the destination whose turn it is; nil when none can start a job.
func (tr *transport) next() *dest {
	c := tr.turn
	if len(tr.rings[c]) == 0 {
		c = 1 - c
	}
	ring := tr.rings[c]
	if len(ring) == 0 {
		return nil
	}
	d := ring[0]
	ring[0] = nil
	if tr.rings[c] = ring[1:]; len(ring) == 1 {
		tr.rings[c] = nil
	}
	d.in[c] = false
	tr.turn = 1 - c
	return d
}

// take takes recipients for one job. Messages take turns, too: one with a long
// list of recipients goes to the end after each job.
func (d *dest) take() (*message, []int) {
	for len(d.todo) > 0 && d.dead == nil && d.room() {
		g := d.pop()
		if g.m.gone {
			continue
		}
		n := min(len(g.rcpts), d.tr.l.RecipientsPerJob)
		if g.m.Env.Verp != "" { // each recipient has a sender of his own
			n = 1
		}
		rcpts := g.rcpts[:n:n]
		switch g.rcpts = g.rcpts[n:]; {
		case len(g.rcpts) == 0:
		case d.tr.l.NoPreemption:
			d.todo = append([]*group{g}, d.todo...)
			d.few++
		default:
			d.push(g)
		}
		return g.m, rcpts
	}
	return nil, nil
}

// start runs one job. The caller holds s.mu.
func (s *Sched) start(d *dest, m *message, rcpts []int) {
	d.busy++
	d.tr.busy++
	m.running++
	s.jobs.Add(1)
	go func() {
		defer s.jobs.Done()
		good, down := s.run(d, m, rcpts)
		s.ended(d, good, down)
		s.release(m)
	}()
}

// ended counts the job's outcome into its destination and starts the next ones.
func (s *Sched) ended(d *dest, good bool, down *mail.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.busy--
	d.tr.busy--
	switch {
	case s.stopping: // our own end breaks conversations: that says nothing of the site
	case down != nil && d.dead == nil:
		d.failed(func() bool {
			if d.cohorts >= float64(d.tr.l.FailedCohorts) {
				d.dead = down
			}
			return d.dead != nil
		})
		s.punish(d)
	case good:
		d.succeeded()
	}
	s.rest(d)
	d.offer()
	d.forget()
	s.dispatch()
}

// punish keeps a failing destination in mind for minimal_backoff_time. When it is
// dead, what waits for it is deferred without another try. The caller holds s.mu.
func (s *Sched) punish(d *dest) {
	if d.revive != nil {
		d.revive.Stop()
	}
	d.revive = time.AfterFunc(s.o.MinBackoff, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.wakeUp()
		s.dispatch()
	})
	if d.dead != nil {
		s.suspend(d)
	}
}

// wakeUp forgives a destination its failures; a dead one is tried again.
func (d *dest) wakeUp() {
	if d.revive != nil {
		d.revive.Stop()
	}
	if d.dead != nil {
		d.window = d.tr.l.InitialConcurrency
	}
	d.dead, d.cohorts, d.credit, d.debt = nil, 0, 0, 0
	if d.busy == 0 && len(d.todo) == 0 {
		delete(d.tr.dests, d.key)
		return
	}
	d.offer()
}

// suspend defers all that waits for a dead destination. The caller holds s.mu.
func (s *Sched) suspend(d *dest) {
	groups := d.clear()
	s.answer(groups, suspended(d.dead))
}

// answer gives one answer to all recipients of groups, without a job. The caller
// holds s.mu, so the answers are recorded by a goroutine of their own.
func (s *Sched) answer(groups []*group, r mail.Result) {
	for _, g := range groups {
		g.m.running++
	}
	s.jobs.Add(1)
	go func() {
		defer s.jobs.Done()
		now := time.Now()
		for _, g := range groups {
			for _, i := range g.rcpts {
				s.record(g.m, i, r, now)
			}
			s.release(g.m)
		}
	}()
}

// run calls the transport for one job and sees to it that every recipient has an
// answer. good: the site was reached; down: it was not.
func (s *Sched) run(d *dest, m *message, rcpts []int) (good bool, down *mail.Status) {
	j := &running{s: s, m: m, rcpts: rcpts, handed: time.Now(), answered: make([]bool, len(rcpts))}
	job := &mail.Job{
		ID: m.ID, Env: m.Env, Size: m.Size, Transport: d.tr.name, Nexthop: d.nexthop, Started: m.started,
		Rcpts:  make([]mail.Rcpt, len(rcpts)),
		Open:   func() (mail.Content, error) { return s.open(m) },
		Report: j.report,
	}
	for k, i := range rcpts {
		job.Rcpts[k] = m.Env.Rcpts[i]
	}
	if m.Env.Verp != "" && len(rcpts) == 1 {
		env := *m.Env
		env.Sender = bounce.Verp(env.Sender, &job.Rcpts[0], env.Verp)
		job.Env = &env
	}
	s.call(d.tr, job)
	j.close(d.tr.name)
	return j.good, j.down
}

// call runs the transport; a panic ends in answers, not in the daemon's end.
func (s *Sched) call(tr *transport, job *mail.Job) {
	defer func() {
		if v := recover(); v != nil {
			s.log.TransportPanic(job.ID, tr.name, v)
		}
	}()
	tr.t.Deliver(s.ctx, job)
}

// Discard is the transport that drops mail (discard(8)); its next hop is the text
// that is logged.
type Discard struct{}

// Deliver reports every recipient as sent.
func (Discard) Deliver(_ context.Context, job *mail.Job) {
	for i := range job.Rcpts {
		st := mail.OK("2.0.0", "%s", job.Nexthop)
		job.Report(i, mail.Result{Status: st, Program: "discard", Relay: "none"})
	}
}

// Failure is the transport that refuses mail (error(8)) or puts it off
// (retry(8)); its next hop is the reason, with or without a leading x.y.z code.
type Failure struct{ Temporary bool }

// Deliver reports every recipient as failed.
func (f Failure) Deliver(_ context.Context, job *mail.Job) {
	code, text := "5.0.0", job.Nexthop
	if f.Temporary {
		code = "4.0.0"
	}
	if c, rest, ok := strings.Cut(text, " "); ok && isCode(c) {
		code, text = code[:1]+c[1:], rest // the transport says whether it is permanent
	}
	st := mail.Bounce(code, "%s", text)
	if f.Temporary {
		st = mail.Defer(code, "%s", text)
	}
	for i := range job.Rcpts {
		job.Report(i, mail.Result{Status: st, Program: "error", Relay: "none"})
	}
}

// isCode tells whether s is an enhanced status code of RFC 3463.
func isCode(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}
