package mail

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is what became of one try. It is set by whoever knows, never guessed
// from a text.
type Outcome uint8

// The values of Outcome.
const (
	Sent     Outcome = iota // delivered
	Deferred                // temporary failure: try again later
	Bounced                 // permanent failure: tell the sender
)

// String returns the word that stands behind "status=" in the log.
func (o Outcome) String() string { return [...]string{"sent", "deferred", "bounced"}[o] }

// Status is the answer to one try, success or failure, with its enhanced code
// (RFC 3463). As an error it stands for a failure. Text is one line for people
// and for the log; it may hold bytes of a stranger and is escaped by whoever
// prints it.
type Status struct {
	Outcome Outcome
	Code    string // x.y.z, RFC 3463; its first digit agrees with Outcome
	Reply   int    // SMTP reply code if the text is for an SMTP client or came from one; else 0
	Text    string
	MTA     string // the remote host that said it (RFC 3464 Remote-MTA); empty = we did
	Remote  string // the remote host's reply as it came (RFC 3464 Diagnostic-Code), empty = Text is ours
	Action  string // where the log wants another word than Outcome: "expired", "undeliverable", "deliverable"; or below
}

// Words that a transport may set as Action of a success. They are for reports
// (RFC 3461 section 5.2.2) only; the log says "sent".
const (
	Relayed  = "relayed" // the next host does not know DSN: a report of NOTIFY=SUCCESS is ours to write
	PassedOn = "passed"  // the next host took over NOTIFY=SUCCESS: no report from us
)

// Error makes Status an error.
func (s *Status) Error() string { return s.Text }

// Temporary tells whether the same try may succeed later.
func (s *Status) Temporary() bool { return s.Outcome == Deferred }

// OK returns a success with code and text, both for the log.
func OK(code, format string, args ...any) *Status {
	return &Status{Outcome: Sent, Code: code, Reply: 250, Text: sprintf(format, args)}
}

// Defer returns a temporary failure; code begins with 4.
func Defer(code, format string, args ...any) *Status {
	return &Status{Outcome: Deferred, Code: code, Reply: 451, Text: sprintf(format, args)}
}

// Bounce returns a permanent failure; code begins with 5.
func Bounce(code, format string, args ...any) *Status {
	return &Status{Outcome: Bounced, Code: code, Reply: 550, Text: sprintf(format, args)}
}

// WithReply sets the SMTP reply code and returns s.
func (s *Status) WithReply(code int) *Status { s.Reply = code; return s }

// AsStatus finds a Status in err's chain; any other error is a temporary
// failure of this system (4.3.0): mail is never bounced for an error that
// nobody classified.
func AsStatus(err error) *Status {
	if err == nil {
		return OK("2.0.0", "")
	}
	if s, ok := errors.AsType[*Status](err); ok {
		return s
	}
	return Defer("4.3.0", "%s", err.Error())
}

func sprintf(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// Result is a transport's answer for one recipient, with what the log line
// wants: relay= and the part of delays= that the transport knows.
type Result struct {
	Status  *Status
	To      Address       // where the mail went in the end, if an alias led there; empty = the recipient
	Program string        // tag of the log line: local, smtp, lmtp, virtual, error, discard, pipe
	Relay   string        // "local", "virtual", "none", "host[ip]:port"
	Connect time.Duration // third figure of delays=: connection set-up, DNS, HELO and TLS
	Send    time.Duration // fourth figure: transmission
	Reuse   int           // conn_use=, when above 1
}
