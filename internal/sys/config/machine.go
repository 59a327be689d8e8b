package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// hostname is the default of myhostname: the machine's name, with mydomain
// after it when it has no dot.
func (m *Main) hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	if strings.Contains(name, ".") {
		return name
	}
	// mydomain counts only where it is set: its default comes from here.
	if _, ok := m.Raw("mydomain"); ok {
		return name + "." + m.settled("mydomain")
	}
	return name + "." + noDomain
}

// settled returns the value of a name that a computed default needs. Computed
// defaults are empty in it, as they are in Postfix while it computes one: so
// "myhostname = mail.$mydomain" alone is "mail.", and nothing goes in circles.
func (m *Main) settled(name string) string {
	get := func(name string, _ bool) (string, bool) {
		if s, ok := m.find(name); ok {
			return s.Value, true
		}
		p, ok := LookupParam(name)
		return p.Default, ok && !strings.HasPrefix(p.Default, "@")
	}
	raw, _ := get(name, false)
	value, err := ExpandWith(raw, get)
	if err != nil {
		return ""
	}
	return value
}

// noDomain is the domain of a machine that has none.
const noDomain = "localdomain"

// domain is the default of mydomain: myhostname without its first label.
func (m *Main) domain() string {
	if _, rest, ok := strings.Cut(m.settled("myhostname"), "."); ok {
		return rest
	}
	return noDomain
}

// networks is the default of mynetworks: the addresses of inet_interfaces with
// the masks that mynetworks_style asks for. An interface that cannot be read
// gives no address: that trusts less, never more.
func (m *Main) networks() string {
	style := m.settled("mynetworks_style")
	var list []string
	for _, p := range m.interfaces() {
		p = styled(p, style)
		s := p.String()
		if p.Addr().Is6() {
			s = fmt.Sprintf("[%s]/%d", p.Addr(), p.Bits())
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	// Postfix ends the list with a space, which shows where others refer to it.
	return strings.Join(append(list, ""), " ")
}

// styled widens the address of p to the network that style names: host, the
// subnet of its interface, or the class of RFC 791 section 3.2.
func styled(p netip.Prefix, style string) netip.Prefix {
	bits := p.Bits()
	switch {
	case style == "host":
		bits = p.Addr().BitLen()
	case style == "class" && p.Addr().Is4():
		switch first := p.Addr().As4()[0]; {
		case first < 128:
			bits = 8
		case first < 192:
			bits = 16
		case first < 224:
			bits = 24
		default:
			bits = 4
		}
	}
	return netip.PrefixFrom(p.Addr(), bits).Masked()
}

// interfaces returns the addresses of inet_interfaces with the masks of this
// machine's interfaces, IPv4 first, as far as inet_protocols allows them.
func (m *Main) interfaces() []netip.Prefix {
	wanted := Fields(m.settled("inet_interfaces"))
	protocols := m.settled("inet_protocols")
	var v4, v6 []netip.Prefix
	for _, p := range localPrefixes() {
		if !interfaceWanted(wanted, p.Addr()) {
			continue
		}
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	if !protocolWanted(protocols, "ipv4") {
		v4 = nil
	}
	if !protocolWanted(protocols, "ipv6") {
		v6 = nil
	}
	return append(v4, v6...)
}

func interfaceWanted(wanted []string, a netip.Addr) bool {
	for _, w := range wanted {
		w = strings.Trim(w, "[]")
		switch {
		case w == "all", w == "loopback-only" && a.IsLoopback(), w == "localhost" && a.IsLoopback():
			return true
		}
		if b, err := netip.ParseAddr(w); err == nil && b.Unmap() == a.WithZone("") {
			return true
		}
	}
	return false
}

// BadWord returns Postfix's words for a value of mynetworks_style or
// inet_protocols that is none of theirs, "" for one that is good.
func BadWord(name, value string) string {
	words, what := "", name
	switch name {
	case "mynetworks_style":
		words, what = "class subnet host", "mynetworks mask style"
	case "inet_protocols":
		words = "all ipv4 ipv6"
	default:
		return ""
	}
	for _, w := range Fields(value) {
		if !slices.Contains(strings.Fields(words), w) {
			return fmt.Sprintf("unknown %s value \"%s\" in \"%s\"", what, w, value)
		}
	}
	return ""
}

func protocolWanted(protocols, name string) bool {
	for _, p := range Fields(protocols) {
		if p == "all" || strings.EqualFold(p, name) {
			return true
		}
	}
	return false
}

// localPrefixes returns the addresses of the interfaces that are up.
func localPrefixes() []netip.Prefix {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var list []netip.Prefix
	for _, i := range ifaces {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				list = append(list, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
			}
		}
	}
	return list
}
