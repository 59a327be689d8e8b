package local

import (
	"context"

	"packetboat/internal/mail"
	"packetboat/internal/route/rewrite"
)

// Error is the transport error(8): its next hop is the text that every
// recipient bounces with, "5.1.2 text" or without a code.
type Error struct{}

// Deliver implements Transport.
func (Error) Deliver(_ context.Context, job *mail.Job) { refuse(job, true) }

func refuse(job *mail.Job, permanent bool) {
	text := job.Nexthop
	if text == "" {
		text = "undeliverable address"
	}
	st := rewrite.SplitText(permanent, text)
	for i := range job.Rcpts {
		job.Report(i, mail.Result{Status: st, Program: "error", Relay: "none"})
	}
}
