package maillog

import "os"

// IMAPSession names a session in Dovecot's lines: "imap(alice)<pid><id>: ".
// The Log's program is "imap".
type IMAPSession struct{ User, ID string }

// IMAPCounts is what Dovecot's imap_logout_format shows. Octets are counted as
// they are on the wire.
type IMAPCounts struct {
	In, Out             int64
	Deleted, Expunged   int // messages marked \Deleted; messages removed
	Trashed             int // messages copied to the trash
	HdrCount, BodyCount int // headers, bodies and parts sent
	HdrBytes, BodyBytes int64
}

// IMAPDisconnected is the last line of a session.
func (g *Log) IMAPDisconnected(s IMAPSession, reason string, c IMAPCounts) {
	g.Info("(%s)<%d><%s>: Disconnected: %s in=%d out=%d deleted=%d expunged=%d trashed=%d hdr_count=%d hdr_bytes=%d body_count=%d body_bytes=%d",
		s.User, os.Getpid(), s.ID, reason, c.In, c.Out, c.Deleted, c.Expunged, c.Trashed, c.HdrCount, c.HdrBytes, c.BodyCount, c.BodyBytes)
}

// IMAPError tells that something of the user's mail could not be read or written.
func (g *Log) IMAPError(s IMAPSession, what string, err error) {
	g.write(sevErr, "", "(%s)<%d><%s>: Error: %s: %v", []any{s.User, os.Getpid(), s.ID, what, err})
}

// IMAPPanic tells that a session ended by a fault of this program.
func (g *Log) IMAPPanic(s IMAPSession, command, what string, stack []byte) {
	g.write(sevErr, "", "(%s)<%d><%s>: Panic: %s in command %s: %s", []any{s.User, os.Getpid(), s.ID, what, command, stack})
}
