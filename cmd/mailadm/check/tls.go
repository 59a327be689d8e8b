package check

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"time"

	"packetboat/cmd/mailadm/where"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/config"
)

// How long before its end a certificate is spoken of: what renews them by itself
// does it a month ahead, so whatever is left alone until two weeks before is not
// renewed at all.
const (
	soon    = 30 * 24 * time.Hour
	tooSoon = 14 * 24 * time.Hour
)

// inTheClear ends the text about a certificate that may be absent.
const inTheClear = ": mail goes on in the clear"

// pair is a certificate with its key as a configuration names it.
type pair struct {
	at       where.Place
	files    []string
	name     string // that it must hold; "" = any
	optional bool   // without it the service goes on in the clear
}

// certificates looks at the certificates of smtpd and of the client.
func (c *checker) certificates() {
	c.smtpds(func(svc *config.Service, m *config.Main) {
		level := m.Get("smtpd_tls_security_level")
		wrapped := m.Get("smtpd_tls_wrappermode") == "yes"
		if level == "" && (m.Get("smtpd_use_tls") == "yes" || m.Get("smtpd_enforce_tls") == "yes") {
			level = "may"
		}
		if (level == "" || level == "none") && !wrapped {
			return
		}
		p, ok := pairOf(m, "smtpd_tls_", m.Get("myhostname"))
		if !ok {
			at := where.Place{Parameter: "smtpd_tls_cert_file", File: svc.File, Line: svc.Line}
			c.place(at, config.SeverityError, "write smtpd_tls_cert_file = /path/to/fullchain.pem and smtpd_tls_key_file = /path/to/privkey.pem in main.cf",
				"service %s wants TLS, but smtpd_tls_cert_file is empty", svc.Name)
			return
		}
		p.optional = level == "may" && !wrapped
		c.pair(p)
	})
	for _, prefix := range []string{"smtp_tls_", "lmtp_tls_"} {
		if p, ok := pairOf(c.main, prefix, ""); ok {
			c.pair(p)
		}
	}
}

// pairOf finds the files of smtpd_tls_cert_file and its like.
func pairOf(m *config.Main, prefix, name string) (pair, bool) {
	if chain := config.Fields(m.Get(prefix + "chain_files")); len(chain) > 0 {
		return pair{at: where.Of(m, prefix+"chain_files"), files: chain, name: name}, true
	}
	file, key := m.Get(prefix+"cert_file"), m.Get(prefix+"key_file")
	if file == "" || file == "none" {
		return pair{}, false
	}
	p := pair{at: where.Of(m, prefix+"cert_file"), files: []string{file}, name: name}
	if key != "" && key != file {
		p.files = append(p.files, key)
	}
	return p, true
}

// pair looks at one certificate: the files are read as the server reads them.
func (c *checker) pair(p pair) {
	if _, err := cert.OpenWith(nil, p.files...); err != nil {
		var e *cert.Error
		hint := ""
		if errors.As(err, &e) {
			hint = e.Hint
		}
		severity, text := config.SeverityError, err.Error()
		if p.optional {
			severity, text = config.SeverityWarning, text+inTheClear
		}
		c.place(p.at, severity, hint, "%s", text)
	}
	for _, f := range p.files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if first := leaf(b); first != nil {
			c.leaf(p, f, first)
		}
		c.secret(f, b)
	}
}

// leaf returns the first certificate of a file.
func leaf(b []byte) *x509.Certificate {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		x, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil
		}
		return x
	}
	return nil
}

// leaf looks at the dates and names of a certificate.
func (c *checker) leaf(p pair, file string, x *x509.Certificate) {
	const day = "2006-01-02"
	left := x.NotAfter.Sub(c.o.Now)
	switch {
	case left < 0:
		c.place(p.at, config.SeverityError, "renew it: clients that look refuse it", "%s expired on %s", file, x.NotAfter.UTC().Format(day))
	case left < tooSoon:
		c.place(p.at, config.SeverityError, "renew it now: whatever renews it by itself has not done so",
			"%s expires on %s, in %d days", file, x.NotAfter.UTC().Format(day), int(left.Hours()/24))
	case left < soon:
		c.place(p.at, config.SeverityWarning, "see that it is renewed", "%s expires on %s, in %d days", file, x.NotAfter.UTC().Format(day), int(left.Hours()/24))
	}
	if c.o.Now.Before(x.NotBefore) {
		c.place(p.at, config.SeverityError, "set the clock, or wait", "%s is not valid before %s", file, x.NotBefore.UTC().Format(day))
	}
	if p.name != "" && x.VerifyHostname(p.name) != nil {
		c.place(p.at, config.SeverityWarning, "get a certificate for "+p.name+", or write its name as myhostname",
			"%s does not name %s (myhostname) but %v", file, p.name, names(x))
	}
}

func names(x *x509.Certificate) []string {
	if len(x.DNSNames) == 0 {
		return []string{x.Subject.CommonName}
	}
	return x.DNSNames
}

// secret warns of a private key that others may read.
func (c *checker) secret(file string, b []byte) {
	st, err := statTarget(file)
	if err != nil || st.Mode.Perm()&0o006 == 0 {
		return
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if len(block.Type) >= 11 && block.Type[len(block.Type)-11:] == "PRIVATE KEY" {
			c.add(config.Problem{File: file, Severity: config.SeverityError, Hint: "chmod 600 " + file + ", and get a new key if anybody else was on this machine",
				Text: "everybody may read this private key (mode " + st.Mode.Perm().String()[1:] + ")"})
			return
		}
	}
}
