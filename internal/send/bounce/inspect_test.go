package bounce

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"packetboat/internal/mail"
)

// draft is a report at a door of the test's.
type draft struct {
	bytes.Buffer
	env            *mail.Envelope
	refuse         error
	done, released bool
}

func (d *draft) ID() string    { return "DRAFT1" }
func (d *draft) Commit() error { d.done = true; return d.refuse }
func (d *draft) Abort()        { d.released = true }

// TestInspected: with a door the report goes through it whole, but for the Received:
// line that the door writes; a report that the door refuses is not lost in silence.
func TestInspected(t *testing.T) {
	refusal := errors.New("a milter says no")
	for _, refuse := range []error{nil, refusal} {
		r := newRig(t, Options{})
		n := r.notice(&mail.Envelope{Sender: "me@example.org"}, "Subject: x\n\nbody\n",
			Report{Rcpt: &mail.Rcpt{Addr: "you@example.com"}, Status: mail.Bounce("5.1.1", "no such user"), Action: "failed"})
		plain, err := r.b.Send(Failure, n)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := r.text(plain[0])
		d := &draft{refuse: refuse}
		r.b.Inspect(func(env *mail.Envelope) (Draft, error) { d.env = env; return d, nil })
		sent, err := r.b.Send(Failure, n)
		if err != refuse || !d.released || !d.done {
			t.Fatalf("%v %+v", err, d)
		}
		if refuse != nil {
			continue
		}
		if len(sent) != 1 || sent[0].ID != "DRAFT1" || !sent[0].Taken || sent[0].Env != nil {
			t.Errorf("%+v", sent)
		}
		if d.env.Sender != "" || len(d.env.Rcpts) != 1 || d.env.Rcpts[0].Addr != "me@example.org" || d.env.Rcpts[0].Notify != mail.NotifyNever {
			t.Errorf("%+v", d.env)
		}
		_, want, _ = strings.Cut(want, "\nDate: ")
		got := strings.TrimPrefix(d.String(), "Date: ")
		if a, b := normal(want, plain[0].ID, n.ID), normal(got, "DRAFT1", n.ID); a != b {
			t.Errorf("%s\nnot\n%s", b, a)
		}
		if log := r.log.String(); !strings.Contains(log, "sender non-delivery notification: DRAFT1") {
			t.Error(log)
		}
	}
}

// TestCleared: who was told of a delay is told of its end, unless he wants to hear of
// failures only.
func TestCleared(t *testing.T) {
	for notify, told := range map[mail.Notify]bool{0: true, mail.NotifyDelay: true, mail.NotifySuccess: true, mail.NotifyFailure: false, mail.NotifyNever: false} {
		r := newRig(t, Options{})
		n := r.notice(&mail.Envelope{Sender: "me@example.org"}, "Subject: x\n\nbody\n",
			Report{Rcpt: &mail.Rcpt{Addr: "you@example.com", Notify: notify}, Status: mail.OK("2.0.0", "250 ok"), Action: "relayed", Relay: "x", Cleared: true})
		sent, err := r.b.Send(Success, n)
		if err != nil || (len(sent) == 1) != told {
			t.Errorf("%v: %d reports, %v", notify, len(sent), err)
		}
	}
}
