package mail

import (
	"io"
	"net/netip"
	"os"
	"time"
)

// Body says which bytes a message's body may hold (RFC 6152, RFC 3030).
type Body uint8

// The values of Body, as MAIL FROM's BODY= parameter names them.
const (
	BodyUnknown Body = iota // nothing was declared; treated as 8BITMIME
	Body7Bit                // BODY=7BIT
	Body8Bit                // BODY=8BITMIME
	BodyBinary              // BODY=BINARYMIME
)

// Notify is the set of notices that a recipient asked for (RFC 3461 section 4.1).
// The zero value means that nothing was asked: failures and delays are told.
type Notify uint8

// The members of Notify.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Envelope is all that is known of a message beside its bytes. receive/* fills
// it, package queue stores it, send/* reads it.
type Envelope struct {
	Sender     Address   // MAIL FROM; empty = null sender
	Rcpts      []Rcpt    // at least one in a queued message
	Arrived    time.Time // when the message was accepted, with microseconds
	Body       Body
	SMTPUTF8   bool   // RFC 6531: the message needs SMTPUTF8 all the way
	RequireTLS bool   // RFC 8689
	Ret        string // RFC 3461 section 4.3: "", "FULL" or "HDRS"
	EnvID      string // RFC 3461 section 4.4, xtext decoded
	Filter     string // content_filter: transport:nexthop that overrides routing
	Verp       string // VERP delimiters (postconf(5) default_verp_delimiters); empty = no VERP
	Verify     bool   // sendmail -bv or -v: report what happened to the sender
	VerifyOnly bool   // sendmail -bv: deliver nothing, only say what would happen
	Peer       Peer   // who handed the message over
	Origin     Origin // who gave it to the content filter that is Peer
	UID        int    // for local submission the owner of the maildrop file; else -1
	MessageID  string // the Message-ID header, for the log
	Actions    Actions
}

// Rcpt is one recipient of an envelope.
type Rcpt struct {
	Addr   Address // where the message goes
	Orig   Address // as the sender wrote it, before aliases (X-Original-To); empty = Addr
	ORCPT  string  // RFC 3461 section 4.2 "type;address", xtext decoded; empty = none
	Notify Notify
	State  State // kept by package queue
}

// State says what became of one recipient of a queued message.
type State byte

// The values of State. They are the bytes that stand in a queue file.
const (
	Pending State = ' ' // still to be delivered
	Done    State = 'D' // delivered, or its failure has been reported
)

// Peer says who handed a message over, for headers, logs, policy and XFORWARD.
type Peer struct {
	Name    string     // reverse name that also resolves forward; "unknown" without one
	Addr    netip.Addr // client address; zero for local submission
	Port    uint16
	Helo    string // what HELO or EHLO said
	Proto   string // SMTP, ESMTP, LMTP; empty for local submission
	Service string // syslog name of the service: smtpd, submission/smtpd, smtps/smtpd, pickup
	TLS     string // empty in the clear; else "TLSv1.3 with cipher ..." for the Received header
	SASL    string // mechanism, empty without AUTH
	User    string // authenticated user
	// What is known of a client's certificate while the message comes in: a CA of
	// ours vouches for it; relay_clientcerts names it. The queue does not keep it.
	CertVerified, CertListed bool

	SASLFrom string // MAIL FROM ... AUTH=, xtext decoded (RFC 4954 section 5)
}

// Origin is the client in front of a content filter, as the filter told it with
// XFORWARD (XFORWARD_README), for the log and for the next host's log; zero
// without. A value that is not known is "unknown".
type Origin struct {
	Name, Addr, Port string
	Helo, Proto      string
	Ident            string // the queue id there
	Source           string // LOCAL or REMOTE
}

// Content is the bytes of one queued message, header and body with LF line
// ends, inside an open file. Off and Len are octets. Whoever opened it closes it.
type Content struct {
	File *os.File
	Off  int64
	Len  int64
}

// Reader returns a new reader over the content; readers do not disturb each other.
func (c Content) Reader() *io.SectionReader { return io.NewSectionReader(c.File, c.Off, c.Len) }

// Close closes the file.
func (c Content) Close() error { return c.File.Close() }

// Job is what the scheduler hands to a transport: one message for some
// recipients that share transport and next hop. The transport answers for each
// recipient, by its index in Rcpts, exactly once through Report, in any order
// and from any goroutine, before Deliver returns.
type Job struct {
	ID        string // queue id
	Env       *Envelope
	Size      int64  // octets of the content
	Transport string // master.cf service name: local, smtp, relay, virtual ...
	Nexthop   string // domain, [host]:port, or what the transport understands
	Rcpts     []Rcpt
	Started   time.Time               // when the message entered the active queue
	Open      func() (Content, error) // the message's bytes
	Report    func(i int, r Result)
}
