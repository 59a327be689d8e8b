package checks

import (
	"fmt"
	"slices"
	"strings"

	"packetboat/internal/sys/config/dovecot"
)

// Warnings returns what Dovecot warns of: limits that are too low for the
// processes that there may be, and TLS in a section while it is off as a whole.
func Warnings(d *dovecot.Config) (list []string) {
	if d.Get("ssl") == "no" {
		warned := false
		d.Filters(func(_ dovecot.Filter, b *dovecot.Block) {
			if v := b.Find("ssl"); v != nil && v.Value != "no" && !warned {
				warned = true
				list = append(list, fmt.Sprintf("SSL is disabled because global ssl=no, ignoring ssl=%s for subsection", v.Value))
			}
		})
	}
	services, err := d.Services()
	if err != nil {
		return list
	}
	return append(list, loads(d, services)...)
}

// order is that of the services in Dovecot's list, for the sums in its warnings.
var order = []string{"submission", "submission-login", "pop3", "pop3-login", "lmtp", "imap", "imap-urlauth-worker", "imap-urlauth", "imap-urlauth-login",
	"imap-login", "managesieve", "managesieve-login", "auth"}

// load is a number of connections, and where they come from.
type load struct {
	n    int
	text strings.Builder
}

func (l *load) add(name string, limit int) {
	if l.text.Len() > 0 {
		l.text.WriteString(" + ")
	}
	l.n += limit
	fmt.Fprintf(&l.text, "service %s { process_limit=%d }", name, limit)
}

// loads holds the client limits of auth and anvil against the processes that
// connect to them.
func loads(d *dovecot.Config, services []dovecot.Service) (list []string) {
	place := func(s dovecot.Service) int {
		if i := slices.Index(order, s.Name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(services, func(a, b dovecot.Service) int { return place(a) - place(b) })
	protocols := split(d.Get("protocols"))
	var auth load
	anvil := load{n: 2} // anvil's own two pipes
	limits := map[string]int{}
	for _, s := range services {
		if limits[s.Name] = s.ClientLimit; s.ClientLimit == 0 {
			limits[s.Name] = int(number(d.Get("default_client_limit")))
		}
		if s.Protocol != "" && !slices.Contains(protocols, s.Protocol) {
			continue
		}
		most := s.ProcessLimit
		if most == 0 {
			most = int(number(d.Get("default_process_limit")))
		}
		// A hibernating IMAP process looks nobody up.
		if s.Protocol != "" && (s.ServiceCount != 1 || s.Type == "login") && s.Name != "imap-hibernate" {
			auth.add(s.Name, most)
		}
		if s.Type == "login" || s.Name == "auth" {
			anvil.add(s.Name, most)
		}
	}
	if limits["auth"] < auth.n {
		list = append(list, fmt.Sprintf("service auth { client_limit=%d } is lower than required under max. load (%d). "+
			"Counted for protocol services with service_count != 1: %s", limits["auth"], auth.n, auth.text.String()))
	}
	if limits["anvil"] < anvil.n {
		list = append(list, fmt.Sprintf("service anvil { client_limit=%d } is lower than required under max. load (%d). Counted with: %s",
			limits["anvil"], anvil.n, anvil.text.String()))
	}
	return list
}
