package sched

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/send/bounce"
	"packetboat/internal/sys/disk"
)

// message is one active message.
type message struct {
	*queue.Message
	started  time.Time
	deferred bool // it was deferred before
	force    bool // somebody asked for it: dead destinations are tried

	// The rest is guarded by Sched.mu.
	folder  queue.Folder   // where the file is
	results []*mail.Result // by recipient; nil = no answer yet, or Done earlier
	left    int            // recipients without an answer
	running int            // jobs under way, and one while it is being routed
	gone    bool           // an administrator moved or deleted it
	again   bool           // it was offered once more meanwhile
	list    bool           // its recipients count into Sched.listed
	dirty   bool           // some result needs more than removing the file
	ending  bool           // finish has begun
}

// work admits messages to the active queue until the scheduler stops.
func (s *Sched) work() {
	defer s.jobs.Done()
	for {
		c, m := s.next()
		if m == nil {
			return
		}
		s.admit(c, m)
	}
}

// next waits for a candidate and for room; new and deferred mail take turns. The
// message it returns (nil when the scheduler stops) has its place among the
// active ones already, so that an id can never be in hand twice.
func (s *Sched) next() (candidate, *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.stopping && (s.fresh.len()+s.due.len() == 0 || s.full()) {
			s.wake.Wait()
		}
		if s.stopping {
			return candidate{}, nil
		}
		c := s.pick()
		if s.active[c.id] == nil {
			m := &message{deferred: c.from == queue.Deferred, force: c.force, running: 1, folder: c.from, Message: &queue.Message{ID: c.id}}
			s.active[c.id] = m
			return c, m
		}
		s.active[c.id].again = true
	}
}

// pick takes the next candidate.
func (s *Sched) pick() candidate {
	useDue := s.due.len() > 0 && (s.fresh.len() == 0 || !s.lastDue)
	s.lastDue = useDue
	if useDue {
		return s.due.pop()
	}
	return s.fresh.pop()
}

// full tells whether the active queue has no room.
func (s *Sched) full() bool {
	return len(s.active) >= s.o.ActiveLimit || s.rcpts >= s.o.RecipientLimit
}

// admit makes one message active and hands out its recipients.
func (s *Sched) admit(c candidate, m *message) {
	if s.bury(c, m) {
		return
	}
	err := s.load(c, m)
	if err == nil && s.crowded(c, m) {
		return
	}
	if err == nil && (c.from != queue.Incoming || time.Since(m.Env.Arrived) >= settleTime) {
		err = s.activate(m)
	}
	if err == nil {
		s.begin(m)
		return
	}
	again := s.drop(m)
	switch {
	case again:
		s.Changed(c.id)
	case errors.Is(err, fs.ErrNotExist):
		s.look(c.id, c.from) // deleted or moved by an administrator
	case damaged(err):
		s.setAside(c, err)
	default:
		s.log.MessageSkipped(c.id, err)
		s.later(c.id)
	}
}

// crowded has a list wait while others are being delivered whose recipients, with its
// own, would be more than qmgr_message_recipient_limit. Other mail is not held up by
// lists: it has room of its own. Where it is the only list it may have any size.
func (s *Sched) crowded(c candidate, m *message) bool {
	n := len(m.Env.Rcpts)
	if n <= listSize {
		return false
	}
	s.mu.Lock()
	if s.listed == 0 || s.listed+n <= s.o.RecipientLimit {
		m.list = true
		s.listed += n
		s.mu.Unlock()
		return false
	}
	again := s.dropped(m)
	if !again {
		c.env = nil // it would take the room that there is not
		s.lists.push(c)
	}
	s.mu.Unlock()
	if again {
		s.Changed(c.id)
	}
	return true
}

// damaged tells a bad file from a bad moment.
func damaged(err error) bool {
	_, corrupt := errors.AsType[*queue.CorruptError](err)
	_, untrusted := errors.AsType[*disk.UntrustedError](err)
	return corrupt || untrusted || disk.IsLink(err)
}

// setAside keeps a file that cannot be read for the administrator.
func (s *Sched) setAside(c candidate, cause error) {
	if err := s.q.SetAside(c.id, c.from); err != nil {
		s.log.MessageSkipped(c.id, errors.Join(cause, err))
		return
	}
	s.log.MessageCorrupt(c.id, cause)
}

// later looks at a message again that cannot be worked on now.
func (s *Sched) later(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	time.AfterFunc(s.o.QueueRunDelay, func() { s.Changed(id) })
}

// load reads the envelope, unless Add gave it.
func (s *Sched) load(c candidate, m *message) (err error) {
	if c.env != nil {
		if !s.q.Has(c.id, c.from) { // an administrator was faster
			return fs.ErrNotExist
		}
		m.Message = &queue.Message{ID: c.id, Env: c.env, Size: c.size}
		return nil
	}
	if c.check {
		if err := s.q.Check(c.id, c.from); err != nil {
			return err
		}
	}
	full, err := s.q.Load(c.id, c.from)
	if err == nil {
		m.Message = full
	}
	return err
}

// begin routes the recipients that are still to do and starts the first jobs. It
// gives up the hold on m that next took.
func (s *Sched) begin(m *message) {
	m.started = time.Now()
	results, left := make([]*mail.Result, len(m.Env.Rcpts)), 0
	for i := range m.Env.Rcpts {
		if m.Env.Rcpts[i].State != mail.Done {
			left++
		}
	}
	s.mu.Lock()
	m.results, m.left = results, left
	if !m.list {
		s.rcpts += len(results)
	}
	s.watchYoung(m)
	router, o := s.router, s.o
	s.mu.Unlock()
	s.log.MessageActive(m.ID, m.Env.Sender.Quoted(), m.Size, left)

	groups, failed := s.route(m, router, &o)
	for _, f := range failed {
		s.record(m, f.i, f.result, m.started)
	}
	s.mu.Lock()
	s.enqueue(groups)
	s.dispatch()
	s.mu.Unlock()
	s.release(m)
}

// noTransport is the answer for a transport that master.cf does not have.
func noTransport() mail.Result {
	return mail.Result{Status: mail.Defer("4.3.0", "mail transport unavailable"), Program: "error", Relay: "none"}
}

// failure is a recipient that got its answer without a transport.
type failure struct {
	i      int
	result mail.Result
}

// place is where a recipient goes.
type place struct{ transport, nexthop string }

// route asks the router for each recipient and gathers those of one place.
func (s *Sched) route(m *message, r Router, o *Options) ([]*group, []failure) {
	var failed []failure
	var order []*group
	byPlace := map[place]*group{}
	for i := range m.Env.Rcpts {
		if m.Env.Rcpts[i].State == mail.Done {
			continue
		}
		p, err := s.ask(m, r, i)
		if err == nil && listed(o.DeferTransports, p.transport) {
			err = mail.Defer("4.3.2", "deferred transport")
		}
		if err != nil {
			failed = append(failed, failure{i, mail.Result{Status: mail.AsStatus(err), Program: "error", Relay: "none"}})
			continue
		}
		// Of a transport that takes one recipient at a time each recipient is a
		// destination of its own: one slow user does not hold up the others.
		if o.limits(p.transport).RecipientsPerJob == 1 {
			p.nexthop += "\x00" + string(m.Env.Rcpts[i].Addr.Fold())
		}
		g := byPlace[p]
		if g == nil {
			g = &group{m: m, place: p}
			byPlace[p] = g
			order = append(order, g)
		}
		g.rcpts = append(g.rcpts, i)
	}
	return order, failed
}

// ask calls the router and survives it.
func (s *Sched) ask(m *message, r Router, i int) (p place, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.TransportPanic(m.ID, "rewrite", v)
			err = mail.Defer("4.3.0", "address resolver failure")
		}
	}()
	p.transport, p.nexthop, err = r.Route(m.Env, &m.Env.Rcpts[i])
	return p, err
}

// listed tells whether a list of names has one of them.
func listed(list []string, name string) bool {
	for _, n := range list {
		if n == name {
			return true
		}
	}
	return false
}

// release gives up one hold on a message and finishes it when it was the last
// and all recipients have an answer.
func (s *Sched) release(m *message) {
	s.mu.Lock()
	m.running--
	finished := m.running == 0 && (m.left == 0 || m.gone) && !m.ending
	m.ending = m.ending || finished
	s.mu.Unlock()
	if finished {
		s.finish(m)
	}
}

// drop forgets an active message. again: an administrator touched it meanwhile, or
// a new message has got its name, so the folders have to be looked at once more.
func (s *Sched) drop(m *message) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped(m)
}

// dropped is drop for a caller that holds mu.
func (s *Sched) dropped(m *message) (again bool) {
	full := s.full()
	delete(s.active, m.ID)
	if m.list {
		s.listed -= len(m.Env.Rcpts)
		if s.lists.len() > 0 {
			s.fresh.push(s.lists.pop())
			s.wake.Signal()
		}
	} else {
		s.rcpts -= len(m.results)
	}
	if full {
		s.wake.Broadcast()
	}
	return m.gone || m.again
}

// lookAgain has the folders looked at once m is done with: its file was not where
// it should have been, and must not be forgotten where it is.
func (s *Sched) lookAgain(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.again = true
}

// reports turns results into what package bounce wants. word is the action of all
// of them; empty takes each one's own.
func (m *message) reports(word string, pick func(i int, r *mail.Result) bool) []bounce.Report {
	var out []bounce.Report
	for i, r := range m.results {
		if r == nil || !pick(i, r) {
			continue
		}
		a := word
		if a == "" {
			a = r.Status.Action
		}
		if a == "" || a == mail.PassedOn {
			a = action(r.Status, r.Program)
		}
		out = append(out, bounce.Report{Rcpt: finalRcpt(&m.Env.Rcpts[i], r), Status: r.Status, Relay: relayWord(r), Action: a})
	}
	return out
}

// relayWord is who delivered, as a success report names it.
func relayWord(r *mail.Result) string {
	if r.Relay == "" || r.Relay == "none" {
		return r.Program
	}
	return r.Relay
}

// siteDown tells whether an answer says that the whole destination cannot be
// reached: no connection (4.4.1), no answer from DNS (4.4.3), a broken
// conversation (4.4.2), and not a word of the remote host about one recipient.
func siteDown(r *mail.Result) bool {
	st := r.Status
	return st.Outcome == mail.Deferred && st.Remote == "" && strings.HasPrefix(st.Code, "4.4.")
}

// suspended is the answer for mail to a destination that is down.
func suspended(cause *mail.Status) mail.Result {
	text := cause.Text
	if !strings.HasPrefix(text, suspendedText) {
		text = fmt.Sprintf("%s%s", suspendedText, text)
	}
	st := mail.Defer(cause.Code, "%s", text)
	return mail.Result{Status: st, Program: "error", Relay: "none"}
}

const suspendedText = "delivery temporarily suspended: "
