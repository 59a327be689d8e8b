package check

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"packetboat/cmd/mailadm/where"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/dns"
)

// namesTime bounds all questions to name servers together.
const namesTime = 60 * time.Second

// maxDomains bounds the domains that are asked about.
const maxDomains = 50

// names asks name servers what other mail systems will ask them about us.
func (c *checker) names() {
	ctx, cancel := context.WithTimeout(context.Background(), namesTime)
	defer cancel()
	r := dns.New(dns.Options{Servers: c.o.Servers})
	host := c.main.Get("myhostname")
	at := where.Of(c.main, "myhostname")
	if !strings.Contains(host, ".") {
		c.place(at, config.SeverityWarning, "write the full name: myhostname = "+host+".example.org", "%s is no full name: other mail systems refuse such a HELO", host)
		return
	}
	c.host(ctx, r, at, host)
	for i, d := range c.own() {
		if i == maxDomains {
			break
		}
		c.domain(ctx, r, d, host)
	}
}

// host looks at the addresses of myhostname and their reverse names.
func (c *checker) host(ctx context.Context, r *dns.Resolver, at where.Place, host string) {
	addrs, err := r.Addrs(ctx, host, "ip")
	if err != nil || len(addrs) == 0 {
		c.place(at, config.SeverityError, "add an A record (and an AAAA record) for "+host+", or correct myhostname", "%s (myhostname) has no address: %s", host, why(err))
		return
	}
	for _, a := range addrs {
		name, reverse, err := r.Name(ctx, a)
		switch {
		case strings.EqualFold(name, host):
		case reverse == "" && err != nil && dns.KindOf(err) == dns.TryAgain:
			c.place(at, config.SeverityWarning, "try again later", "%s: the reverse name of %s could not be asked for: %s", host, a, why(err))
		case reverse == "":
			c.place(at, config.SeverityError, "ask whoever gave you the address for a PTR record "+a.String()+" -> "+host,
				"%s has no reverse name: many mail systems refuse mail from it", a)
		case name == "":
			c.place(at, config.SeverityError, "add an address record "+reverse+" -> "+a.String()+", or a PTR record "+a.String()+" -> "+host,
				"the reverse name of %s is %s, which does not lead back", a, reverse)
		default:
			c.place(at, config.SeverityWarning, "ask for a PTR record "+a.String()+" -> "+host+", or write myhostname = "+name,
				"the reverse name of %s is %s and not %s (myhostname)", a, name, host)
		}
	}
}

func why(err error) string {
	if err == nil {
		return "there is none"
	}
	return err.Error()
}

// ownDomain is a domain whose mail comes here.
type ownDomain struct {
	name string
	at   where.Place
}

// own returns the domains of mydestination, the virtual ones and myorigin, those
// that are written out.
func (c *checker) own() []ownDomain {
	var out []ownDomain
	seen := map[string]bool{strings.ToLower(c.main.Get("myhostname")): true}
	for _, param := range []string{"myorigin", "mydestination", "virtual_alias_domains", "virtual_mailbox_domains"} {
		list := where.Words(c.main, param)
		for i, w := range list.Words {
			w = strings.ToLower(w)
			if strings.ContainsAny(w, "!/:[") || !strings.Contains(w, ".") || strings.HasSuffix(w, ".localdomain") || seen[w] {
				continue
			}
			seen[w] = true
			out = append(out, ownDomain{w, list.At(i)})
		}
	}
	return out
}

// domain looks at MX, SPF, DKIM and DMARC of a domain. The host's own name
// needs none of them.
func (c *checker) domain(ctx context.Context, r *dns.Resolver, d ownDomain, host string) {
	mx, _, err := r.MX(ctx, d.name)
	switch {
	case err != nil && dns.KindOf(err) == dns.TryAgain:
		c.place(d.at, config.SeverityWarning, "try again later", "%s: the MX records could not be asked for: %v", d.name, err)
		return
	case err != nil && dns.KindOf(err) == dns.NoHost:
		c.place(d.at, config.SeverityError, "take it out of "+d.at.Parameter+", or add it to the name servers", "%s does not exist", d.name)
		return
	case len(mx) == 0:
		c.place(d.at, config.SeverityError, "add the record: "+d.name+". MX 10 "+host+".", "%s has no MX record", d.name)
	case !slices.ContainsFunc(mx, func(m dns.MX) bool { return strings.EqualFold(m.Host, host) || c.leadsHere(ctx, r, m.Host, host) }):
		c.place(d.at, config.SeverityWarning, "add the record: "+d.name+". MX 10 "+host+"., or take the domain out of "+d.at.Parameter,
			"mail for %s goes to %s, not to %s", d.name, mx[0].Host, host)
	}
	c.spf(ctx, r, d)
	c.dkim(ctx, r, d)
}

// leadsHere tells whether an MX host has an address of ours under another name.
func (c *checker) leadsHere(ctx context.Context, r *dns.Resolver, mx, host string) bool {
	a, err := r.Addrs(ctx, mx, "ip")
	b, err2 := r.Addrs(ctx, host, "ip")
	return err == nil && err2 == nil && slices.ContainsFunc(a, func(x netip.Addr) bool { return slices.Contains(b, x) })
}

// spf looks for the record of RFC 7208, of which there may be one.
func (c *checker) spf(ctx context.Context, r *dns.Resolver, d ownDomain) {
	switch n := len(texts(ctx, r, d.name, "v=spf1")); {
	case n == 0:
		c.place(d.at, config.SeverityWarning, `add the record: `+d.name+`. TXT "v=spf1 mx -all"`, "%s has no SPF record: anybody can send in its name", d.name)
	case n > 1:
		c.place(d.at, config.SeverityError, "put them together into one", "%s has %d SPF records: none of them counts (RFC 7208 section 4.5)", d.name, n)
	}
}

// dkim looks for keys of RFC 6376 and the policy of RFC 7489. A key's name holds
// a selector that only its signer knows, but that there are names below
// _domainkey shows: it exists then, without records (RFC 8020).
func (c *checker) dkim(ctx context.Context, r *dns.Resolver, d ownDomain) {
	if _, err := r.TXT(ctx, "_domainkey."+d.name); err != nil && dns.KindOf(err) == dns.NoHost {
		c.place(d.at, config.SeverityWarning, "let opendkim or rspamd sign, and add its key as SELECTOR._domainkey."+d.name, "%s has no DKIM keys", d.name)
	}
	if len(texts(ctx, r, "_dmarc."+d.name, "v=DMARC1")) == 0 {
		c.place(d.at, config.SeverityWarning, `add the record: _dmarc.`+d.name+`. TXT "v=DMARC1; p=none"`, "%s has no DMARC record", d.name)
	}
}

// texts returns the TXT records of a name that begin with a version.
func texts(ctx context.Context, r *dns.Resolver, name, version string) (out []string) {
	list, _ := r.TXT(ctx, name) // no record and no answer are the same here: nothing is found
	for _, t := range list {
		if f := strings.FieldsFunc(t, func(c rune) bool { return c == ' ' || c == ';' }); len(f) > 0 && strings.EqualFold(f[0], version) {
			out = append(out, t)
		}
	}
	return out
}
