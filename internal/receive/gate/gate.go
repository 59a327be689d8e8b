// Package gate stands before the SMTP server: who may talk how often (what
// anvil(8) counts in Postfix), whose passwords were wrong too often, and, with
// Screen, who is no mail server at all (postscreen(8)). receive/smtpd asks Anvil
// and Bans at each event; cmd/mtad puts a Screen in front of a smtpd.Server.
//
// Everything that strangers make grow is bounded: see maxClients, maxBans and
// maxCache.
package gate

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Table is a look-up table.
type Table interface {
	// Lookup returns the value of key; found is false where there is none.
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
}

// Open opens a table by its "type:name".
type Open func(spec string) (Table, error)

// Hosts is a list of clients as smtpd_authorized_xclient_hosts and
// smtpd_client_event_limit_exceptions hold: addresses, networks, names,
// .domains, /files and type:tables, "!" before what is left out. The first
// pattern that matches decides (postconf(5) mynetworks). A nil *Hosts is empty.
type Hosts struct {
	rules []hostRule
}

type hostRule struct {
	not   bool
	net   netip.Prefix // or
	name  string       // in lower case; a leading dot stands for all names below
	table Table        // or
}

// maxHosts bounds the patterns of a list, so that a file by mistake is no
// endless memory; maxFiles how deep files may name files.
const (
	maxHosts = 100000
	maxFiles = 4
)

// NewHosts reads a list. open may be nil where no tables are to be had.
func NewHosts(words []string, open Open) (*Hosts, error) {
	h := &Hosts{}
	return h, h.add(words, open, false, 0)
}

func (h *Hosts) add(words []string, open Open, not bool, depth int) error {
	for _, w := range words {
		w, inverted := strings.CutPrefix(w, "!")
		if strings.HasPrefix(w, "/") {
			if err := h.addFile(w, open, not != inverted, depth); err != nil {
				return err
			}
			continue
		}
		r, err := newRule(w, open)
		if err != nil {
			return err
		}
		if len(h.rules) >= maxHosts {
			return fmt.Errorf("more than %d patterns", maxHosts)
		}
		r.not = not != inverted
		h.rules = append(h.rules, r)
	}
	return nil
}

// addFile reads patterns from a file, "#" beginning a comment line.
func (h *Hosts) addFile(path string, open Open, not bool, depth int) error {
	if depth >= maxFiles {
		return fmt.Errorf("%s: files name each other", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		split := func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' }
		if err := h.add(strings.FieldsFunc(line, split), open, not, depth+1); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func newRule(w string, open Open) (r hostRule, err error) {
	if p, ok := parseNet(w); ok {
		return hostRule{net: p}, nil
	}
	if !strings.Contains(w, ":") {
		return hostRule{name: strings.ToLower(w)}, nil
	}
	if open == nil {
		return r, fmt.Errorf("table %q cannot be used here", w)
	}
	r.table, err = open(w)
	return r, err
}

// parseNet reads 10.0.0.0/8, 10.1.2.3, [::1]/128, [2001:db8::]/32, 2001:db8::1.
func parseNet(w string) (netip.Prefix, bool) {
	w = strings.Replace(strings.Replace(w, "[", "", 1), "]", "", 1)
	if a, err := netip.ParseAddr(w); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(w)
	return p.Masked(), err == nil
}

// Match tells whether the list holds a client. A table that cannot answer holds
// nobody, which is the careful answer wherever these lists give privileges; the
// error says so.
func (h *Hosts) Match(ctx context.Context, name string, addr netip.Addr) (bool, error) {
	if h == nil {
		return false, nil
	}
	addr = addr.Unmap()
	for i := range h.rules {
		ok, err := h.rules[i].matches(ctx, name, addr)
		if err != nil {
			return false, err
		}
		if ok {
			return !h.rules[i].not, nil
		}
	}
	return false, nil
}

func (r *hostRule) matches(ctx context.Context, name string, addr netip.Addr) (bool, error) {
	switch {
	case r.table != nil:
		_, ok, err := r.table.Lookup(ctx, strings.ToLower(name))
		if !ok && err == nil {
			_, ok, err = r.table.Lookup(ctx, addr.String())
		}
		return ok, err
	case r.name != "" && r.name[0] == '.':
		return len(name) > len(r.name) && strings.EqualFold(name[len(name)-len(r.name):], r.name), nil
	case r.name != "":
		return strings.EqualFold(name, r.name), nil
	}
	return r.net.Contains(addr), nil
}
