package smtpd

import (
	"context"
	"crypto/tls"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd/peername"
	"packetboat/internal/receive/smtpd/stream"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/maillog"
)

// Options are the parameters of main.cf that smtpd reads. The zero value is
// Postfix's default, but for what names it otherwise.
type Options struct {
	Hostname        string        `main:"myhostname"`   // empty = "localhost"
	Banner          string        `main:"smtpd_banner"` // expanded; empty = "HOST ESMTP Postfix"
	Service         string        // syslog name: smtpd, submission/smtpd; empty = "smtpd"
	Entry           string        // the service's name in master.cf, for limits and their log; empty = "smtp"
	SizeLimit       int64         `main:"message_size_limit"`                  // octets; 0 = no limit
	MinFree         int64         `main:"queue_minfree"`                       // octets of the queue that stay free
	LineLimit       int           `main:"line_length_limit"`                   // octets of a command; 0 = 2048
	Timeout         time.Duration `main:"smtpd_timeout"`                       // 0 = 300 s
	MinRate         int           `main:"smtpd_min_data_rate"`                 // octets a second; 0 = 500
	SoftErrors      int           `main:"smtpd_soft_error_limit"`              // 0 = 10
	HardErrors      int           `main:"smtpd_hard_error_limit"`              // 0 = 20
	ErrorSleep      time.Duration `main:"smtpd_error_sleep_time"`              // of each refusal above SoftErrors
	JunkLimit       int           `main:"smtpd_junk_command_limit"`            // 0 = 100
	RcptLimit       int           `main:"smtpd_recipient_limit"`               // 0 = 1000
	RcptOver        int           `main:"smtpd_recipient_overshoot_limit"`     // 0 = 1000
	ClientLimit     int           `main:"smtpd_client_connection_count_limit"` // sessions a client; 0 = no limit
	ConnRate        int           `main:"smtpd_client_connection_rate_limit"`  // a time unit, as those that follow; 0 = no limit
	MsgRate         int           `main:"smtpd_client_message_rate_limit"`
	RcptRate        int           `main:"smtpd_client_recipient_rate_limit"`
	TLSRate         int           `main:"smtpd_client_new_tls_session_rate_limit"`
	AuthRate        int           `main:"smtpd_client_auth_rate_limit"`
	ClientExempt    []string      `main:"smtpd_client_event_limit_exceptions"` // clients without these limits
	MaxSessions     int           // sessions of all clients; 0 = 1000
	HeloRequired    bool          `main:"smtpd_helo_required"`
	Strict821       bool          `main:"strict_rfc821_envelopes"`
	NoUTF8          string        `main:"smtputf8_enable"` // "no" switches SMTPUTF8 off
	DiscardEHLO     []string      `main:"smtpd_discard_ehlo_keywords"`
	NoVRFY          bool          `main:"disable_vrfy_command"`
	Forbidden       []string      `main:"smtpd_forbidden_commands"`
	NoopCommands    []string      `main:"smtpd_noop_commands"`
	LogPort         bool          `main:"smtpd_client_port_logging"`
	NoPeername      string        `main:"smtpd_peername_lookup"` // "no": every client is "unknown"
	DiscardMaps     []string      `main:"smtpd_discard_ehlo_keyword_address_maps"`
	BareNewline     string        `main:"smtpd_forbid_bare_newline"`
	BareExempt      []string      `main:"smtpd_forbid_bare_newline_exclusions"`
	BareCode        int           `main:"smtpd_forbid_bare_newline_reject_code"` // 0 = 550
	ForbidPipe      bool          `main:"smtpd_forbid_unauth_pipelining"`
	Filter          string        `main:"smtpd_proxy_filter"`  // host:port or unix:path of a before-queue filter
	FilterTime      time.Duration `main:"smtpd_proxy_timeout"` // 0 = 100 s
	FilterHelo      string        `main:"smtpd_proxy_ehlo"`    // empty = Hostname
	CommandFilter   string        `main:"smtpd_command_filter"`
	XClient         []string      `main:"smtpd_authorized_xclient_hosts"`
	XForward        []string      `main:"smtpd_authorized_xforward_hosts"`
	Upstream        string        `main:"smtpd_upstream_proxy_protocol"` // "haproxy", or empty
	UpstreamTime    time.Duration `main:"smtpd_upstream_proxy_timeout"`  // 0 = 5 s
	FlushDomains    []string      `main:"fast_flush_domains"`            // domains that ETRN serves
	StartTLSTimeout time.Duration `main:"smtpd_starttls_timeout"`        // 0 = 300 s
	TLSLevel        string        `main:"smtpd_tls_security_level"`      // none, may, encrypt; empty = none
	TLSWrapper      bool          `main:"smtpd_tls_wrappermode"`
	TLSAuthOnly     bool          `main:"smtpd_tls_auth_only"`
	TLSLog          int           `main:"smtpd_tls_loglevel"`
	TLSDigest       string        `main:"smtpd_tls_fingerprint_digest"` // of client certificates; empty = sha256
	NeedCert        bool          `main:"smtpd_tls_req_ccert"`          // where TLS is required
	SASL            bool          `main:"smtpd_sasl_auth_enable"`
	SASLService     string        `main:"smtpd_sasl_service"` // empty = smtp
	SASLOptions     []string      `main:"smtpd_sasl_security_options"`
	SASLTLSOpts     []string      `main:"smtpd_sasl_tls_security_options"`
	SASLMechs       []string      `main:"smtpd_sasl_mechanism_filter"` // "!external, static:rest": empty = all but external
	BrokenSASL      bool          `main:"broken_sasl_auth_clients"`
	SASLExcept      []string      `main:"smtpd_sasl_exceptions_networks"`
	SASLLimit       int           `main:"smtpd_sasl_response_limit"` // octets; 0 = 12288
	Stress          *Options      // the same parameters with stress=yes; nil = these
}

// Message is the place where a message's bytes go: a queue file in the making.
// *intake.Message is one.
type Message interface {
	ID() string                     // the queue id
	Start(env *mail.Envelope) error // once, before the first Write
	Write(p []byte) (int, error)    // LF line ends, dots removed; p is not kept
	Commit() error                  // nil: it is on disk and will be delivered
	Abort()                         // forget it; also after an error, but not after Commit
}

// Resolver finds a client's name.
type Resolver = peername.Resolver

// Auth asks an authentication server. *wire.Client is one.
type Auth interface {
	Mechs() []wire.Mech
	Start(ctx context.Context, r wire.Request) (*wire.Exchange, wire.Answer, error)
}

// Deps are what a Server needs of the rest of the house.
type Deps struct {
	Log         *maillog.Log
	Policy      *policy.Policy
	Open        func() (Message, error) // begins a message, at the first accepted RCPT
	Free        func() (int64, error)   // octets that are free in the queue; nil: enough
	Resolver    peername.Resolver       // nil: every client is "unknown"
	Auth        Auth                    // nil: no AUTH
	TLS         *tls.Config             // nil: no STARTTLS
	Authorities *cert.Authorities       // of client certificates; nil: none is verified
	Anvil       *gate.Anvil             // counts events for the limits; nil: none hold
	Bans        *gate.Bans              // slows down who guesses passwords; nil: nobody
	Table       gate.Open               // opens look-up tables; nil: none can be used
	Milters     Milters                 // of this service
	Flush       func(site string) error // tries the mail for a site now (ETRN); nil: no site is served
}

// withDefaults fills what the zero value stands for.
func (o Options) withDefaults() Options {
	set(&o.Hostname, "localhost")
	set(&o.Banner, o.Hostname+" ESMTP Postfix")
	set(&o.Service, "smtpd")
	set(&o.SASLService, "smtp")
	set(&o.LineLimit, 2048)
	set(&o.Timeout, 300*time.Second)
	set(&o.MinRate, 500)
	set(&o.SoftErrors, 10)
	set(&o.HardErrors, 20)
	set(&o.JunkLimit, 100)
	set(&o.RcptLimit, 1000)
	set(&o.RcptOver, 1000)
	set(&o.Entry, "smtp")
	set(&o.BareCode, 550)
	set(&o.UpstreamTime, 5*time.Second)
	set(&o.StartTLSTimeout, 300*time.Second)
	set(&o.FilterTime, 100*time.Second)
	set(&o.FilterHelo, o.Hostname)
	set(&o.SASLLimit, 12288)
	set(&o.MaxSessions, 1000)
	// The input buffer holds a command line; more than half of it is never needed.
	o.LineLimit = min(o.LineLimit, stream.SmallBuffer/2)
	return o
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
