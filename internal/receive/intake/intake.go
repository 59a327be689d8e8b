// Package intake is the one door into the queue: what cleanup(8) does in
// Postfix. It writes the Received: header, completes what local users leave
// out, removes what must not travel, expands virtual aliases, and commits the
// message. Nothing of a message is held in memory but the header field that is
// being looked at.
package intake

import (
	"net"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/sys/maillog"
)

// Options are the parameters of intake. The zero value works: headers of local
// users are completed, but nothing is appended to bare addresses.
type Options struct {
	Hostname          string   `main:"myhostname"`
	Origin            string   `main:"myorigin"` // appended to addresses without a domain
	Domain            string   `main:"mydomain"` // with AppendDotDomain
	MailName          string   `main:"mail_name"`
	AppendDotDomain   bool     `main:"append_dot_mydomain"`
	SwapBangpath      bool     `main:"swap_bangpath"`
	PercentHack       bool     `main:"allow_percent_hack"`
	RewriteClients    []string `main:"local_header_rewrite_clients"` // nil = permit_inet_interfaces
	RemoteDomain      string   `main:"remote_header_rewrite_domain"` // empty = headers of strangers stay as they are
	AlwaysAddMissing  bool     `main:"always_add_missing_headers"`
	DropHeaders       []string `main:"message_drop_headers"` // nil = bcc, content-length, resent-bcc, return-path
	Undisclosed       string   `main:"undisclosed_recipients_header"`
	EmptyRecipient    string   `main:"empty_address_recipient"`       // "" = MAILER-DAEMON
	HopcountLimit     int      `main:"hopcount_limit"`                // Received: headers; 0 = 50
	HeaderSizeLimit   int      `main:"header_size_limit"`             // octets of one field, the rest is cut off; 0 = 102400
	MessageSizeLimit  int64    `main:"message_size_limit"`            // octets; 0 = no limit
	DuplicateLimit    int      `main:"duplicate_filter_limit"`        // recipients that are compared; 0 = all
	OriginalRecipient bool     `main:"enable_original_recipient"`     // compare with what the sender wrote
	ExpansionLimit    int      `main:"virtual_alias_expansion_limit"` // members of one alias; 0 = 1000
	SASLHeader        bool     `main:"smtpd_sasl_authenticated_header"`
	TLSHeader         bool     `main:"smtpd_tls_received_header"`

	// Expander expands virtual_alias_maps; nil = none.
	Expander Expander
	// Networks tells for permit_mynetworks whether a client is in mynetworks; nil = no.
	Networks func(netip.Addr) bool
}

// Expander expands an address through virtual_alias_maps, recursively. It
// returns the address itself when no alias matches. An error means that nobody
// could tell: the message must wait.
type Expander interface {
	Expand(addr mail.Address) ([]mail.Address, error)
}

// Intake takes messages into one queue. All methods may be called at once.
type Intake struct {
	o          Options
	create     func() (file, error)
	log        *maillog.Log
	queued     func(id string, env *mail.Envelope, size int64)
	kinds      map[string]headerKind
	interfaces map[netip.Addr]bool
}

// file is the unfinished queue file, *queue.Writer outside of tests.
type file interface {
	ID() string
	Write(p []byte) (int, error)
	Commit(env *mail.Envelope) error
	Abort()
}

// New returns the door into q. log speaks as "cleanup". queued is called with
// every committed message, in the goroutine that committed it; send/sched's
// Add is meant. It may be nil.
func New(o Options, q *queue.Queue, log *maillog.Log, queued func(id string, env *mail.Envelope, size int64)) *Intake {
	in := &Intake{o: o, log: log, queued: queued}
	in.create = func() (file, error) {
		w, err := q.Create()
		if err != nil {
			return nil, err // not w: a nil *Writer in an interface is not nil
		}
		return w, nil
	}
	in.defaults()
	return in
}

func (in *Intake) defaults() {
	o := &in.o
	o.HopcountLimit = orElse(o.HopcountLimit, 50)
	o.HeaderSizeLimit = orElse(o.HeaderSizeLimit, 102400)
	o.ExpansionLimit = orElse(o.ExpansionLimit, 1000)
	o.EmptyRecipient = orElse(o.EmptyRecipient, "MAILER-DAEMON")
	o.MailName = orElse(o.MailName, "Postfix")
	o.Hostname = orElse(o.Hostname, "localhost")
	if o.RewriteClients == nil {
		o.RewriteClients = []string{"permit_inet_interfaces"}
	}
	if o.DropHeaders == nil {
		o.DropHeaders = []string{"bcc", "content-length", "resent-bcc", "return-path"}
	}
	in.kinds = headerKinds(o.DropHeaders)
	in.interfaces = localAddresses()
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// localAddresses returns the addresses of this machine, for permit_inet_interfaces.
func localAddresses() map[netip.Addr]bool {
	set := map[netip.Addr]bool{}
	addrs, _ := net.InterfaceAddrs() // none: then nobody is local
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			set[p.Addr().Unmap()] = true
		}
	}
	return set
}

// local tells whether the headers of what p sends are completed and rewritten
// as a local user's (local_header_rewrite_clients of postconf(5)). Mail that
// came over no network always is.
func (in *Intake) local(p mail.Peer) bool {
	if !p.Addr.IsValid() {
		return true
	}
	for _, rule := range in.o.RewriteClients {
		switch strings.ToLower(rule) {
		case "permit_inet_interfaces":
			if in.interfaces[p.Addr.Unmap()] {
				return true
			}
		case "permit_mynetworks":
			if in.o.Networks != nil && in.o.Networks(p.Addr.Unmap()) {
				return true
			}
		case "permit_sasl_authenticated":
			if p.SASL != "" {
				return true
			}
		}
	}
	return false
}

// Open makes the queue file, with its id, for a message that begins. The error
// is a temporary *mail.Status. The caller ends the Message with Commit or Abort.
func (in *Intake) Open() (*Message, error) {
	w, err := in.create()
	if err != nil {
		return nil, err
	}
	return &Message{in: in, w: w, id: w.ID()}, nil
}
