package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/send/remote/certs"
	"packetboat/internal/trust/dane"
	"packetboat/internal/trust/mtasts"
	"packetboat/internal/trust/tlsrpt"
)

// STS knows the MTA-STS policies of domains; *mtasts.Cache is one.
type STS interface {
	Policy(ctx context.Context, domain string) (*mtasts.Policy, error)
}

// stsState adds what the MTA-STS policy of a next hop asks for (RFC 8461). What the
// administrator wrote for it, and what DANE found, come first (section 2).
func (t *Transport) stsState(ctx context.Context, tm *terms, h host) error {
	p := &tm.policy
	if t.opts.STS == nil || t.opts.LMTP || tm.exact || p.fixed || len(p.tlsa) > 0 || p.level != levelMay && p.level != levelEncrypt {
		return nil
	}
	tm.sts, tm.trouble = t.opts.STS.Policy(ctx, tm.domain)
	if tm.trouble != nil {
		t.log.Warn("MTA-STS policy of %s: %s", tm.domain, tm.trouble.Error())
	}
	if tm.sts == nil {
		return nil
	}
	fits := tm.sts.Matches(h.name)
	if !fits {
		t.count(tm, h, tlsrpt.Failure{Kind: tlsrpt.Invalid, Reason: "the MX host is not in the policy"})
	}
	switch {
	case tm.sts.Mode != mtasts.Enforce:
		return nil
	case !fits:
		return errorf("4.7.5", "the MTA-STS policy of %s does not allow host %s", tm.domain, h.name)
	}
	p.level, p.strict, p.match, p.sni, p.exclude, p.lo, p.hi = levelSecure, true, []string{"hostname"}, "hostname", nil, 0, 0
	return t.complete(p, tm.dest)
}

// vouched holds a certificate against MTA-STS (RFC 8461 section 4.1): an authority that
// is trusted, and the host's own name, where "*" stands for one label.
func (s *session) vouched(list []*x509.Certificate) error {
	if err := certs.Chain(list, s.t.roots(), s.t.opts.VerifyDepth, s.tlsName()); err != nil {
		return err
	}
	if err := list[0].VerifyHostname(strings.TrimSuffix(s.host.name, ".")); err != nil {
		return fmt.Errorf("server certificate verification failed for %s: num=62:hostname mismatch", s.tlsName())
	}
	return nil
}

// isReport tells mail that carries a report about TLS: it must arrive in spite of
// what it tells of, and is not told of itself (RFC 8460 section 5.3).
func (t *Transport) isReport(job *mail.Job) bool {
	return t.opts.ReportFrom != "" && job.Env.Sender == t.opts.ReportFrom
}

// count tells of one session with a host, or of why there was none.
func (t *Transport) count(tm *terms, h host, f tlsrpt.Failure) {
	if t.opts.Count == nil || t.opts.LMTP || tm.exact || tm.report || h.unix != "" {
		return
	}
	p := tlsrpt.Policy{Kind: tlsrpt.NoPolicy, Domain: tm.domain}
	switch {
	case len(tm.policy.tlsa) > 0:
		p.Kind = tlsrpt.TLSA
		for _, r := range tm.policy.tlsa {
			p.Text = append(p.Text, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data))
		}
	case tm.sts != nil:
		p.Kind, p.Text, p.MX = tlsrpt.STS, tm.sts.Text, tm.sts.MX
	}
	if f.Kind == "" && tm.trouble != nil {
		f = tlsrpt.Failure{Kind: stsTrouble(tm.trouble), Reason: tm.trouble.Error()}
	}
	if f.Kind != "" {
		f.Host, f.Addr = h.name, h.addr.String()
	}
	t.opts.Count(p, f)
}

// stsTrouble is the word of a report for a policy that could not be had.
func stsTrouble(err error) string {
	switch {
	case errors.Is(err, mtasts.ErrWebPKI):
		return tlsrpt.STSWebPKI
	case errors.Is(err, mtasts.ErrInvalid):
		return tlsrpt.STSInvalid
	}
	return tlsrpt.STSFetch
}

// countSession tells how TLS went in a conversation that has come to its end, or to
// MAIL FROM. What was lost before STARTTLS says nothing of TLS.
func (s *session) countSession() {
	f := s.tlsFailure
	if f.Kind == "" && !s.isTLS {
		return
	}
	if f.Kind != "" && s.raw.LocalAddr() != nil {
		f.From, _, _ = strings.Cut(strings.Trim(s.raw.LocalAddr().String(), "["), "]")
		if i := strings.LastIndexByte(f.From, ':'); i > 0 && strings.Count(f.From, ":") == 1 {
			f.From = f.From[:i]
		}
	}
	s.t.count(s.terms, s.host, f)
}

// noteCertificate notes what a report tells of the certificate: of one that a policy was
// held against. A policy that is only being tested is held against it here.
func (s *session) noteCertificate(list []*x509.Certificate, err error) {
	tested := s.terms.sts != nil && !s.terms.strict
	if tested {
		err = s.vouched(list)
	}
	if err != nil && (tested || s.terms.level >= levelFingerprint) {
		s.tlsFailure = certFailure(err)
	}
}

// daneTrouble is the word of a report for a host that DANE lets nobody connect to.
func daneTrouble(err error) string {
	if strings.Contains(err.Error(), "lookup error") {
		return tlsrpt.BadDNSSEC
	}
	return tlsrpt.DaneRequired
}

// certFailure is the word of a report for a certificate that was refused.
func certFailure(err error) tlsrpt.Failure {
	f := tlsrpt.Failure{Kind: tlsrpt.Invalid, Reason: err.Error()}
	switch {
	case errors.Is(err, dane.ErrNoMatch):
		f.Kind = tlsrpt.NotTrusted
	case strings.Contains(err.Error(), "hostname mismatch"):
		f.Kind = tlsrpt.WrongHost
	case strings.Contains(err.Error(), "has expired"):
		f.Kind = tlsrpt.Expired
	case strings.Contains(err.Error(), "self-signed"), strings.Contains(err.Error(), "untrusted issuer"):
		f.Kind = tlsrpt.NotTrusted
	}
	return f
}
