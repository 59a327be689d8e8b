package remote

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/trust/mtasts"
	"packetboat/internal/trust/tlsrpt"
)

// policies are the MTA-STS policies of the world.
type policies map[string]*mtasts.Policy

func (p policies) Policy(_ context.Context, domain string) (*mtasts.Policy, error) {
	if domain == "trouble.test" {
		return nil, fmt.Errorf("%w: HTTP status 404", mtasts.ErrFetch)
	}
	return p[domain], nil
}

// counted notes what a report would tell.
type counted struct {
	mu   sync.Mutex
	list []string
}

func (c *counted) count(p tlsrpt.Policy, f tlsrpt.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what := f.Kind
	if what == "" {
		what = "ok"
	} else if f.Host != "mx.d.test" || f.Addr != "127.0.0.1" {
		what += " of " + f.Host + " " + f.Addr
	}
	c.list = append(c.list, p.Domain+" "+p.Kind+" "+what)
}

// TestSTS: what MTA-STS makes of a host (RFC 8461), and what is told of it (RFC 8460).
func TestSTS(t *testing.T) {
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	right, wrong := ca.leaf(t, nil, "mx.d.test"), ca.leaf(t, nil, "other.test")
	wide, self := ca.leaf(t, nil, "*.d.test"), (*authority)(nil).leaf(t, nil, "mx.d.test")
	old := ca.leaf(t, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}, "mx.d.test")
	sum := sha256.Sum256(self.Leaf.RawSubjectPublicKeyInfo)
	tlsa := "3 1 1 " + hex.EncodeToString(sum[:])
	enforce := &mtasts.Policy{Domain: "d.test", Mode: mtasts.Enforce, MX: []string{"mx.d.test"}}
	tested := &mtasts.Policy{Domain: "d.test", Mode: mtasts.Testing, MX: []string{"mx.d.test"}}
	elsewhere := &mtasts.Policy{Domain: "d.test", Mode: mtasts.Enforce, MX: []string{"mx2.d.test"}}
	sts := func(p *mtasts.Policy) policies { return policies{"d.test": p} }
	const verified, clear = "Server certificate not verified", "TLS is required, but was not offered"
	for name, c := range map[string]struct {
		policy    policies
		cert      string
		level     string // empty = may
		domain    string // empty = d.test
		table     string // smtp_tls_policy_maps for it
		tlsa      string
		sender    mail.Address
		clear     bool // the host has no STARTTLS
		broken    bool // it hangs up in the handshake
		text      string
		encrypted bool
		told      string
	}{
		"right":            {policy: sts(enforce), encrypted: true, told: "d.test sts ok"},
		"right, wildcard":  {policy: sts(enforce), cert: "wide", encrypted: true, told: "d.test sts ok"},
		"another name":     {policy: sts(enforce), cert: "wrong", text: verified, told: "d.test sts certificate-host-mismatch"},
		"its own word":     {policy: sts(enforce), cert: "self", text: verified, told: "d.test sts certificate-not-trusted"},
		"too old":          {policy: sts(enforce), cert: "old", text: verified, told: "d.test sts certificate-expired"},
		"no STARTTLS":      {policy: sts(enforce), clear: true, text: clear, told: "d.test sts starttls-not-supported"},
		"broken":           {policy: sts(enforce), broken: true, text: "Cannot start TLS", told: "d.test sts validation-failure"},
		"another host":     {policy: sts(elsewhere), text: "does not allow host mx.d.test", told: "d.test sts validation-failure"},
		"testing":          {policy: sts(tested), encrypted: true, told: "d.test sts ok"},
		"testing, name":    {policy: sts(tested), cert: "wrong", encrypted: true, told: "d.test sts certificate-host-mismatch"},
		"testing, clear":   {policy: sts(tested), clear: true, told: "d.test sts starttls-not-supported"},
		"no policy":        {policy: sts(nil), cert: "self", encrypted: true, told: "d.test no-policy-found ok"},
		"no policy, clear": {policy: sts(nil), clear: true, told: "d.test no-policy-found starttls-not-supported"},
		"cannot be had":    {domain: "trouble.test", cert: "self", encrypted: true, told: "trouble.test no-policy-found sts-policy-fetch-error"},
		"level encrypt":    {policy: sts(enforce), level: "encrypt", cert: "self", text: verified, told: "d.test sts certificate-not-trusted"},
		"level none":       {policy: sts(enforce), level: "none", clear: true},
		"table says may":   {policy: sts(enforce), table: "may", cert: "self", encrypted: true, told: "d.test no-policy-found ok"},
		"table says none":  {policy: sts(enforce), table: "none", clear: true},
		"DANE wins":        {policy: sts(elsewhere), level: "dane", cert: "self", tlsa: tlsa, encrypted: true, told: "d.test tlsa ok"},
		"DANE fails":       {policy: sts(enforce), level: "dane", tlsa: tlsa, text: verified, told: "d.test tlsa certificate-not-trusted"},
		"no DANE":          {policy: sts(enforce), level: "dane", cert: "self", text: verified, told: "d.test sts certificate-not-trusted"},
		"dane-only":        {policy: sts(enforce), level: "dane-only", text: "no TLSA records", told: "d.test no-policy-found dane-required"},
		"a report":         {policy: sts(enforce), sender: "tlsrpt@here.test", clear: true},
		"a report, level":  {policy: sts(enforce), level: "secure", sender: "tlsrpt@here.test", cert: "self", encrypted: true},
	} {
		t.Run(name, func(t *testing.T) {
			cert := right
			switch c.cert {
			case "wrong":
				cert = wrong
			case "wide":
				cert = wide
			case "self":
				cert = self
			case "old":
				cert = old
			}
			lines := []string{"s 220 x", "c EHLO", "s 250-x|250 STARTTLS", "c STARTTLS", "s 220 go", "t", "c ", "s 250 x", "c ", "x"}
			if c.clear {
				lines = []string{"s 220 x", "c EHLO", "s 250 x", "c ", "x"}
			} else if c.broken {
				lines = []string{"s 220 x", "c EHLO", "s 250-x|250 STARTTLS", "c STARTTLS", "s 220 go", "h", "x"}
			}
			s := scripted(t, cert, lines...)
			_, port, _ := net.SplitHostPort(s.addr)
			domain := "d.test"
			if c.domain != "" {
				domain = c.domain
			}
			records := []string{"+" + domain + ". 60 IN MX 1 mx.d.test.", "+mx.d.test. 60 IN A 127.0.0.1"}
			if c.tlsa != "" {
				records = append(records, "+_"+port+"._tcp.mx.d.test. 60 IN TLSA "+c.tlsa)
			}
			var told counted
			o := Options{TLSLevel: c.level, DNSSupport: "dnssec", Protocols: []string{"ipv4"}, Resolver: zone(t, records...), Roots: roots,
				STS: c.policy, Count: told.count, ReportFrom: "tlsrpt@here.test"}
			if c.level == "" {
				o.TLSLevel = "may"
			}
			if c.table != "" {
				o.TLSPolicy = list{domain + ":" + port: c.table}
			}
			env := mail.Envelope{VerifyOnly: true, Sender: c.sender}
			r := send(t, o, domain+":"+port, "x\n", env, mail.Address("a@"+domain))[0]
			_, said := s.seen()
			talked := len(said) > 0 && strings.HasPrefix(said[len(said)-1], "MAIL")
			encrypted := talked && len(said) > 1 && said[1] == "STARTTLS"
			if want := c.text == ""; talked != want || encrypted != c.encrypted || !want && (r.Status.Outcome != mail.Deferred || !strings.Contains(r.Status.Text, c.text)) {
				t.Errorf("said %q: %+v", said, r.Status)
			}
			if got := strings.Join(told.list, ", "); got != c.told {
				t.Errorf("told %q, not %q", got, c.told)
			}
		})
	}
}

// TestReportInClear: a report about broken TLS goes in the clear at once, other mail
// after a while.
func TestReportInClear(t *testing.T) {
	a := &attempt{t: &Transport{opts: Options{MinBackoff: time.Hour}}, job: &mail.Job{Env: &mail.Envelope{Arrived: time.Now()}}, left: []int{0}}
	tm := &terms{policy: policy{level: levelMay}}
	if a.clearAllowed(tm) {
		t.Error("other mail")
	}
	if tm.report = true; !a.clearAllowed(tm) {
		t.Error("a report")
	}
}
