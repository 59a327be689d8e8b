package local

import (
	"context"

	"packetboat/internal/mail"
)

// Retry is the transport retry(8): its next hop is the text that every
// recipient is deferred with.
type Retry struct{}

// Deliver implements Transport.
func (Retry) Deliver(_ context.Context, job *mail.Job) { refuse(job, false) }
