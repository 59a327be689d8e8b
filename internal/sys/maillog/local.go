package maillog

import (
	"time"

	"packetboat/internal/mail"
)

// LocalWarning writes a warning of local(8) or virtual(8).
func (g *Log) LocalWarning(format string, args ...any) { g.Warn(format, args...) }

// LocalAlso writes the delivery line of one of several destinations that a
// recipient led to; the line of the last one is written with the queue's
// answer. to is the destination's address.
func (g *Log) LocalAlso(job *mail.Job, rcpt *mail.Rcpt, to mail.Address, r *mail.Result) {
	orig := rcpt.Orig
	if orig == "" {
		orig = rcpt.Addr
	}
	now := time.Now()
	line := DeliveryLine{ID: job.ID, To: to.Quoted(), OrigTo: orig.Quoted(), Relay: r.Relay, Reuse: r.Reuse,
		Total: now.Sub(job.Env.Arrived),
		Parts: [4]time.Duration{job.Started.Sub(job.Env.Arrived), 0, r.Connect, r.Send},
		DSN:   r.Status.Code, Status: r.Status.Outcome.String(), Text: r.Status.Text}
	g.Delivery(&line)
}
