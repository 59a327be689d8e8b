package local

import (
	"context"

	"packetboat/internal/mail"
)

// Discard is the transport discard(8): mail is taken and dropped; its next hop
// is the text of the log.
type Discard struct{}

// Deliver implements Transport.
func (Discard) Deliver(_ context.Context, job *mail.Job) {
	st := mail.OK("2.0.0", "%s", job.Nexthop)
	for i := range job.Rcpts {
		job.Report(i, mail.Result{Status: st, Program: "discard", Relay: "none"})
	}
}
