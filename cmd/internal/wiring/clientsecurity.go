package wiring

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/send/remote"
	"packetboat/internal/send/remote/mechs"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
)

// clientParams are the parameters of smtp(8) that name tables and files, which
// only this door opens.
type clientParams struct {
	UseTLS       bool     `main:"smtp_use_tls"`
	Enforce      bool     `main:"smtp_enforce_tls"`
	EnforcePeer  bool     `main:"smtp_tls_enforce_peername"`
	LogLevel     string   `main:"smtp_tls_loglevel"`
	CAFile       string   `main:"smtp_tls_CAfile"`
	CAPath       string   `main:"smtp_tls_CApath"`
	DefaultCA    bool     `main:"tls_append_default_CA"`
	Cert         string   `main:"smtp_tls_cert_file"`
	Key          string   `main:"smtp_tls_key_file"`
	ECCert       string   `main:"smtp_tls_eccert_file"`
	ECKey        string   `main:"smtp_tls_eckey_file"`
	Chain        []string `main:"smtp_tls_chain_files"`
	PolicyMaps   string   `main:"smtp_tls_policy_maps"`
	TrustAnchors []string `main:"smtp_tls_trust_anchor_file"`
	Auth         bool     `main:"smtp_sasl_auth_enable"`
	AuthType     string   `main:"smtp_sasl_type"`
	PasswordMaps string   `main:"smtp_sasl_password_maps"`
	BySender     bool     `main:"smtp_sender_dependent_authentication"`
	Filter       []string `main:"smtp_sasl_mechanism_filter"`
	FailureCache string   `main:"smtp_sasl_auth_cache_name"`
	Delimiters   string   `main:"recipient_delimiter"`
}

// security fills what a client's TLS and SASL need, and refuses by name what
// cannot be obeyed: nothing that was written to make mail safer is passed over.
func (k *Kit) security(m *config.Main, o *remote.Options) error {
	var p clientParams
	if err := m.Decode(&p); err != nil {
		return err
	}
	if err := p.refuse(m); err != nil {
		return err
	}
	o.TLSLevel = p.level(o.TLSLevel)
	o.TLSLog = logLevel(p.LogLevel)
	if p.PolicyMaps != "" {
		maps, err := k.clientTables(m, p.PolicyMaps)
		if err != nil {
			return configError(m, "smtp_tls_policy_maps", err.Error(), "correct the table")
		}
		o.TLSPolicy = maps
	}
	if param, why := o.Check(); param != "" {
		return configError(m, param, why, `use none, may, encrypt, fingerprint, verify, secure, dane or dane-only`)
	}
	if p.uses(o) {
		o.Roots = k.authorities(&p)
		if err := k.clientCert(m, &p, o); err != nil {
			return err
		}
	}
	return k.sasl(m, &p, o)
}

// configError names a parameter of a client; for LMTP it is known by its twin's
// place in main.cf.
func configError(m *config.Main, name, text, hint string) error {
	file, line := m.Where(name)
	return &config.Error{File: file, Line: line, Text: text, Hint: hint}
}

// refuse names settings that would be passed over otherwise.
func (p *clientParams) refuse(m *config.Main) error {
	switch {
	case p.Auth && strings.TrimSpace(p.PasswordMaps) == "":
		return configError(m, "smtp_sasl_auth_enable", "specify a password table via the `smtp_sasl_password_maps' configuration parameter",
			"smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd")
	case p.Auth && p.AuthType != "cyrus":
		return configError(m, "smtp_sasl_type", "unsupported SASL client implementation: "+p.AuthType, "remove the line: the client needs no other program")
	}
	return nil
}

// level maps the parameters that smtp_tls_security_level replaced: they count
// where it is empty (postconf(5)).
func (p *clientParams) level(l string) string {
	switch {
	case l != "":
		return l
	case p.Enforce && p.EnforcePeer:
		return "verify"
	case p.Enforce:
		return "encrypt"
	case p.UseTLS:
		return "may"
	}
	return "none"
}

// uses tells whether a client ever speaks TLS.
func (p *clientParams) uses(o *remote.Options) bool {
	return !strings.EqualFold(o.TLSLevel, "none") || p.PolicyMaps != "" || o.PerSite != nil
}

// logLevel reads smtp_tls_loglevel: a number, or words of which only "none"
// means silence.
func logLevel(s string) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	if s == "" || strings.EqualFold(s, "none") {
		return 0
	}
	return 1
}

// hashName is the form of the links that OpenSSL looks for in a CApath.
var hashName = regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)

// authorities reads the certificates that are trusted. As in Postfix the
// system's are added only to others, and only with tls_append_default_CA.
func (k *Kit) authorities(p *clientParams) *x509.CertPool {
	if len(p.TrustAnchors) > 0 { // they alone count then; a certificate of any rank is one
		return k.anchors(p.TrustAnchors)
	}
	if p.CAFile == "" && p.CAPath == "" {
		return nil
	}
	pool := x509.NewCertPool()
	if p.DefaultCA {
		if system, err := x509.SystemCertPool(); err == nil {
			pool = system
		}
	}
	if p.CAFile != "" {
		if b, err := k.readKey(p.CAFile); err != nil {
			k.clientLog().Warn("cannot load Certification Authority data, CAfile=\"%s\": %s", p.CAFile, err.Error())
		} else if !pool.AppendCertsFromPEM(b) {
			k.clientLog().Warn("cannot load Certification Authority data, CAfile=\"%s\": no certificate in it", p.CAFile)
		}
	}
	if p.CAPath != "" {
		k.folder(pool, p.CAPath)
	}
	return pool
}

// anchors reads the files of smtp_tls_trust_anchor_file. One that cannot be read
// leaves nothing to trust, and mail waits.
func (k *Kit) anchors(files []string) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, f := range files {
		if b, err := k.readKey(f); err != nil {
			k.clientLog().Warn("error opening trust anchor file: %s: %s", f, err.Error())
		} else if !pool.AppendCertsFromPEM(b) {
			k.clientLog().Warn("no trust anchor in %s", f)
		}
	}
	return pool
}

// folder reads the certificates of a CApath.
func (k *Kit) folder(pool *x509.CertPool, path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		k.clientLog().Warn("cannot load Certification Authority data, CApath=\"%s\": %s", path, err.Error())
		return
	}
	for _, f := range entries {
		if !hashName.MatchString(f.Name()) {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(path, f.Name())); err == nil {
			pool.AppendCertsFromPEM(b)
		}
	}
}

// clientCert reads the certificates that are shown to hosts that ask for one.
func (k *Kit) clientCert(m *config.Main, p *clientParams, o *remote.Options) error {
	if len(p.Chain) > 0 {
		return k.addPair(m, "smtp_tls_chain_files", p.Chain, o)
	}
	for _, c := range [...]struct{ name, cert, key string }{{"smtp_tls_cert_file", p.Cert, p.Key}, {"smtp_tls_eccert_file", p.ECCert, p.ECKey}} {
		if c.cert == "" || c.cert == "none" {
			continue
		}
		files := []string{c.cert}
		if c.key != "" && c.key != c.cert {
			files = append(files, c.key)
		}
		if err := k.addPair(m, c.name, files, o); err != nil {
			return err
		}
	}
	return nil
}

// addPair reads one certificate with its key.
func (k *Kit) addPair(m *config.Main, name string, files []string, o *remote.Options) error {
	var all []byte
	for _, f := range files {
		b, err := k.readKey(f)
		if err != nil {
			return configError(m, name, err.Error(), "correct the path")
		}
		all = append(append(all, b...), '\n')
	}
	pair, err := tls.X509KeyPair(all, all)
	if err != nil {
		return configError(m, name, fmt.Sprintf("%s: %v", strings.Join(files, ", "), err), "the certificate comes first, and its key must fit")
	}
	o.Certificates = append(o.Certificates, pair)
	return nil
}

// sasl opens the tables of a client that logs in.
func (k *Kit) sasl(m *config.Main, p *clientParams, o *remote.Options) error {
	if !p.Auth {
		return nil
	}
	var s remote.SASL
	if err := m.Decode(&s); err != nil {
		return err
	}
	for name, words := range map[string][]string{"smtp_sasl_security_options": s.Clear,
		"smtp_sasl_tls_security_options": s.TLS, "smtp_sasl_tls_verified_security_options": s.Verified} {
		if err := mechs.CheckSecurity(words); err != nil {
			return configError(m, name, err.Error(), "use noplaintext, noactive, nodictionary, noanonymous, forward_secrecy, mutual_auth")
		}
	}
	maps, err := k.clientTables(m, p.PasswordMaps)
	if err != nil {
		return configError(m, "smtp_sasl_password_maps", err.Error(), "correct the table")
	}
	s.Passwords = maps
	if p.BySender {
		s.Sender = k.senderPassword(maps, p.Delimiters)
	}
	if len(p.Filter) > 0 {
		list, err := table.OpenList(p.Filter, table.Exact, k.Tables(m))
		if err != nil {
			return configError(m, "smtp_sasl_mechanism_filter", err.Error(), "name mechanisms, as plain, login")
		}
		s.Allowed = list.Match
	}
	s.RememberRefused = p.FailureCache != ""
	s.ReadToken = k.readToken
	o.SASL = &s
	return nil
}

// readToken reads the file of a token, which another program writes: this process reads
// it itself, or has it read where only root may.
func (k *Kit) readToken(path string) ([]byte, error) {
	b, err := disk.ReadFile(path)
	if errors.Is(err, fs.ErrPermission) {
		return k.readKey(path)
	}
	return b, err
}

// senderPassword looks passwords up by the sender's address (mail_addr_find(3)).
func (k *Kit) senderPassword(maps table.Maps, delims string) func(context.Context, mail.Address) (string, bool, error) {
	return func(ctx context.Context, a mail.Address) (string, bool, error) {
		r, err := k.Router.Resolve(a)
		local := err == nil && r.Class == rewrite.Local
		v, _, ok, err := maps.FindKeys(ctx, table.MailKeys(a, delims, local))
		return v, ok, err
	}
}

// clientTables opens the tables of a client, which may be readable for root alone.
func (k *Kit) clientTables(m *config.Main, list string) (table.Maps, error) {
	specs, err := table.CutList(list)
	if err != nil {
		return nil, err
	}
	o := k.Tables(m)
	o.Missing = nil
	return table.OpenAll(specs, o)
}
