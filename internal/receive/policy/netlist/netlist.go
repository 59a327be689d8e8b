// Package netlist reads lists of clients such as mynetworks and asks them.
package netlist

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"packetboat/internal/route/table"
	"packetboat/internal/sys/dns"
)

// List is a list such as mynetworks: addresses and networks in CIDR form,
// IPv6 ones in brackets or without, "!" before what is left out, and files of
// such lines. The first pattern that matches decides (postconf(5) mynetworks).
type List struct {
	rules []netRule
	open  func(spec string) (table.Table, error)
}

// netRule is a network, a host name or .domain, or a table of them.
type netRule struct {
	prefix netip.Prefix
	name   string
	table  table.Table
	not    bool
}

// maxRules bounds a list, so that a file by mistake is no endless memory.
const maxRules = 100000

// Parse reads a list. Tables (cidr:, hash:) in it are opened with open;
// without it they are an error that names the word.
func Parse(words []string, open ...func(spec string) (table.Table, error)) (*List, error) {
	n := &List{}
	if len(open) > 0 {
		n.open = open[0]
	}
	return n, n.add(words, false, 0)
}

func (n *List) add(words []string, not bool, depth int) error {
	for _, w := range words {
		rest, inverted := strings.CutPrefix(w, "!")
		if strings.HasPrefix(rest, "/") {
			if err := n.addFile(rest, not != inverted, depth); err != nil {
				return err
			}
			continue
		}
		r, err := n.rule(rest)
		if err != nil {
			return err
		}
		if len(n.rules) >= maxRules {
			return fmt.Errorf("more than %d networks", maxRules)
		}
		r.not = not != inverted
		n.rules = append(n.rules, r)
	}
	return nil
}

// rule reads one pattern. What looks like an address must be one: a slip of the
// hand must not become a host name that never comes.
func (n *List) rule(w string) (r netRule, err error) {
	r.prefix, err = parseNetwork(w)
	kind, _, isTable := strings.Cut(w, ":")
	switch {
	case err == nil || n.open == nil:
		return r, err
	case isTable && kind != "" && strings.Trim(kind, "0123456789abcdefABCDEF[") != "":
		r.table, err = n.open(w)
	case strings.Trim(w, "0123456789./:[]") != "" && dns.ValidHost(strings.TrimPrefix(w, ".")):
		r.name, err = strings.ToLower(w), nil
	}
	return r, err
}

// addFile reads a file of patterns, "#" beginning a comment line.
func (n *List) addFile(path string, not bool, depth int) error {
	if depth > 3 {
		return fmt.Errorf("%s: files name each other", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
		if err := n.add(words, not, depth+1); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// parseNetwork reads 10.0.0.0/8, 10.1.2.3, [2001:db8::]/32, [::1]/128, 2001:db8::1.
func parseNetwork(w string) (netip.Prefix, error) {
	bare := w
	if inner, ok := strings.CutPrefix(w, "["); ok {
		bare = strings.Replace(inner, "]", "", 1)
		if bare == inner {
			return netip.Prefix{}, fmt.Errorf("%q has a bracket that does not end", w)
		}
	}
	if !strings.Contains(bare, "/") {
		a, err := netip.ParseAddr(bare)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network", w)
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(bare)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a network", w)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	// Postfix refuses 10.1.2.3/8 too: bits outside the mask are a slip of the
	// hand that could open a relay.
	if p.Masked() != p {
		return p, fmt.Errorf("non-null host address bits in %q, perhaps you should use %q instead", w, p.Masked())
	}
	return p, nil
}

// Contains tells whether a is in the list. A mapped address (::ffff:10.0.0.1)
// counts as the IPv4 address that it is. A table that does not answer holds
// nobody.
func (n *List) Contains(a netip.Addr) bool {
	ok, err := n.Match(context.Background(), "", a)
	return ok && err == nil
}

// Match tells whether a client is in the list, by its address or its name; the
// first pattern that fits decides. An error means that a table could not tell.
func (n *List) Match(ctx context.Context, name string, a netip.Addr) (bool, error) {
	a = a.Unmap().WithZone("")
	for i := range n.rules {
		r := &n.rules[i]
		hit, err := r.fits(ctx, name, a)
		if err != nil {
			return false, err
		}
		if hit {
			return !r.not, nil
		}
	}
	return false, nil
}

func (r *netRule) fits(ctx context.Context, name string, a netip.Addr) (bool, error) {
	switch {
	case r.table != nil:
		for _, key := range []string{name, a.String()} {
			if key == "" || key == "unknown" {
				continue
			}
			if _, found, err := r.table.Lookup(ctx, key); found || err != nil {
				return found, err
			}
		}
		return false, nil
	case r.name != "":
		// mynetworks is in parent_domain_matches_subdomains: a name holds what is below it.
		name = strings.ToLower(name)
		return name == r.name || strings.HasSuffix(name, "."+strings.TrimPrefix(r.name, ".")), nil
	}
	return r.prefix.Contains(a), nil
}
