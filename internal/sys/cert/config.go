package cert

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// Options shapes a tls.Config. The zero value allows TLS 1.2 and 1.3 and asks
// clients for no certificate.
type Options struct {
	Protocols     []string // smtpd_tls_protocols: ">=TLSv1.2", "!SSLv2", "TLSv1.3"; empty = TLSv1.2 and up
	AskClientCert bool     // smtpd_tls_ask_ccert: ask, and take whatever comes
	NeedClient    bool     // smtpd_tls_req_ccert: no handshake without a client certificate
	NoTickets     bool     // hand out no session tickets (SSL_OP_NO_TICKET)
	Ciphers       string   // smtpd_tls_ciphers: a grade
	Exclude       []string // smtpd_tls_exclude_ciphers, in OpenSSL's words; TLS 1.3 has no ciphers to exclude
	CipherList    string   // ssl_cipher_list of Dovecot, in OpenSSL's words; empty = Ciphers and Exclude count
	CurveGrade    string   // smtpd_tls_eecdh_grade
	Curves        []string // tls_eecdh_auto_curves, for the grade auto; empty = Go's
	ALPN          []string // application protocols; SMTP and IMAP have none
}

// versions in rising order, as postconf(5) names them.
var versions = []struct {
	name string
	id   uint16
}{{"TLSv1", tls.VersionTLS10}, {"TLSv1.1", tls.VersionTLS11}, {"TLSv1.2", tls.VersionTLS12}, {"TLSv1.3", tls.VersionTLS13}}

// TLSConfig returns a configuration for servers that always uses the store's
// present certificates. The error names a protocol word that is not known.
// Session ticket keys live in the configuration: make one for a service, not
// for a connection.
func (s *Store) TLSConfig(o Options) (*tls.Config, error) {
	lo, hi, err := Range(o.Protocols)
	if err != nil {
		return nil, err
	}
	ciphers, err := suites(o.Ciphers, o.Exclude)
	if o.CipherList != "" {
		ciphers, err = CipherList(o.CipherList)
	}
	if err != nil {
		return nil, err
	}
	groups, err := curves(o.CurveGrade, o.Curves)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		CipherSuites:           ciphers,
		CurvePreferences:       groups,
		MinVersion:             lo,
		MaxVersion:             hi,
		GetCertificate:         s.certificate,
		SessionTicketsDisabled: o.NoTickets,
		NextProtos:             o.ALPN,
	}
	switch {
	case o.NeedClient:
		c.ClientAuth = tls.RequireAnyClientCert
	case o.AskClientCert:
		c.ClientAuth = tls.RequestClientCert
	}
	return c, nil
}

// Range reads a protocol list of postconf(5) ("!SSLv2, !SSLv3, !TLSv1",
// "TLSv1.2 TLSv1.3", ">=TLSv1.2") and returns the lowest and highest version.
// Go's TLS knows a range without holes: a hole is closed from below, so that
// nothing the administrator forbade is ever spoken.
func Range(words []string) (lo, hi uint16, err error) {
	var include, exclude uint // bit sets over versions
	from, to := 0, len(versions)-1
	for _, w := range words {
		op, name := splitWord(w)
		i, known := index(name)
		switch {
		case !known:
			return 0, 0, fmt.Errorf("TLS protocol %q is not known: use TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", w)
		case i < 0: // SSLv2 and SSLv3, which are never spoken
		case op == "!":
			exclude |= 1 << i
		case op == ">=":
			from = i
		case op == "<=":
			to = i
		default:
			include |= 1 << i
		}
	}
	if len(words) == 0 {
		from = 2
	}
	return bounds(from, to, include, exclude)
}

func bounds(from, to int, include, exclude uint) (lo, hi uint16, err error) {
	for i := to; i >= from; i-- {
		ok := exclude&(1<<i) == 0 && (include == 0 || include&(1<<i) != 0)
		switch {
		case ok && hi == 0:
			lo, hi = versions[i].id, versions[i].id
		case ok:
			lo = versions[i].id
		case hi != 0:
			return lo, hi, nil
		}
	}
	if hi == 0 {
		return 0, 0, fmt.Errorf("the TLS protocols leave no version to speak")
	}
	return lo, hi, nil
}

func splitWord(w string) (op, name string) {
	for _, op := range []string{">=", "<=", "!"} {
		if rest, ok := strings.CutPrefix(w, op); ok {
			return op, strings.TrimSpace(rest)
		}
	}
	return "", w
}

// index returns the place of a name in versions, -1 for those older than TLS.
func index(name string) (int, bool) {
	for i, v := range versions {
		if strings.EqualFold(v.name, name) {
			return i, true
		}
	}
	old := strings.EqualFold(name, "SSLv2") || strings.EqualFold(name, "SSLv3")
	return -1, old
}
