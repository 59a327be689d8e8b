package sched

import (
	"errors"
	"io/fs"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
)

// Most new mail is delivered at once. Its file stays in incoming, which saves a
// rename, and moves to active when delivery has not ended after settleTime, so
// that whoever counts files there sees what takes its time. Mail that had to wait
// for its turn moves at once. A crash finds it in incoming, where Recover takes
// mail from active anyway.
const settleTime = time.Second

// young is a message that was begun with its file in incoming.
type young struct {
	id string
	at time.Time
}

// watchYoung notes a message that begins. The caller holds s.mu.
func (s *Sched) watchYoung(m *message) {
	if m.folder != queue.Incoming || s.stopping {
		return
	}
	s.young = append(s.young, young{m.ID, m.started})
	if len(s.young) > 1 {
		return
	}
	if s.settling == nil {
		s.settling = time.AfterFunc(settleTime, s.settle)
	} else {
		s.settling.Reset(settleTime)
	}
}

// settle moves the files of messages that are not young any more.
func (s *Sched) settle() {
	for _, m := range s.grown(time.Now()) {
		if err := s.activate(m); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.QueueUnwritable(m.ID, "cannot make active", err)
		}
		s.release(m)
	}
}

// grown takes the messages out of young that have been active for settleTime.
// Each has a hold that keeps it from being finished.
func (s *Sched) grown(now time.Time) (list []*message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.young) && now.Sub(s.young[n].at) >= settleTime {
		m := s.active[s.young[n].id]
		if m != nil && !m.ending && m.folder == queue.Incoming {
			m.running++
			list = append(list, m)
		}
		n++
	}
	s.young = append(s.young[:0], s.young[n:]...)
	if len(s.young) > 0 && !s.stopping {
		s.settling.Reset(settleTime - now.Sub(s.young[0].at))
	}
	return list
}

// activate moves a message's file to active, if it is not there. The caller has a
// hold on the message, or is its finish.
func (s *Sched) activate(m *message) error {
	if m.folder == queue.Active {
		return nil
	}
	err := s.q.Move(m.ID, m.folder, queue.Active)
	if err == nil {
		s.mu.Lock()
		m.folder = queue.Active
		s.mu.Unlock()
	}
	return err
}

// open opens the bytes of a message that is being delivered.
func (s *Sched) open(m *message) (mail.Content, error) {
	s.mu.Lock()
	folder := m.folder
	s.mu.Unlock()
	return s.q.OpenActive(m.ID, folder, m.Size)
}
