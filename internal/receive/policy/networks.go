package policy

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Networks is a list such as mynetworks: addresses and networks in CIDR form,
// IPv6 ones in brackets or without, "!" before what is left out, and files of
// such lines. The first pattern that matches decides (postconf(5) mynetworks).
type Networks struct {
	rules []netRule
}

type netRule struct {
	prefix netip.Prefix
	not    bool
}

// maxNetworks bounds a list, so that a file by mistake is no endless memory.
const maxNetworks = 100000

// ParseNetworks reads a list. Tables (cidr:, hash:) are not read here: the
// error names the word.
func ParseNetworks(words []string) (*Networks, error) {
	n := &Networks{}
	return n, n.add(words, false, 0)
}

func (n *Networks) add(words []string, not bool, depth int) error {
	for _, w := range words {
		rest, inverted := strings.CutPrefix(w, "!")
		if strings.HasPrefix(rest, "/") {
			if err := n.addFile(rest, not != inverted, depth); err != nil {
				return err
			}
			continue
		}
		p, err := parseNetwork(rest)
		if err != nil {
			return err
		}
		if len(n.rules) >= maxNetworks {
			return fmt.Errorf("more than %d networks", maxNetworks)
		}
		n.rules = append(n.rules, netRule{p, not != inverted})
	}
	return nil
}

// addFile reads a file of patterns, "#" beginning a comment line.
func (n *Networks) addFile(path string, not bool, depth int) error {
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
// counts as the IPv4 address that it is.
func (n *Networks) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, r := range n.rules {
		if r.prefix.Contains(a) {
			return !r.not
		}
	}
	return false
}
