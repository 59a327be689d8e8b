package deliver

import (
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
)

// Recipients tells whose mailbox an address is. mrad implements it for its
// LMTP ports.
type Recipients interface {
	// Recipient returns the account of addr, or why mail for it is not taken.
	Recipient(addr mail.Address) (Account, *mail.Status)
}

// Everyone gives all mail of a conversation to one account: the recipients
// that mtad names were looked up before the process was started.
func Everyone(a Account) Recipients { return everyone{a} }

type everyone struct{ a Account }

func (e everyone) Recipient(mail.Address) (Account, *mail.Status) { return e.a, nil }

// Result is one message's end for one recipient, for the log.
type Result struct {
	User      string
	MessageID string
	Status    *mail.Status
}

// LMTP is the backend of LMTP conversations. It may serve many at once; each
// wants a backend of its own, since it keeps agents.
type LMTP struct {
	o     Options
	rcpts Recipients
	agent map[Account]*Agent
	done  func(Result)
}

// NewLMTP returns a backend for one conversation. done, if not nil, is called
// for every recipient of every message.
func NewLMTP(o Options, r Recipients, done func(Result)) *LMTP {
	return &LMTP{o: o, rcpts: r, agent: map[Account]*Agent{}, done: done}
}

// Rcpt implements lmtpd.Backend. It runs in the reading goroutine, Deliver in
// the delivering one: they share nothing but r.
func (l *LMTP) Rcpt(r *lmtpd.Rcpt) *mail.Status {
	a, st := l.rcpts.Recipient(r.Addr)
	if st != nil {
		return st
	}
	r.Box = a
	return nil
}

// Deliver implements lmtpd.Backend: all mail of one account goes to its
// mailbox at once.
func (l *LMTP) Deliver(batch []*lmtpd.Message) {
	var order []Account
	work := map[Account][]*lmtpd.Rcpt{}
	msgs := map[Account][]Message{}
	for _, m := range batch {
		for _, r := range m.Rcpts {
			a := r.Box.(Account)
			if len(work[a]) == 0 {
				order = append(order, a)
			}
			work[a] = append(work[a], r)
			msgs[a] = append(msgs[a], Message{Sender: m.Sender, ReturnPath: true, OrigTo: r.Orig, To: delivered(r), Body: m.Reader()})
		}
	}
	wanted := func() bool { return !batch[0].Unwanted() } // one client sent them all
	for _, a := range order {
		for i, st := range l.of(a).Deliver(msgs[a], wanted) {
			work[a][i].Status = st
		}
	}
	l.tell(batch)
}

// delivered is what stands in Delivered-To: what mtad says, else the recipient.
func delivered(r *lmtpd.Rcpt) string {
	if r.Delivered != "" {
		return r.Delivered
	}
	return r.Addr.Quoted()
}

// maxAgents bounds what one conversation remembers.
const maxAgents = 1000

func (l *LMTP) of(a Account) *Agent {
	g := l.agent[a]
	if g == nil {
		if len(l.agent) >= maxAgents {
			clear(l.agent)
		}
		g = New(l.o, a)
		l.agent[a] = g
	}
	return g
}

func (l *LMTP) tell(batch []*lmtpd.Message) {
	if l.done == nil {
		return
	}
	for _, m := range batch {
		id := MessageID(m.Reader())
		for _, r := range m.Rcpts {
			l.done(Result{User: r.Box.(Account).User, MessageID: id, Status: r.Status})
		}
	}
}
