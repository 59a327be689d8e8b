package lmtpd

import (
	"fmt"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

// writeWait is how long a client may take to read its answers.
const writeWait = 5 * time.Minute

// answer is the delivering half: it takes all that has come in, delivers the
// messages among it at once and sends all answers with one write.
func (s *session) answer() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("internal error: %v", v)
			s.conn.Close() // no answer: the sender keeps its mail
		}
	}()
	var items []item
	for it := range s.out {
		items = append(items[:0], it)
		msgs := count(it)
		for more := true; more && msgs < maxBatch && !it.last; {
			select {
			case next, ok := <-s.out:
				if !ok {
					more = false
					break
				}
				items = append(items, next)
				msgs += count(next)
				it = next
			default:
				more = false
			}
		}
		if err := s.send(items); err != nil {
			s.conn.Close() // wakes the reading half
			return err
		}
	}
	return nil
}

func count(it item) int {
	if it.msg != nil {
		return 1
	}
	return 0
}

// send delivers the messages of items and writes all answers in order.
func (s *session) send(items []item) error {
	var batch []*Message
	for _, it := range items {
		if it.msg != nil && it.msg.failed == nil {
			batch = append(batch, it.msg)
		}
	}
	defer drop(items)
	if len(batch) > 0 {
		// A client that is gone never hears what became of its messages, and sends
		// them again: what is not in a mailbox yet stays out of it (RFC 1047).
		if proc.HungUp(s.conn) {
			return errGone
		}
		s.b.Deliver(batch)
	}
	var out []byte
	for _, it := range items {
		out = append(out, it.text...)
		if it.msg != nil {
			out = it.msg.answers(out)
		}
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeWait))
	_, err := s.conn.Write(out)
	return err
}

// drop lets go of what the messages of items hold.
func drop(items []item) {
	for _, it := range items {
		if it.msg != nil {
			it.msg.spool.Close()
		}
	}
}

// answers writes one answer a recipient (RFC 2033 section 4.2).
func (m *Message) answers(out []byte) []byte {
	for _, r := range m.Rcpts {
		st := r.Status
		if m.failed != nil {
			st = m.failed
		}
		if st == nil {
			st = mail.OK("2.0.0", "delivered to mailbox")
		}
		out = append(out, statusLine(st)...)
	}
	return out
}
