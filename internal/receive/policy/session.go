package policy

import (
	"fmt"
	"net/netip"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

// Lookup says how a name look-up of the client went.
type Lookup uint8

// The values of Lookup.
const (
	NameOK   Lookup = iota // known
	NameNone               // there is none, or it does not lead back: permanent
	NameTry                // no server could say: temporary
)

// Session is what is known of a client so far. smtpd fills it as the verbs
// come and hands it to each question; it belongs to one session's goroutine.
type Session struct {
	Name       string // verified name, or "unknown"
	NameState  Lookup
	Reverse    string // what the address claims to be, or "unknown"
	RevState   Lookup
	Addr       netip.Addr
	Helo       string // empty before HELO or EHLO
	Proto      string // SMTP or ESMTP
	Sender     *mail.Address
	Rcpt       *mail.Address // of the command under way; at DATA the only one, if there is one
	RcptCount  int           // recipients accepted so far
	Where      string        // CONNECT, HELO, EHLO, MAIL, RCPT, VRFY, DATA, END-OF-MESSAGE, ETRN
	Command    string        // the verb as it is named in texts: DATA, END-OF-DATA
	Site       string        // ETRN's argument
	QueueID    string        // empty before the first recipient
	User       string        // authenticated user
	Mech       string
	TLS        bool
	Pipelining bool // the client sent commands ahead of an answer it had to wait for

	// Earlier questions leave "if this should be let in, defer it instead" here,
	// for the later ones (defer_if_permit).
	afterClient, afterHelo, afterSender *Verdict
}

// Client returns "name[address]", as it stands in every log line.
func (s *Session) Client() string {
	return s.Name + "[" + s.Addr.Unmap().String() + "]"
}

// ResetMail forgets the transaction: after RSET, EHLO, STARTTLS, the end of a message.
func (s *Session) ResetMail() {
	s.Sender, s.Rcpt, s.RcptCount, s.QueueID = nil, nil, 0, ""
	s.afterSender = nil
}

// Verdict is a refusal. A nil *Verdict lets the client go on.
type Verdict struct {
	Code int    // SMTP reply code
	DSN  string // enhanced status code (RFC 3463); its first digit agrees with Code
	Text string
}

// verdict makes a refusal whose code and enhanced code agree in class, whatever
// class the administrator's reply code has.
func verdict(code int, dsn, format string, args ...any) *Verdict {
	return &Verdict{code, string('0'+byte(code/100)) + dsn[1:], fmt.Sprintf(format, args...)}
}

// Reply returns the reply line without its line end. Nothing of what a client
// said gets into it but printable text: what is not becomes a space.
func (v *Verdict) Reply() string {
	b := fmt.Appendf(nil, "%d %s %s", v.Code, v.DSN, v.Text)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// log writes the line of a refusal; what is reject, reject_warning and so on.
func (p *Policy) log(s *Session, what string, v *Verdict) {
	r := maillog.Refusal{ID: s.QueueID, What: what, Where: s.Where, Client: s.Client(),
		Text: v.Reply(), Proto: s.Proto, Helo: s.Helo}
	if s.Sender != nil {
		from := s.Sender.Quoted()
		r.From = &from
	}
	if s.Rcpt != nil {
		to := s.Rcpt.Quoted()
		r.To = &to
	}
	p.deps.Log.SMTPDReject(r)
}

// Reject logs a refusal that smtpd itself decides on (message size), in the
// form of the others.
func (p *Policy) Reject(s *Session, code int, dsn, text string) *Verdict {
	v := verdict(code, dsn, "%s", text)
	p.log(s, "reject", v)
	return v
}
