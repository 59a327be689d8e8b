package policy

import (
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/reply"
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
	Port       uint16         // the client's; 0 = unknown
	LogPort    bool           // Client tells it (smtpd_client_port_logging)
	Server     netip.AddrPort // our end of the connection
	Helo       string         // empty before HELO or EHLO
	Proto      string         // SMTP or ESMTP
	Sender     *mail.Address
	Rcpt       *mail.Address // of the command under way; at DATA the only one, if there is one
	RcptCount  int           // recipients accepted so far
	Where      string        // CONNECT, HELO, EHLO, MAIL, RCPT, VRFY, DATA, END-OF-MESSAGE, ETRN
	Command    string        // the verb as it is named in texts: DATA, END-OF-DATA
	Site       string        // ETRN's argument
	QueueID    string        // empty before the first recipient
	Instance   string        // the same for all questions about one message, and for no other message
	Size       int64         // octets: SIZE= of MAIL, or at END-OF-MESSAGE what came
	SMTPUTF8   bool          // MAIL asked for it
	User       string        // authenticated user
	Mech       string
	SASLSender string // MAIL FROM ... AUTH=
	TLS        bool
	Pipelining bool // the client sent commands ahead of an answer it had to wait for

	TLSProtocol, TLSCipher string // TLSv1.3, TLS_AES_256_GCM_SHA384
	TLSBits                int    // of the cipher's key
	// The client's certificate: fingerprints of it and of its key in the form of
	// smtpd_tls_fingerprint_digest ("AB:CD:..."), common names, and whether a CA of
	// ours vouches for it. Empty fingerprint = no certificate.
	Fingerprint, PubkeyFingerprint string
	Subject, Issuer                string
	Verified                       bool

	// Actions are what the message is to suffer if it is let in: smtpd copies them
	// into the envelope before the message's bytes, and again at their end.
	Actions mail.Actions

	// Earlier questions leave "if this should be let in, defer it instead" here,
	// for the later ones (defer_if_permit).
	afterClient, afterHelo, afterSender *Verdict
}

// Client returns "name[address]", or "name[address]:port" with LogPort, as it
// stands in every log line.
func (s *Session) Client() string {
	client := s.Name + "[" + s.Addr.Unmap().String() + "]"
	if !s.LogPort {
		return client
	}
	if s.Port == 0 {
		return client + ":unknown"
	}
	return client + ":" + portText(s.Port)
}

// ResetMail forgets the transaction: after RSET, EHLO, STARTTLS, the end of a message.
func (s *Session) ResetMail() {
	s.Sender, s.Rcpt, s.RcptCount, s.QueueID = nil, nil, 0, ""
	s.Instance, s.Size, s.SMTPUTF8, s.SASLSender = "", 0, false, ""
	s.Actions = mail.Actions{}
	s.afterSender = nil
}

// Verdict is a refusal. A nil *Verdict lets the client go on.
type Verdict = reply.Verdict

// log writes the line of a refusal; what is reject, reject_warning and so on.
func (p *Policy) log(s *Session, what string, v *Verdict) { p.note(s, what, v.Reply()) }

// note writes the line of something that a restriction did.
func (p *Policy) note(s *Session, what, text string) {
	r := maillog.Refusal{ID: s.QueueID, What: what, Where: s.Where, Client: s.Client(),
		Text: text, Proto: s.Proto, Helo: s.Helo}
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
	v := p.softened(reply.New(code, dsn, "%s", text))
	p.log(s, "reject", v)
	return v
}

func text(a *mail.Address) string {
	if a == nil {
		return ""
	}
	return string(*a)
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
