package remote

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/sys/cert"
	"packetboat/internal/trust/dane"
	"packetboat/internal/trust/mtasts"
	"packetboat/internal/trust/tlsrpt"
)

// Table answers look-ups; route/table stands behind it. An error means that
// nobody could tell: mail waits then.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
}

// level is a TLS security level (postconf(5), smtp_tls_security_level). A higher
// one demands more.
type level uint8

// The levels that a policy can ask for.
const (
	levelNone        level = iota // never TLS
	levelMay                      // TLS where it is offered (RFC 7435)
	levelEncrypt                  // never without TLS; any certificate
	levelFingerprint              // a certificate or key that is known
	levelVerify                   // a trusted certificate for the host's name
	levelSecure                   // a trusted certificate for the next hop's name
	levelDane                     // what TLSA records demand, may without them (RFC 7672)
	levelDaneOnly                 // never without TLSA records
)

// levelNames are the words of postconf(5) in the order of the constants.
var levelNames = [...]string{"none", "may", "encrypt", "fingerprint", "verify", "secure", "dane", "dane-only"}

func (l level) String() string { return levelNames[l] }

// parseLevel reads the name of a level in upper or lower case.
func parseLevel(s string) (level, bool) {
	i := slices.Index(levelNames[:], strings.ToLower(s))
	return level(max(i, 0)), i >= 0
}

// policy is what one destination's TLS must be like.
type policy struct {
	level   level
	match   []string      // names, nexthop, hostname, dot-nexthop; or fingerprints
	lo, hi  uint16        // protocol versions
	exclude []string      // ciphers that are not offered
	sni     string        // name to ask for; empty = the host's
	tlsa    []dane.Record // what the certificate is held against at the levels of DANE
	strict  bool          // what the certificate is held against is MTA-STS
	fixed   bool          // a table has it from the administrator: nothing raises it
}

// terms are what a connection must keep to: its TLS policy and the credentials
// it is made with. Connections with different terms are never shared.
type terms struct {
	policy
	dest   string // the next hop as it is written: [host]:port
	domain string // its name alone
	user   string
	secret string // the password; never logged
	auth   bool   // there are credentials

	exact   bool           // [host]: no MX record led here, and no domain has a say
	report  bool           // the mail is a report about TLS
	sts     *mtasts.Policy // of the next hop; nil = none
	trouble error          // why a newer one could not be had
}

// key names the connections that may be shared. Passwords go in as a digest, so
// that none stays in memory longer than its connection.
func (t *terms) key(h host) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", t.user, t.secret))
	// Names match against the next hop: one that was verified for another next hop
	// says nothing of this one.
	return fmt.Sprintf("%s %t %x %+v %q", h.relay(), t.auth, sum, t.policy, t.domain)
}

// destination returns a next hop as tables know it: as it is written, and its
// name without brackets and port.
func (t *Transport) destination(nexthop string) (dest, domain string) {
	if path, ok := strings.CutPrefix(nexthop, "unix:"); ok && t.opts.LMTP {
		return path, path
	}
	if t.opts.LMTP {
		nexthop = strings.TrimPrefix(nexthop, "inet:")
	}
	name, _, _ := splitNexthop(nexthop, "")
	return nexthop, name
}

// terms finds policy and credentials for one host of a next hop.
func (t *Transport) terms(ctx context.Context, job *mail.Job, site string, h host) (*terms, error) {
	out := &terms{}
	out.dest, out.domain = t.destination(site)
	out.exact = strings.HasPrefix(out.dest, "[") || t.opts.NoDNS
	p, err := t.policyOf(ctx, out.dest, h)
	if err != nil {
		t.log.Warn("TLS policy lookup for %s/%s: %s", out.dest, h.name, err.Error())
		return nil, err
	}
	if out.report = t.isReport(job); out.report && !p.fixed && p.level > levelMay {
		p.level = levelMay
	}
	if p.level >= levelDane {
		if p, err = t.daneState(ctx, p, h); err != nil {
			t.count(out, h, tlsrpt.Failure{Kind: daneTrouble(err), Reason: err.Error()})
			return nil, err
		}
	}
	// Level may is not meant for sockets of this machine (smtp_connect.c).
	if h.unix != "" && p.level == levelMay {
		p.level = levelNone
	}
	if t.opts.TLSWrapper && p.level < levelEncrypt {
		t.log.Warn("%s requires \"%s = encrypt\" (or stronger)", t.param("tls_wrappermode"), t.param("tls_security_level"))
		return nil, errBadPolicy()
	}
	out.policy = p
	if !out.report {
		if err := t.stsState(ctx, out, h); err != nil {
			return nil, err
		}
	}
	if p := &out.policy; job.Env.RequireTLS && !t.opts.LMTP && p.level < levelVerify && h.unix == "" {
		p.level, p.strict, p.match, p.sni = levelSecure, true, []string{"hostname"}, "hostname"
		if err := t.complete(p, out.dest); err != nil {
			return nil, err
		}
	}
	return out, t.credentials(ctx, job, h, out)
}

// param is the name of a parameter in this service's spelling.
func (t *Transport) param(name string) string {
	if t.opts.LMTP {
		return "lmtp_" + name
	}
	return "smtp_" + name
}

// errBadPolicy is the status of mail whose TLS policy cannot be read. It waits:
// no mistake in a table may lower what the administrator asked for.
func errBadPolicy() error { return errorf("4.7.5", "client TLS configuration problem") }

// policyOf finds the policy of a next hop: smtp_tls_policy_maps, else main.cf.
func (t *Transport) policyOf(ctx context.Context, dest string, h host) (policy, error) {
	p := policy{level: t.level}
	words, where, err := t.policyWords(ctx, dest)
	if err == nil && t.opts.TLSPolicy == nil {
		p.level, where, err = t.perSite(ctx, dest, h)
		p.fixed = p.level != t.level
	}
	if err == nil && words != "" {
		p.fixed = true
		err = p.read(words)
	}
	if err == nil {
		err = t.complete(&p, dest)
	}
	if err != nil {
		t.log.Warn("%s%s", where, err.Error())
		return p, errBadPolicy()
	}
	return p, nil
}

// policyWords asks smtp_tls_policy_maps for a next hop. Parent domains count
// for a bare domain only: [host] and name:port are exact.
func (t *Transport) policyWords(ctx context.Context, dest string) (words, where string, err error) {
	if t.opts.TLSPolicy == nil {
		return "", "", nil
	}
	for key := dest; ; {
		where = fmt.Sprintf("%s, next-hop destination \"%s\": ", t.param("tls_policy_maps"), key)
		v, ok, err := t.opts.TLSPolicy.Lookup(ctx, key)
		if err != nil {
			return "", where, fmt.Errorf("policy table lookup error: %w", err)
		}
		if ok && strings.TrimSpace(v) == "" {
			return "", where, fmt.Errorf("invalid empty policy")
		}
		if ok {
			return v, where, nil
		}
		i := strings.IndexByte(key[min(1, len(key)):], '.')
		if i < 0 || strings.ContainsAny(key, "[]:/") {
			return "", "", nil
		}
		key = key[1+i:]
	}
}

// read takes a policy of smtp_tls_policy_maps: "level name=value ...".
func (p *policy) read(words string) error {
	f := strings.FieldsFunc(words, isSeparator)
	l, ok := parseLevel(f[0])
	if !ok {
		return fmt.Errorf("invalid security level %q", f[0])
	}
	p.level = l
	if l == levelNone {
		return nil // attributes mean nothing then
	}
	seen := map[string]bool{}
	for _, w := range f[1:] {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return fmt.Errorf("malformed attribute/value pair %q: missing '=' after attribute name", w)
		}
		name = strings.ToLower(name)
		if seen[name] && name != "match" {
			return fmt.Errorf("attribute %q is specified multiple times", name)
		}
		seen[name] = true
		if err := p.attribute(name, value); err != nil {
			return err
		}
	}
	return nil
}

// attribute reads one attribute. What cannot be obeyed is an error: it was
// written to make the connection safer.
func (p *policy) attribute(name, value string) (err error) {
	if value == "" && name != "protocols" && name != "exclude" {
		return fmt.Errorf("attribute %q has empty value", name)
	}
	switch name {
	case "match":
		if p.level < levelFingerprint || p.level >= levelDane {
			return fmt.Errorf("attribute %q invalid at security level %q", name, p.level)
		}
		sep := ":"
		if p.level == levelFingerprint {
			sep = "|"
		}
		p.match = append(p.match, strings.Split(value, sep)...)
	case "protocols":
		p.lo, p.hi, err = protocols(value)
	case "exclude":
		p.exclude = splitList(value)
	case "servername":
		p.sni = value
	case "ciphers":
		err = checkGrade(value)
	case "connection_reuse": // connections are shared on demand in any case
	default:
		return fmt.Errorf("invalid attribute name: %q", name)
	}
	return err
}

// complete fills what the table left open from main.cf.
func (t *Transport) complete(p *policy, dest string) (err error) {
	o := &t.opts
	if p.level == levelNone {
		return nil
	}
	if p.hi == 0 {
		list := o.TLSProtocols
		if p.level > levelMay {
			list = o.MandatoryTLS
		}
		if p.lo, p.hi, err = protocols(list); err != nil {
			return err
		}
	}
	if p.exclude == nil {
		p.exclude = splitList(o.ExcludeCiphers)
		if p.level > levelMay {
			p.exclude = append(p.exclude, splitList(o.MandatoryExclude)...)
		}
	}
	if p.sni == "" {
		p.sni = o.ServerName
	}
	if p.match == nil {
		p.match = splitList(map[level]string{levelFingerprint: o.FingerprintMatch,
			levelVerify: o.VerifyMatch, levelSecure: o.SecureMatch}[p.level])
	}
	if p.level == levelFingerprint && len(p.match) == 0 {
		//lint:ignore ST1005 this is the log line of smtp_tls_policy.c
		return fmt.Errorf("nexthop domain %s: configured at fingerprint security level, but with no fingerprints to match.", dest)
	}
	return nil
}

// isSeparator tells the characters between the words of a policy.
func isSeparator(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }

// splitList splits lists whose items may also be separated by colons. Colons
// stay in fingerprints, which consist of them.
func splitList(s string) []string {
	out := []string{}
	for _, w := range strings.FieldsFunc(s, isSeparator) {
		if isFingerprint(w) {
			out = append(out, w)
			continue
		}
		out = append(out, strings.FieldsFunc(w, func(r rune) bool { return r == ':' })...)
	}
	return out
}

// isFingerprint tells "12:ab:..." from a list of names.
func isFingerprint(s string) bool {
	for i, w := range strings.Split(s, ":") {
		if len(w) != 2 || strings.Trim(strings.ToLower(w), "0123456789abcdef") != "" {
			return false
		}
		if i > 0 {
			return true
		}
	}
	return false
}

// protocols reads smtp_tls_protocols and its like. An empty list leaves all
// protocols that exist.
func protocols(list string) (lo, hi uint16, err error) {
	words := splitList(list)
	if len(words) == 0 {
		words = []string{">=TLSv1"}
	}
	if lo, hi, err = cert.Range(words); err != nil {
		return 0, 0, fmt.Errorf("invalid TLS protocol list %q: %w", list, err)
	}
	return lo, hi, nil
}

// checkGrade reads a cipher grade. All grades offer the same ciphers here,
// none of which is weaker than "high" but those with keys sent under RSA.
func checkGrade(s string) error {
	if slices.Contains([]string{"high", "medium", "low", "export"}, strings.ToLower(s)) {
		return nil
	}
	return fmt.Errorf("invalid TLS cipher grade: %q", s)
}
