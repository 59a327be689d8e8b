// Package remote delivers over the network: SMTP to mail exchangers and smart
// hosts, LMTP to a mailbox server. It is the client half of smtp(8) and
// lmtp(8), with their texts in the log.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/remote/certs"
	"packetboat/internal/send/remote/convert"
	"packetboat/internal/send/remote/mechs"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/trust/tlsrpt"
)

// Options configures a transport. Tags name main.cf parameters; for LMTP the
// door decodes the lmtp_ names into the same fields.
type Options struct {
	Hostname         string        `main:"myhostname"`
	HeloName         string        `main:"smtp_helo_name"`
	ConnectTimeout   time.Duration `main:"smtp_connect_timeout"`
	HeloTimeout      time.Duration `main:"smtp_helo_timeout"`
	MailTimeout      time.Duration `main:"smtp_mail_timeout"`
	RcptTimeout      time.Duration `main:"smtp_rcpt_timeout"`
	DataInitTimeout  time.Duration `main:"smtp_data_init_timeout"`
	DataXferTimeout  time.Duration `main:"smtp_data_xfer_timeout"`
	DataDoneTimeout  time.Duration `main:"smtp_data_done_timeout"`
	QuitTimeout      time.Duration `main:"smtp_quit_timeout"`
	AddressLimit     int           `main:"smtp_mx_address_limit"`
	SessionLimit     int           `main:"smtp_mx_session_limit"`
	LineLimit        int           `main:"smtp_line_length_limit"`
	TLSLevel         string        `main:"smtp_tls_security_level"`
	TLSWrapper       bool          `main:"smtp_tls_wrappermode"`
	StartTLSTimeout  time.Duration `main:"smtp_starttls_timeout"`
	TLSLog           int           // smtp_tls_loglevel
	TLSProtocols     string        `main:"smtp_tls_protocols"`           // below encrypt
	MandatoryTLS     string        `main:"smtp_tls_mandatory_protocols"` // from encrypt on
	ExcludeCiphers   string        `main:"smtp_tls_exclude_ciphers"`
	MandatoryExclude string        `main:"smtp_tls_mandatory_exclude_ciphers"`
	VerifyMatch      string        `main:"smtp_tls_verify_cert_match"`
	SecureMatch      string        `main:"smtp_tls_secure_cert_match"`
	FingerprintMatch string        `main:"smtp_tls_fingerprint_cert_match"`
	// FingerprintDigest is md5, sha1, sha256, sha384 or sha512; empty = sha256.
	FingerprintDigest string            `main:"smtp_tls_fingerprint_digest"`
	VerifyDepth       int               `main:"smtp_tls_scert_verifydepth"` // certificates above the host's
	ServerName        string            `main:"smtp_tls_servername"`
	Roots             *x509.CertPool    // smtp_tls_CAfile and smtp_tls_CApath; nil = nobody is trusted
	Certificates      []tls.Certificate // our own, for hosts that ask (smtp_tls_cert_file)
	TLSPolicy         Table             // smtp_tls_policy_maps; nil without
	SASL              *SASL             // nil = smtp_sasl_auth_enable = no
	MinBackoff        time.Duration     `main:"minimal_backoff_time"`
	AddressPref       string            `main:"smtp_address_preference"`
	Protocols         []string          `main:"inet_protocols"`
	BindAddress       string            `main:"smtp_bind_address"`
	BindAddress6      string            `main:"smtp_bind_address6"`
	Skip5xxGreeting   bool              `main:"smtp_skip_5xx_greeting"`
	QuoteEnvelope     bool              `main:"smtp_quote_rfc821_envelope"`
	LMTP              bool              // speak LMTP: LHLO, one answer a recipient
	Program           string            // tag in the log; empty = smtp, or lmtp
	Port              string            `main:"smtp_tcp_port"`   // name or number; empty = 25, or 24 for LMTP
	QueueDirectory    string            `main:"queue_directory"` // where lmtp:unix: paths begin
	Own               func() []netip.Addr
	Resolver          *dns.Resolver
	Log               *maillog.Logger
	IgnoreMXLookup    bool `main:"ignore_mx_lookup_error"`
	DeferIfNoMXFound  bool `main:"smtp_defer_if_no_mx_address_found"`

	Balance         bool          `main:"smtp_balance_inet_protocols"` // no family of addresses may use up AddressLimit
	BindEnforce     bool          `main:"smtp_bind_address_enforce"`   // mail waits rather than leave from another address
	Fallback        []string      `main:"smtp_fallback_relay"`         // next hops for what no host of its own took; also lmtp_fallback_relay
	BestMX          string        `main:"best_mx_transport"`           // takes mail whose best MX host we are
	ForceTLSA       bool          `main:"smtp_tls_force_insecure_host_tlsa_lookup"`
	DNSSupport      string        `main:"smtp_dns_support_level"` // dnssec for the levels of DANE
	NoDNS           bool          `main:"disable_dns_lookups"`
	NoConversion    bool          `main:"disable_mime_output_conversion"`
	NeverEHLO       bool          `main:"smtp_never_send_ehlo"`
	Discard         []string      `main:"smtp_discard_ehlo_keywords"`
	XForward        bool          `main:"smtp_send_xforward_command"`
	XForwardTimeout time.Duration `main:"smtp_xforward_timeout"`
	RSETTimeout     time.Duration `main:"smtp_rset_timeout"`
	VerifyTarget    string        `main:"smtp_address_verify_target"` // rcpt or data
	DummyAuth       bool          `main:"smtp_send_dummy_mail_auth"`
	CNAMEOverrides  bool          `main:"smtp_cname_overrides_servername"`
	Deadline        bool          `main:"smtp_per_request_deadline"` // of a whole message, by MinRate
	MinRate         int           `main:"smtp_min_data_rate"`        // octets a second
	InsecureMX      string        `main:"smtp_tls_dane_insecure_mx_policy"`
	Digests         []string      `main:"tls_dane_digests"` // of TLSA records, the best first
	NoteOffer       bool          `main:"smtp_tls_note_starttls_offer"`
	AssumeFinal     bool          `main:"lmtp_assume_final"`
	Cache           CacheOptions
	DiscardMaps     Table           // smtp_discard_ehlo_keyword_address_maps, asked by the host's address
	Replies         Table           // smtp_reply_filter: a reply line becomes another one
	Statuses        Table           // smtp_delivery_status_filter: "x.y.z text" becomes another one
	PerSite         Table           // smtp_tls_per_site; counts only without TLSPolicy
	Convert         convert.Options // smtp_generic_maps, smtp_header_checks and their like
	// STS raises the levels may and encrypt where a domain asks for it
	// (smtp_tls_mta_sts); nil = no.
	STS STS
	// Count is told how TLS went in each session (smtp_tlsrpt_enable); nil = nobody.
	Count func(p tlsrpt.Policy, f tlsrpt.Failure)
	// ReportFrom sends the reports about TLS.
	ReportFrom mail.Address
	// Pass hands a job to the transport that BestMX names; false = there is none.
	Pass func(ctx context.Context, transport string, job *mail.Job) bool
}

// The defaults of postconf(5), for what Options leaves zero.
const (
	defConnect      = 30 * time.Second
	defCommand      = 300 * time.Second
	defRSET         = 20 * time.Second
	defDataInit     = 120 * time.Second
	defDataXfer     = 180 * time.Second
	defDataDone     = 600 * time.Second
	defAddressLimit = 5
	defSessionLimit = 2
	defLineLimit    = 998
	defVerifyDepth  = 9
	defMinRate      = 500
	defMinBackoff   = 300 * time.Second
)

// Transport is one SMTP or LMTP client service. It is safe for many goroutines.
type Transport struct {
	opts  Options
	level level
	log   *maillog.Log
	cache cache
	// roots may vouch for hosts under MTA-STS and REQUIRETLS: without authorities of
	// the administrator's the system's, since the whole world is meant.
	roots  func() *x509.CertPool
	logins mechs.Failures // passwords that hosts refused
}

// New returns a Transport, with the defaults of postconf(5) for zero fields.
func New(o Options) *Transport {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.ConnectTimeout, defConnect}, {&o.HeloTimeout, defCommand}, {&o.MailTimeout, defCommand},
		{&o.RcptTimeout, defCommand}, {&o.DataInitTimeout, defDataInit}, {&o.DataXferTimeout, defDataXfer},
		{&o.DataDoneTimeout, defDataDone}, {&o.QuitTimeout, defCommand},
		{&o.StartTLSTimeout, defCommand}, {&o.MinBackoff, defMinBackoff}, {&o.XForwardTimeout, defCommand},
		{&o.RSETTimeout, defRSET}, {&o.Cache.Idle, cacheTime}, {&o.Cache.Age, reuseTime},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.AddressLimit, defAddressLimit}, {&o.SessionLimit, defSessionLimit}, {&o.LineLimit, defLineLimit},
		{&o.VerifyDepth, defVerifyDepth}, {&o.MinRate, defMinRate}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	o.setNames()
	o.setTLS()
	t := &Transport{opts: o, log: o.Log.Program(o.Program)}
	t.cache.o = o.Cache
	t.roots = sync.OnceValue(func() *x509.CertPool {
		if t.opts.Roots != nil {
			return t.opts.Roots
		}
		pool, _ := x509.SystemCertPool() // nil: nobody is trusted, and mail waits
		return pool
	})
	// A word that Check refuses never means less than TLS without exception.
	if l, ok := parseLevel(o.TLSLevel); ok {
		t.level = l
	} else if o.TLSLevel != "" {
		t.level = levelSecure
	}
	return t
}

// setTLS fills what names certificates.
func (o *Options) setTLS() {
	if o.VerifyMatch == "" {
		o.VerifyMatch = "hostname"
	}
	if o.SecureMatch == "" {
		o.SecureMatch = "nexthop, dot-nexthop"
	}
	if certs.Digests()[strings.ToLower(o.FingerprintDigest)] == nil {
		o.FingerprintDigest = "sha256"
	}
}

// Check says what of a configuration cannot be obeyed: the parameter and why.
// cmd/mtad refuses to start with it; New takes the safest meaning.
func (o *Options) Check() (param, why string) {
	l, ok := parseLevel(o.TLSLevel)
	switch {
	case o.TLSLevel != "" && !ok:
		return "smtp_tls_security_level", "invalid tls security level: \"" + o.TLSLevel + "\""
	case o.TLSWrapper && o.TLSPolicy == nil && l < levelEncrypt:
		return "smtp_tls_wrappermode", "smtp_tls_wrappermode requires \"smtp_tls_security_level = encrypt\" (or stronger)"
	case o.FingerprintDigest != "" && certs.Digests()[strings.ToLower(o.FingerprintDigest)] == nil:
		return "smtp_tls_fingerprint_digest", "Digest algorithm \"" + o.FingerprintDigest + "\" not found"
	}
	for param, list := range map[string]string{"smtp_tls_protocols": o.TLSProtocols, "smtp_tls_mandatory_protocols": o.MandatoryTLS} {
		if _, _, err := protocols(list); err != nil {
			return param, err.Error()
		}
	}
	return "", ""
}

// setNames fills the names and hooks that depend on the protocol.
func (o *Options) setNames() {
	if o.HeloName == "" {
		o.HeloName = o.Hostname
	}
	if o.Program == "" {
		o.Program = "smtp"
		if o.LMTP {
			o.Program = "lmtp"
		}
	}
	o.Port = portNumber(o.Port, o.LMTP)
	if o.Resolver == nil {
		o.Resolver = dns.New(dns.Options{})
	}
	if o.Own == nil {
		o.Own = func() []netip.Addr { return nil }
	}
	if o.Log == nil {
		o.Log, _ = maillog.Open(maillog.Options{}) // syslog: opening it cannot fail
	}
}

// Deliver tries the hosts of the job's next hop in order, and answers for each
// recipient: what one host deferred the next one is asked, the last word counts.
func (t *Transport) Deliver(ctx context.Context, job *mail.Job) {
	a := &attempt{t: t, job: job, left: make([]int, len(job.Rcpts)), last: make([]mail.Result, len(job.Rcpts))}
	for i := range a.left {
		a.left[i] = i
	}
	if !a.sites(ctx) {
		a.finish()
	}
}

// attempt is the state of one Deliver.
type attempt struct {
	t    *Transport
	job  *mail.Job
	site string        // the next hop that is being tried
	left []int         // recipients without a final answer
	last []mail.Result // the last word on each recipient
}

// run goes through the hosts until every recipient has a final answer, or the
// limits on addresses and sessions are reached.
func (a *attempt) run(ctx context.Context, hosts []host, start time.Time) {
	sessions := 0
	for i, h := range hosts {
		if len(a.left) == 0 || i >= a.t.opts.AddressLimit || sessions >= a.t.opts.SessionLimit {
			return
		}
		if a.host(ctx, h, start) {
			sessions++
		}
		start = time.Now()
	}
}

// host tries one host; it tells whether it let us speak.
func (a *attempt) host(ctx context.Context, h host, start time.Time) bool {
	tm, err := a.t.terms(ctx, a.job, a.site, h)
	if err != nil {
		a.failAll(mail.Result{Status: mail.AsStatus(err), Relay: "none", Connect: time.Since(start)})
		return false
	}
	s, err := a.t.open(ctx, h, tm)
	if err != nil {
		a.t.log.Info("%s", err.Error())
		a.failAll(mail.Result{Status: mail.AsStatus(err), Relay: "none", Connect: time.Since(start)})
		return false
	}
	spoke := a.session(ctx, s, start)
	if !s.failedTLS || !a.clearAllowed(tm) {
		return spoke
	}
	// TLS was our wish alone, and the host's is broken: the mail would wait for
	// ever (smtp_proto.c, RETRY_AS_PLAINTEXT).
	clear := *tm
	clear.policy = policy{}
	if s, err = a.t.open(ctx, h, &clear); err != nil {
		return spoke
	}
	return a.session(ctx, s, time.Now())
}

// clearAllowed tells whether mail may go in the clear after a failed handshake:
// it has waited for a while, TLS is not demanded, no password is at stake.
func (a *attempt) clearAllowed(tm *terms) bool {
	if tm.report {
		return len(a.left) > 0
	}
	waited := !a.job.Env.Arrived.IsZero() && time.Since(a.job.Env.Arrived) >= a.t.opts.MinBackoff
	return waited && tm.level == levelMay && !tm.auth && !a.job.Env.RequireTLS && len(a.left) > 0
}

// open returns a cached connection to a host, or a new one.
func (t *Transport) open(ctx context.Context, h host, tm *terms) (*session, error) {
	key := tm.key(h)
	wanted := t.cache.busy(key)
	s := t.reuse(key)
	if s == nil {
		var err error
		if s, err = t.dial(ctx, h, tm); err != nil {
			return nil, err
		}
	}
	s.wanted = wanted || t.always(tm, h)
	return s, nil
}

// session does one conversation; it tells whether the host let us speak.
func (a *attempt) session(ctx context.Context, s *session, start time.Time) bool {
	stop := context.AfterFunc(ctx, s.abort)
	defer func() {
		if !stop() { // ctx has ended, and the connection with it
			s.broken = true
		}
		a.t.cache.keep(s)
	}()
	if s.uses == 0 {
		err := s.greet(ctx)
		s.countSession()
		if err != nil {
			s.wanted = false
			a.failAll(mail.Result{Status: mail.AsStatus(err), Relay: s.relay(), Connect: time.Since(start)})
			return false
		}
	}
	s.uses++
	connected := time.Now()
	s.transaction(a, func(r mail.Result) mail.Result {
		r.Relay, r.Connect, r.Send, r.Reuse = s.relay(), connected.Sub(start), time.Since(connected), s.uses
		return r
	})
	return true
}

// failAll notes r for every recipient that has no final answer. A failure that
// is permanent for this host alone ends them all only through settle.
func (a *attempt) failAll(r mail.Result) {
	for _, i := range a.left {
		a.last[i] = r
	}
	if !r.Status.Temporary() {
		a.left = nil
	}
}

// settle notes r for recipient i. Success and permanent failure are final; a
// temporary failure leaves the recipient to the next host.
func (a *attempt) settle(i int, r mail.Result) {
	a.last[i] = r
	if r.Status.Temporary() {
		return
	}
	for k, j := range a.left {
		if j == i {
			a.left = append(a.left[:k:k], a.left[k+1:]...)
			return
		}
	}
}

// finish reports the last word on every recipient.
func (a *attempt) finish() {
	for i, r := range a.last {
		if r.Status != nil && r.Status.Code == codeRequireTLS { // RFC 8689 section 4.2.1: it is not to wait for a better world
			st := *r.Status
			st.Outcome, st.Code, r.Status = mail.Bounced, "5"+st.Code[1:], &st
		}
		if r.Status == nil { // no host was tried: limits of zero hosts cannot happen, but mail must wait if they do
			r = mail.Result{Status: mail.Defer("4.3.0", "no host was tried for %s", a.job.Nexthop), Relay: "none"}
		}
		r.Program = a.t.opts.Program
		r.Status = a.t.filterStatus(r.Status)
		a.job.Report(i, r)
	}
}

// errorf is a temporary failure with Postfix's wording.
func errorf(code, format string, args ...any) error {
	return mail.Defer(code, "%s", fmt.Sprintf(format, args...))
}
