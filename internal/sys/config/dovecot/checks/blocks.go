package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"packetboat/internal/sys/config/dovecot"
)

// databases must say their driver.
func (c *checker) databases() {
	for _, kind := range []string{"passdb", "userdb"} {
		for _, b := range c.d.Blocks(kind) {
			if v := b.Find("driver"); v == nil || v.Value == "" {
				c.problem(b.File, b.Line, kind+" is missing driver")
			}
			if v, r := b.Find("pass"), b.Find("result_success"); v != nil && v.Value == "yes" && r != nil && r.Value != "return-ok" {
				c.problem(v.File, v.Line, "Obsolete pass=yes setting mixed with non-default result_success")
			}
		}
	}
}

// block finds the section of a service, for its place.
func (c *checker) block(name string) (file string, line int) {
	for _, b := range c.d.Blocks("service") {
		if b.Name == name {
			return b.File, b.Line
		}
	}
	return "", 0
}

// services looks at their limits, types and listeners; those of protocols that
// are not switched on do not count.
func (c *checker) services() {
	list, err := c.d.Services()
	if err != nil {
		c.problem("", 0, err.Error())
		return
	}
	protocols := split(c.d.Get("protocols"))
	used := map[string]bool{}
	limit := int(number(c.d.Get("default_process_limit")))
	for _, s := range list {
		if s.Protocol != "" && !slices.Contains(protocols, s.Protocol) {
			continue
		}
		file, line := c.block(s.Name)
		most := s.ProcessLimit
		if most == 0 {
			most = limit
		}
		switch {
		case !has("login startup anvil config log worker", s.Type) && s.Type != "":
			c.problem(file, line, "Unknown service type: "+s.Type)
		case s.ProcessMinAvail > most:
			c.problem(file, line, fmt.Sprintf("service(%s): process_min_avail is higher than process_limit", s.Name))
		case s.VszLimit > 0 && s.VszLimit < 1024*1024:
			c.problem(file, line, fmt.Sprintf("service(%s): vsz_limit is too low", s.Name))
		case slices.Contains(alone, s.Name) && s.ProcessLimit > 1:
			c.problem(file, line, fmt.Sprintf("service(%s): process_limit must be 1", s.Name))
		}
		c.listeners(s, used, file, line)
	}
}

// alone are the services of which there is one process.
var alone = []string{"anvil", "auth", "dict-expire", "director", "indexer", "ipc", "log", "old-stats", "replicator"}

// listeners finds a socket that two listeners want.
func (c *checker) listeners(s dovecot.Service, used map[string]bool, file string, line int) {
	take := func(what string) {
		if used[what] {
			c.problem(file, line, "duplicate listener: "+what)
		}
		used[what] = true
	}
	for _, l := range append(slices.Clone(s.Unix), s.Fifo...) {
		path := l.Path
		if !strings.HasPrefix(path, "/") {
			path = strings.TrimSuffix(c.d.Get("base_dir"), "/") + "/" + path
		}
		if l.Mode != 0 {
			take(path)
		}
	}
	for _, l := range s.Inet {
		if l.Port != 0 {
			take(fmt.Sprintf("%d:%s", l.Port, strings.Join(l.Address, " ")))
		}
	}
}

// namespaces looks at separators, aliases and the uses of mailboxes.
func (c *checker) namespaces() {
	list, err := c.d.Namespaces()
	if err != nil {
		c.problem("", 0, err.Error())
		return
	}
	blocks := c.d.Blocks("namespace")
	prefixes := map[string]bool{}
	for _, n := range list {
		prefixes[n.Prefix] = true
	}
	for _, b := range blocks {
		get := func(name string) string {
			if v := b.Find(name); v != nil {
				return v.Value
			}
			return ""
		}
		if get("disabled") == "yes" {
			continue
		}
		if len(get("separator")) > 1 {
			c.problem(b.File, b.Line, fmt.Sprintf("Namespace '%s': Hierarchy separator must be only one character long", get("prefix")))
		}
		if a := get("alias_for"); a != "" && !prefixes[a] {
			c.problem(b.File, b.Line, fmt.Sprintf("Namespace '%s': alias_for points to unknown namespace: %s", get("prefix"), a))
		}
		for _, m := range b.Blocks {
			c.uses(m)
		}
	}
}

// specialUses are those of RFC 6154 section 2 and RFC 8457.
const specialUses = ` \All \Archive \Drafts \Flagged \Important \Junk \Sent \Trash `

func (c *checker) uses(m *dovecot.Block) {
	v := m.Find("special_use")
	if v == nil {
		return
	}
	for _, u := range strings.Fields(v.Value) {
		if !strings.Contains(specialUses, " "+u+" ") {
			c.problem(v.File, v.Line, fmt.Sprintf("mailbox %s: unknown special_use: %s", m.Name, u))
		}
	}
}

// metrics must match something.
func (c *checker) metrics() {
	for _, b := range c.d.Blocks("metric") {
		if v := b.Find("filter"); v == nil || v.Value == "" {
			c.problem(b.File, b.Line, fmt.Sprintf("metric %s { filter } is empty - will not match anything", b.Name))
		}
	}
}

// conflicts finds a setting that two filters set for the same connection, where
// neither is clearly the more specific one: Dovecot does not choose then.
func (c *checker) conflicts() {
	var filters []dovecot.Filter
	c.d.Filters(func(f dovecot.Filter, _ *dovecot.Block) { filters = append(filters, f) })
	for _, x := range filters {
		seen := map[string]bool{}
		last := x
		for _, f := range slices.Backward(filters) {
			if !f.Covers(x) {
				continue
			}
			b := c.d.FilterBlock(f)
			for _, v := range b.Values {
				if seen[v.Name] && !wider(f, last) {
					c.problem(v.File, v.Line, fmt.Sprintf("Conflict in setting %s found from filter at %s:%d", v.Name, b.File, b.Line))
					return
				}
			}
			for _, v := range b.Values {
				seen[v.Name] = true
			}
			last = f
		}
	}
}

// wider tells whether f has no condition that the filter before it in the order of
// specificity does not have.
func wider(f, before dovecot.Filter) bool {
	return bits(f.Local) <= bits(before.Local) && bits(f.Remote) <= bits(before.Remote) && (f.LocalName == "" || before.LocalName != "") &&
		(f.Protocol == "" || before.Protocol != "")
}

// bits is the length of a network's prefix; no network is less than the widest.
func bits(p netip.Prefix) int {
	if !p.IsValid() {
		return -1
	}
	return p.Bits()
}
