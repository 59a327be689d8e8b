package sched

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
)

// Changed looks at a message again after somebody else moved or deleted its file
// (postsuper). Whatever the folders say is true: the call has no other power, so
// it may come from anybody.
func (s *Sched) Changed(id string) {
	where, there := s.q.Find(id)
	s.mu.Lock()
	if m := s.active[id]; m != nil {
		if there && (where == queue.Active || where == m.folder) {
			s.mu.Unlock()
			return
		}
		// Jobs under way end; the rest is not begun. finish comes back here.
		m.gone = true
		m.running++
		s.mu.Unlock()
		s.release(m)
		return
	}
	s.waiting.remove(id)
	s.setTimer()
	switch {
	case !there:
		s.q.Forget(id)
	case where == queue.Hold:
	case where == queue.Deferred:
		s.mu.Unlock()
		s.adoptDeferred(id)
		return
	default:
		s.fresh.push(candidate{id: id, from: where})
		s.wake.Signal()
	}
	s.mu.Unlock()
}

// adoptDeferred takes the next try from the file.
func (s *Sched) adoptDeferred(id string) {
	if at, err := s.q.NextTry(id); err == nil {
		s.waitUntil(id, at)
	}
}

// look is for a candidate that was not where it should be: it is somewhere else,
// or gone.
func (s *Sched) look(id string, not queue.Folder) {
	where, there := s.q.Find(id)
	switch {
	case there && where != not:
		s.Changed(id)
	case there:
		s.later(id)
	}
}

// FlushAll tries all deferred mail now, and dead destinations too ("postqueue -f",
// "sendmail -q"). It returns how many messages that are.
func (s *Sched) FlushAll() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.waiting.len()
	for s.waiting.len() > 0 {
		id, _ := s.waiting.take(time.Unix(1<<33, 0))
		s.due.push(candidate{id: id, from: queue.Deferred})
	}
	for _, tr := range s.transports {
		for _, d := range tr.dests {
			if d.dead != nil {
				d.wakeUp()
			}
		}
	}
	s.setTimer()
	s.dispatch()
	s.wake.Broadcast()
	return n
}

// FlushID tries one deferred message now ("postqueue -i"), also at a destination
// that is dead. It tells whether the message waited.
func (s *Sched) FlushID(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waiting.remove(id) {
		return false
	}
	s.due.push(candidate{id: id, from: queue.Deferred, force: true})
	s.setTimer()
	s.wake.Signal()
	return true
}

// errNotConfigured answers FlushSite for a domain outside of fast_flush_domains.
var errNotConfigured = errors.New("flush service is not configured for this destination")

// FlushSite tries all deferred mail for a domain now ("postqueue -s", ETRN). The
// domain must be in fast_flush_domains. The queue is listed outside of the lock.
func (s *Sched) FlushSite(site string) (int, error) {
	site = strings.ToLower(site)
	s.mu.Lock()
	allowed := matchesDomain(s.o.FlushDomains, site)
	s.mu.Unlock()
	if !allowed {
		return 0, errNotConfigured
	}
	n := 0
	err := s.q.Deferred(func(l *queue.Listing) error {
		if isFor(l, site) && s.FlushID(l.ID) {
			n++
		}
		return nil
	})
	return n, err
}

// isFor tells whether a deferred message has an open recipient at site.
func isFor(l *queue.Listing, site string) bool {
	for i := range l.Rcpts {
		if strings.EqualFold(mail.Address(l.Rcpts[i].Addr).Domain(), site) {
			return true
		}
	}
	return false
}

// matchesDomain tells whether list has the domain, or, as ".parent", one above it.
func matchesDomain(list []string, domain string) bool {
	for _, l := range list {
		l = strings.ToLower(l)
		if l == domain || strings.HasPrefix(l, ".") && strings.HasSuffix(domain, l) {
			return true
		}
	}
	return false
}

// Hold, Release, Requeue and Delete do in the daemon what postsuper(1) does from
// outside: they move the file and let the scheduler look at it.

// Hold puts a message aside until Release.
func (s *Sched) Hold(id string) error { return s.move(id, s.q.Hold) }

// Release lets a held message be tried again.
func (s *Sched) Release(id string) error { return s.move(id, s.q.Release) }

// Requeue has a message routed anew and tried now.
func (s *Sched) Requeue(id string) error { return s.move(id, s.q.Requeue) }

// Delete deletes a message. Jobs that have begun are not called back.
func (s *Sched) Delete(id string) error { return s.move(id, s.q.Delete) }

func (s *Sched) move(id string, do func(string) (bool, error)) error {
	moved, err := do(id)
	if err == nil && !moved {
		err = fs.ErrNotExist
	}
	if moved {
		s.Changed(id)
	}
	return err
}

// Figures of the control conversation.
const (
	controlIdle = 10 * time.Second // without a command the conversation ends
	controlLine = 1024             // longest command in bytes
)

// ServeControl answers one conversation on public/qmgr and closes it. A command
// is a line: a letter and, where it has one, an argument. The answer is a line:
// "ok" and a number, or "no" and a reason.
//
//	F           try all deferred mail now       (postqueue -f)
//	I ID        try one message now             (postqueue -i)
//	S DOMAIN    try the mail for a domain now   (postqueue -s)
//	C ID        look at this message again      (postsuper, after it moved a file)
//	A           look at all messages again      (postsuper ALL)
//
// None of them can lose or reveal anything, so whoever may open the socket may
// use them. Bytes that are no command end the conversation.
func (s *Sched) ServeControl(conn net.Conn) {
	defer conn.Close()
	defer func() {
		if v := recover(); v != nil {
			s.log.TransportPanic("control", "qmgr", v)
		}
	}()
	r := bufio.NewReaderSize(conn, controlLine)
	w := bufio.NewWriter(conn)
	for {
		conn.SetDeadline(time.Now().Add(controlIdle))
		line, err := r.ReadSlice('\n')
		if err != nil || len(line) < 2 {
			return
		}
		answer, ok := s.control(line[0], strings.TrimSpace(string(line[1:])))
		w.WriteString(answer)
		// Many ids in one write (postsuper -d -) get their answers in one write.
		if !ok || r.Buffered() == 0 {
			if w.Flush() != nil || !ok {
				return
			}
		}
	}
}

// control runs one command.
func (s *Sched) control(cmd byte, arg string) (answer string, ok bool) {
	switch cmd {
	case 'F':
		return okLine(s.FlushAll()), true
	case 'A':
		return okLine(s.LookAtAll()), true
	case 'S':
		n, err := s.FlushSite(arg)
		if err != nil {
			return "no " + err.Error() + "\n", true
		}
		return okLine(n), true
	case 'I', 'C':
		if !queue.ValidID(arg) {
			return "no bad queue id\n", true
		}
		if cmd == 'C' {
			s.Changed(arg)
			return okLine(1), true
		}
		if !s.FlushID(arg) {
			return okLine(0), true
		}
		return okLine(1), true
	}
	return "no such command\n", false
}

// LookAtAll compares what is in memory with the folders, for all messages.
func (s *Sched) LookAtAll() int {
	ids := map[string]struct{}{}
	s.mu.Lock()
	for id := range s.active {
		ids[id] = struct{}{}
	}
	for id := range s.waiting.pos {
		ids[id] = struct{}{}
	}
	s.mu.Unlock()
	for _, f := range []queue.Folder{queue.Incoming, queue.Deferred} {
		s.q.IDs(f, func(id string) error { ids[id] = struct{}{}; return nil })
	}
	for id := range ids {
		s.Changed(id)
	}
	return len(ids)
}

// okLine is the answer of a command that touched n messages.
func okLine(n int) string { return "ok " + strconv.Itoa(n) + "\n" }
