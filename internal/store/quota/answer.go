package quota

import (
	"errors"

	"packetboat/internal/store"
)

// Answer is what IMAP tells a client, behind "NO ", when there is no room: the response
// code (RFC 9208 section 4.5, RFC 5530 section 3) and the text, as Dovecot's.
func Answer(err error) string {
	var e *Error
	switch {
	case !errors.As(err, &e):
		return "[OVERQUOTA] " + fullText
	case e.Kind == TooLong:
		return "[LIMIT] " + e.Text
	}
	return "[OVERQUOTA] " + e.Text
}

// Room says whether messages of these sizes fit into a mailbox; one without limits has
// room.
func Room(box store.Mailbox, sizes []int64) error {
	if b, ok := box.(Bounded); ok {
		return b.Fits(sizes)
	}
	return nil
}
