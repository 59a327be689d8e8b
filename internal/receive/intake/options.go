package intake

import (
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/milter"
	"packetboat/internal/route/table"
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
	FromFormat        string   `main:"header_from_format"`   // standard or obsolete
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

	Maps    MapOptions
	Content ContentOptions

	// Expander expands virtual_alias_maps; nil = none.
	Expander Expander
	// Trace is told what canonical_maps and its like make of addresses; nil in a
	// daemon.
	Trace func(param string, from, to mail.Address)
	// Networks tells for permit_mynetworks whether a client is in mynetworks; nil = no.
	Networks func(netip.Addr) bool
	// Local tells whether mail for a domain is delivered here (mydestination): such
	// addresses are looked up without it, too. nil = only Origin.
	Local func(domain string) (bool, error)
	// Tables says how tables are opened. With Missing, mail that needs a table which
	// cannot be read waits; without, New fails.
	Tables table.Options
}

// MapOptions say how addresses are changed and who gets copies
// (ADDRESS_REWRITING_README). nil lists of classes are Postfix's defaults.
type MapOptions struct {
	Canonical         []string `main:"canonical_maps"`
	CanonicalClasses  []string `main:"canonical_classes"`
	Sender            []string `main:"sender_canonical_maps"`
	SenderClasses     []string `main:"sender_canonical_classes"`
	Recipient         []string `main:"recipient_canonical_maps"`
	RecipientClasses  []string `main:"recipient_canonical_classes"`
	Masquerade        []string `main:"masquerade_domains"`
	MasqueradeClasses []string `main:"masquerade_classes"`
	MasqueradeExcept  []string `main:"masquerade_exceptions"`
	AlwaysBCC         string   `main:"always_bcc"`
	SenderBCC         []string `main:"sender_bcc_maps"`
	RecipientBCC      []string `main:"recipient_bcc_maps"`
	Delimiter         string   `main:"recipient_delimiter"`
	Propagate         []string `main:"propagate_unmatched_extensions"`
}

// ContentOptions say how headers and bodies are judged (BUILTIN_FILTER_README).
type ContentOptions struct {
	HeaderChecks  []string `main:"header_checks"`
	MIMEChecks    []string `main:"mime_header_checks"`
	NestedChecks  []string `main:"nested_header_checks"`
	BodyChecks    []string `main:"body_checks"`
	BodyLimit     int      `main:"body_checks_size_limit"` // octets of each part; 0 = no limit
	MilterChecks  []string `main:"milter_header_checks"`
	RejectChars   string   `main:"message_reject_characters"`
	StripChars    string   `main:"message_strip_characters"`
	StrayCR       bool     `main:"cleanup_replace_stray_cr_lf"` // of local mail; smtpd does it for the network's
	Nesting       int      `main:"mime_nesting_limit"`          // 0 = 100
	Boundary      int      `main:"mime_boundary_length_limit"`  // octets; 0 = 2048
	NoMIME        bool     `main:"disable_mime_input_processing"`
	Strict8Bit    bool     `main:"strict_8bitmime"`
	Strict7Header bool     `main:"strict_7bit_headers"`
	Strict8Body   bool     `main:"strict_8bitmime_body"`
	StrictDomain  bool     `main:"strict_mime_encoding_domain"`
	Detect8Bit    bool     `main:"detect_8bit_encoding_header"`
}

// Source says how the mail of one service is treated: content_filter and
// receive_override_options of that service, and the milters of local mail.
type Source struct {
	Filter    string // content_filter: transport:destination
	NoMapping bool   // no_address_mappings
	NoChecks  bool   // no_header_body_checks
	NoMilters bool   // no_milters
	// Milters are non_smtpd_milters: for mail that comes over no network. smtpd's
	// own come with Message.SetMilters.
	Milters *milter.Set
}

// SourceOptions are the parameters behind a Source.
type SourceOptions struct {
	Filter   string   `main:"content_filter"`
	Override []string `main:"receive_override_options"`
	Milters  string   `main:"non_smtpd_milters"`
}

// NewSource reads them. unknown names a word of receive_override_options that
// means nothing.
func NewSource(o SourceOptions) (s *Source, unknown string) {
	s = &Source{Filter: o.Filter}
	for _, word := range o.Override {
		switch strings.ToLower(word) {
		case "no_unknown_recipient_checks": // smtpd's access lists
		case "no_address_mappings":
			s.NoMapping = true
		case "no_header_body_checks":
			s.NoChecks = true
		case "no_milters":
			s.NoMilters = true
		default:
			unknown = word
		}
	}
	return s, unknown
}

// Expander expands an address through virtual_alias_maps, recursively. It
// returns the address itself when no alias matches. An error means that nobody
// could tell: the message must wait.
type Expander interface {
	Expand(addr mail.Address) ([]mail.Address, error)
}
