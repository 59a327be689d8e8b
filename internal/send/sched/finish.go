package sched

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/bounce"
	"packetboat/internal/sys/maillog"
)

// running is one job under way.
type running struct {
	s      *Sched
	m      *message
	rcpts  []int
	handed time.Time // to the transport

	mu       sync.Mutex
	answered []bool
	closed   bool
	good     bool
	down     *mail.Status
}

// report takes a transport's answer for recipient k of the job.
func (j *running) report(k int, r mail.Result) {
	if r.Status == nil {
		r.Status = mail.Defer("4.3.0", "unknown mail transport error")
	}
	j.mu.Lock()
	if k < 0 || k >= len(j.rcpts) || j.answered[k] || j.closed {
		j.mu.Unlock()
		j.s.log.TransportReport(j.m.ID, r.Program, "answered twice, late, or for nobody")
		return
	}
	j.answered[k] = true
	if siteDown(&r) {
		j.down = r.Status
	} else {
		j.good = true
	}
	j.mu.Unlock()
	j.s.record(j.m, j.rcpts[k], r, j.handed)
}

// close defers those that the transport forgot. Some recipients that were
// answered well show that the site is up.
func (j *running) close(transport string) {
	j.mu.Lock()
	j.closed = true
	if j.good {
		j.down = nil
	}
	missing := make([]int, 0, len(j.rcpts))
	for k, ok := range j.answered {
		if !ok {
			missing = append(missing, j.rcpts[k])
		}
	}
	j.mu.Unlock()
	for _, i := range missing {
		st := mail.Defer("4.3.0", "unknown mail transport error")
		j.s.record(j.m, i, mail.Result{Status: st, Program: "error", Relay: "none"}, j.handed)
	}
	if len(missing) > 0 {
		j.s.log.TransportReport(j.m.ID, transport, "returned without an answer")
	}
}

// record stores the answer for recipient i, logs it, and marks a delivered
// recipient in the queue file at once. The mark is saved for the last recipient
// of a message that is about to be removed whole.
func (s *Sched) record(m *message, i int, r mail.Result, handed time.Time) {
	s.mu.Lock()
	r.Status = m.verdict(r.Status, s.o.SoftBounce)
	if m.results[i] != nil {
		s.mu.Unlock()
		return
	}
	m.results[i] = &r
	m.left--
	done := r.Status.Outcome == mail.Sent && !m.Env.VerifyOnly
	if !done || m.Env.Verify || m.Env.Rcpts[i].Notify&mail.NotifySuccess != 0 || m.Warned && s.o.ConfirmCleared {
		m.dirty = true
	}
	mark := done && (m.left > 0 || m.dirty)
	s.mu.Unlock()
	s.logResult(m, i, &r, handed)
	if mark {
		s.mark(m, i)
	}
}

// verdict makes of a transport's answer what counts. The answer to a probe
// ("sendmail -bv") ends it: nothing is tried again, and the words are deliverable
// and undeliverable. With soft_bounce a permanent failure is a temporary one.
func (m *message) verdict(st *mail.Status, soft bool) *mail.Status {
	c := *st
	switch {
	case m.Env.VerifyOnly && st.Action == "":
		c.Action = "undeliverable"
		if st.Outcome == mail.Sent {
			c.Action = "deliverable"
		}
	case soft && st.Outcome == mail.Bounced && !m.Env.VerifyOnly:
		c.Outcome, c.Action = mail.Deferred, "SOFTBOUNCE"
		if len(c.Code) > 0 {
			c.Code = "4" + c.Code[1:]
		}
	}
	return &c
}

// mark records that a recipient is done with.
func (s *Sched) mark(m *message, i int) {
	if err := s.q.Mark(m.ID, i, mail.Done); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.QueueUnwritable(m.ID, "recipient may get it twice", err)
	}
}

// logResult writes the delivery line in the name of the agent.
func (s *Sched) logResult(m *message, i int, r *mail.Result, handed time.Time) {
	now, rc := time.Now(), finalRcpt(&m.Env.Rcpts[i], r)
	line := maillog.DeliveryLine{
		ID: m.ID, To: rc.Addr.Quoted(), OrigTo: rc.Orig.Quoted(), Relay: r.Relay, Reuse: r.Reuse,
		Total:  now.Sub(m.Env.Arrived),
		Parts:  [4]time.Duration{m.started.Sub(m.Env.Arrived), handed.Sub(m.started), r.Connect, r.Send},
		DSN:    r.Status.Code,
		Status: r.Status.Outcome.String(),
		Text:   r.Status.Text,
	}
	if line.Relay == "" {
		line.Relay = "none"
	}
	if r.Connect == 0 && r.Send == 0 {
		line.Parts[3] = now.Sub(handed)
	}
	if a := r.Status.Action; a != "" && a != mail.Relayed && a != mail.PassedOn {
		line.Status = a
	}
	program := r.Program
	if program == "" {
		program = "error"
	}
	s.voices.of(program).Delivery(&line)
}

// finalRcpt is the recipient as log and report name it: the address that an
// alias led to, with what the sender wrote as the original one.
func finalRcpt(rc *mail.Rcpt, r *mail.Result) *mail.Rcpt {
	if r.To == "" || r.To == rc.Addr {
		return rc
	}
	final := *rc
	if final.Orig == "" {
		final.Orig = rc.Addr
	}
	final.Addr = r.To
	return &final
}

// finish ends a message's time in the active queue.
func (s *Sched) finish(m *message) {
	s.mu.Lock()
	gone, o := m.gone, s.o
	s.mu.Unlock()
	var next time.Time
	if !gone && !s.interrupted(m) {
		next = s.conclude(m, &o)
	}
	again := s.drop(m)
	if !next.IsZero() {
		s.waitUntil(m.ID, next)
	}
	if again {
		s.Changed(m.ID)
	}
}

// interrupted tells whether Stop cut jobs of the message short. It stays active
// then, so that the next start tries it at once and not after a backoff.
func (s *Sched) interrupted(m *message) bool {
	if s.ctx.Err() == nil {
		return false
	}
	for _, r := range m.results {
		if r != nil && r.Status.Outcome == mail.Deferred {
			return true
		}
	}
	return false
}

// conclude sends the reports and removes the message or puts it aside; then it
// returns when the next try is. Reports are committed before the recipients that
// they are about are marked.
func (s *Sched) conclude(m *message, o *Options) (next time.Time) {
	retry := map[int]string{}
	switch {
	case m.Env.VerifyOnly:
		if err := s.verified(m); err != nil {
			retry[0] = err.Error()
		}
	case m.dirty:
		s.failures(m, retry)
		s.delays(m, retry, o)
		s.successes(m, o)
	}
	if len(retry) == 0 {
		s.remove(m)
		return next
	}
	return s.postpone(m, retry, o)
}

// verified answers "sendmail -bv", and verify's probes.
func (s *Sched) verified(m *message) error {
	if s.probed != nil && s.probed(m.Env, m.reports("", func(int, *mail.Result) bool { return true })) {
		return nil
	}
	return s.tell(bounce.Verify, m, m.reports("", func(int, *mail.Result) bool { return true }))
}

// failures tells the sender of permanent failures. If that cannot be written
// they are tried again, so that no failure is silent.
func (s *Sched) failures(m *message, retry map[int]string) {
	s.giveUp(m, retry, func(_ int, r *mail.Result) bool { return r.Status.Outcome == mail.Bounced })
}

// giveUp reports some recipients as failed and marks them.
func (s *Sched) giveUp(m *message, retry map[int]string, pick func(i int, r *mail.Result) bool) {
	err := s.tell(bounce.Failure, m, m.reports("failed", pick))
	for i, r := range m.results {
		switch {
		case r == nil || !pick(i, r):
		case err != nil:
			retry[i] = err.Error()
		default:
			delete(retry, i)
			s.mark(m, i)
		}
	}
}

// delays decides what becomes of those that were deferred: another try, a warning
// to the sender, or the end (maximal_queue_lifetime, bounce_queue_lifetime).
func (s *Sched) delays(m *message, retry map[int]string, o *Options) {
	isDeferred := func(_ int, r *mail.Result) bool { return r.Status.Outcome == mail.Deferred }
	before := len(retry)
	for i, r := range m.results {
		if r != nil && isDeferred(i, r) {
			retry[i] = r.Status.Text
		}
	}
	if len(retry) == before {
		return
	}
	age := time.Since(m.Env.Arrived)
	life := o.Lifetime
	if m.Env.Sender == "" {
		life = o.BounceLifetime
	}
	switch {
	case m.Expire || age >= life:
		s.log.MessageExpired(m.ID, m.Env.Sender.Quoted(), m.Expire)
		s.giveUp(m, retry, isDeferred)
	case o.DelayWarning > 0 && age >= o.DelayWarning && !m.Warned:
		s.warn(m, isDeferred)
	}
}

// warn tells the sender once that the message is late.
func (s *Sched) warn(m *message, pick func(int, *mail.Result) bool) {
	if s.tell(bounce.Delay, m, m.reports("delayed", pick)) != nil {
		return
	}
	if err := s.q.MarkWarned(m.ID); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.QueueUnwritable(m.ID, "sender may be warned twice", err)
	}
}

// successes sends what NOTIFY=SUCCESS and "sendmail -v" asked for. The mail is
// delivered: a report that cannot be written now is not worth delivering twice.
func (s *Sched) successes(m *message, o *Options) {
	if m.Env.Verify {
		all := m.reports("", func(int, *mail.Result) bool { return true })
		s.tell(bounce.Verify, m, all)
		return
	}
	cleared := m.Warned && o.ConfirmCleared
	list := m.reports("", func(i int, r *mail.Result) bool {
		asked := m.Env.Rcpts[i].Notify&mail.NotifySuccess != 0 && r.Status.Action != mail.PassedOn
		return r.Status.Outcome == mail.Sent && (asked || cleared)
	})
	for i := range list {
		list[i].Cleared = cleared
	}
	s.tell(bounce.Success, m, list)
}

// tell has package bounce write reports and takes them on as new mail.
func (s *Sched) tell(kind bounce.Kind, m *message, rcpts []bounce.Report) error {
	if len(rcpts) == 0 {
		return nil
	}
	sent, err := s.bounce.Send(kind, &bounce.Notice{
		ID: m.ID, Env: m.Env, Size: m.Size, Rcpts: rcpts,
		Open: func() (mail.Content, error) { return s.open(m) },
	})
	for _, n := range sent {
		if !n.Taken {
			s.Add(n.ID, n.Env, n.Size)
		}
	}
	if err != nil {
		s.log.QueueUnwritable(m.ID, "cannot write report", err)
	}
	return err
}

// action is the word of RFC 3464 section 2.3.3 for a result. What smtp hands over
// without a word on DSN counts as relayed: a report too many is better than none.
func action(st *mail.Status, program string) string {
	if st.Outcome == mail.Sent && program == "smtp" {
		return mail.Relayed
	}
	return [...]string{mail.Sent: "delivered", mail.Deferred: "delayed", mail.Bounced: "failed"}[st.Outcome]
}

// remove ends a message for good.
func (s *Sched) remove(m *message) {
	if err := s.q.Remove(m.ID, m.folder); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			s.lookAgain(m)
			return
		}
		s.log.QueueUnwritable(m.ID, "cannot remove", err)
		s.keepSpent(m)
		return
	}
	if m.deferred {
		s.q.Forget(m.ID)
	}
	s.log.MessageRemoved(m.ID)
}

// keepSpent has the removal of a message tried again later. Until then its id is known
// to be done with, here and where the disk lets us write at least so much in the file:
// a disk that removes nothing must not have the mail delivered over and over.
func (s *Sched) keepSpent(m *message) {
	s.mu.Lock()
	s.spent[m.ID] = true
	s.mu.Unlock()
	for i := range m.Env.Rcpts {
		if s.q.Mark(m.ID, i, mail.Done) != nil {
			break
		}
	}
	s.later(m.ID)
}

// bury removes a message that was done with before; it tells whether it was one.
func (s *Sched) bury(c candidate, m *message) bool {
	s.mu.Lock()
	spent := s.spent[c.id]
	s.mu.Unlock()
	if !spent {
		return false
	}
	err := s.q.Remove(c.id, c.from)
	s.mu.Lock()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		delete(s.spent, c.id)
	}
	again := s.dropped(m)
	s.mu.Unlock()
	switch {
	case err == nil:
		s.q.Forget(c.id)
		s.log.MessageRemoved(c.id)
	case errors.Is(err, fs.ErrNotExist) || again:
		s.Changed(c.id)
	default:
		s.later(c.id)
	}
	return true
}

// postpone puts a message aside. The wait doubles with the message's age, between
// minimal_backoff_time and maximal_backoff_time, as Postfix's.
func (s *Sched) postpone(m *message, reasons map[int]string, o *Options) (next time.Time) {
	now := time.Now()
	wait := min(max(now.Sub(m.Env.Arrived), o.MinBackoff), o.MaxBackoff)
	next = now.Add(wait)
	err := s.activate(m)
	if err == nil {
		err = s.q.Defer(m.Message, next, reasons)
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.lookAgain(m) // deleted, held or requeued meanwhile
		return time.Time{}
	}
	if err != nil {
		s.log.QueueUnwritable(m.ID, "cannot defer", err)
	}
	return next
}
