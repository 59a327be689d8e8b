package explain

import (
	"errors"
	"os"
	"time"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/receive/intake"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/sys/config"
)

// door is the intake of a service, before a queue that nobody delivers from: a
// folder for this explanation alone.
type door struct {
	dir string
	in  *intake.Intake
	src *intake.Source
}

// openDoor opens the door that mail of m comes through.
func (a *asker) openDoor(m *config.Main) (*door, error) {
	dir, err := os.MkdirTemp("", "explain")
	if err != nil {
		return nil, err
	}
	d := &door{dir: dir}
	q, err := queue.Open(dir)
	if err == nil {
		var all *wiring.Intakes
		if all, err = a.kit.Intakes(q, nil); err == nil {
			d.in, err = all.For(m)
		}
	}
	if err == nil {
		d.src, err = a.kit.Source(m)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *door) close() { os.RemoveAll(d.dir) }

// queued puts an empty message into the queue and returns its envelope as
// intake made it: with the recipients that are delivered to.
func (d *door) queued(env *mail.Envelope) error {
	m, err := d.in.OpenFrom(d.src)
	if err != nil {
		return err
	}
	if err := m.Start(env); err != nil {
		m.Abort()
		return err
	}
	return m.Commit()
}

// accept rewrites the recipient as it is queued, with the steps that led there.
func (a *asker) accept(m *config.Main) error {
	d, err := a.openDoor(m)
	if err != nil {
		return err
	}
	defer d.close()
	env := a.kept
	if env == nil { // refused: what would have come of it is of interest all the same
		env = &mail.Envelope{Sender: a.q.Sender, Rcpts: []mail.Rcpt{{Addr: a.q.Address}},
			Peer: mail.Peer{Name: "unknown", Proto: "ESMTP", Addr: a.q.Client, Helo: a.q.Helo}, Arrived: time.Now()}
	}
	env.Sender, env.Rcpts = a.q.Sender, []mail.Rcpt{{Addr: a.q.Address}}
	a.d.heard()
	a.kit.Router.Canonical(a.q.Address) // its steps are told first, as they are done
	err = d.queued(env)
	a.r.Rewriting = a.steps(a.heardRoute())
	var st *mail.Status
	if errors.As(err, &st) {
		a.r.Deliveries = []Delivery{{Address: string(a.q.Address), Result: resultText(st)}}
		return nil
	}
	if err != nil {
		return err
	}
	a.actions(env)
	for _, r := range env.Rcpts {
		a.r.Deliveries = append(a.r.Deliveries, a.delivery(r.Addr, env.Sender, env.Filter, 0))
	}
	return nil
}

// actions tells what tables asked for besides a permission (access(5)).
func (a *asker) actions(env *mail.Envelope) {
	act := &env.Actions
	if act.Hold {
		a.note("the message is put on hold until postsuper -H lets it go")
	}
	if act.Discard {
		a.note("the message is thrown away")
	}
	if env.Filter != "" {
		a.note("the message goes through the content filter %s", env.Filter)
	}
	for _, b := range act.BCC {
		a.note("a copy goes to %s", b)
	}
	if act.Redirect != "" {
		a.note("the message is redirected to %s", act.Redirect)
	}
}

// hearIntake takes an event of intake.
func (d *dialogue) hearIntake(param string, from, to mail.Address) {
	e := rewrite.Event{What: rewrite.Rewritten, Param: param, From: from, To: []mail.Address{to}}
	d.add(event{route: &e})
}
