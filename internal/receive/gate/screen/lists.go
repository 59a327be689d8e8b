package screen

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/policy/dnslist"
)

// rule is one item of postscreen_access_list: a word, or a table.
type rule struct {
	word  string
	table gate.Table
}

// site is one item of postscreen_dnsbl_sites: "zone=filter*weight".
type site struct {
	zone   dnslist.Zone
	name   string
	weight int
}

// open reads the lists.
func (s *Screen) open() (err error) {
	if s.nets, err = gate.NewHosts(s.o.Networks, s.d.Table); err != nil {
		return fmt.Errorf("mynetworks: %w", err)
	}
	if s.allowed, err = gate.NewHosts(interfaces(s.o.Allowed), s.d.Table); err != nil {
		return fmt.Errorf("postscreen_allowlist_interfaces: %w", err)
	}
	for _, w := range s.o.Access {
		r := rule{word: strings.ToLower(w)}
		switch r.word {
		case "permit_mynetworks", "permit", "reject", "dunno":
		default:
			if r.table, err = s.table(w); err != nil {
				return fmt.Errorf("postscreen_access_list: %w", err)
			}
		}
		s.access = append(s.access, r)
	}
	for _, w := range s.o.Sites {
		x, err := parseSite(w)
		if err != nil {
			return fmt.Errorf("postscreen_dnsbl_sites: %w", err)
		}
		s.sites = append(s.sites, x)
	}
	for _, w := range s.o.Forbid {
		if strings.Contains(w, ":") {
			t, err := s.table(w)
			if err != nil {
				return fmt.Errorf("postscreen_forbidden_commands: %w", err)
			}
			s.forbid = append(s.forbid, t)
		}
	}
	if s.o.Reply != "" {
		if s.reply, err = s.table(s.o.Reply); err != nil {
			return fmt.Errorf("postscreen_dnsbl_reply_map: %w", err)
		}
	}
	if s.o.Filter != "" {
		if s.filter, err = s.table(s.o.Filter); err != nil {
			return fmt.Errorf("postscreen_command_filter: %w", err)
		}
	}
	return s.openReplies()
}

// tables opens the tables of a parameter.
func (s *Screen) tables(param string, specs []string) ([]gate.Table, error) {
	var out []gate.Table
	for _, spec := range specs {
		t, err := s.table(spec)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", param, err)
		}
		out = append(out, t)
	}
	return out, nil
}

func (s *Screen) table(spec string) (gate.Table, error) {
	if s.d.Table == nil || !strings.Contains(spec, ":") {
		return nil, fmt.Errorf("%q is no table", spec)
	}
	return s.d.Table(spec)
}

// interfaces reads "static:all", the default, as all addresses.
func interfaces(words []string) []string {
	if len(words) == 0 {
		return []string{"0.0.0.0/0", "::/0"}
	}
	out := make([]string, 0, len(words))
	for _, w := range words {
		if w == "static:all" {
			out = append(out, "0.0.0.0/0", "::/0")
			continue
		}
		out = append(out, w)
	}
	return out
}

func parseSite(w string) (site, error) {
	name, weight, weighted := strings.Cut(w, "*")
	x := site{weight: 1}
	var err error
	if weighted {
		if x.weight, err = strconv.Atoi(weight); err != nil {
			return x, fmt.Errorf("bad DNSBL weight factor %q in %q", weight, w)
		}
	}
	if x.zone, err = dnslist.Parse(name); err != nil {
		return x, err
	}
	x.name, _, _ = strings.Cut(name, "=")
	return x, nil
}

// decide goes through postscreen_access_list; "" is for clients it knows nothing of.
func (s *Screen) decide(ctx context.Context, c *client) string {
	for _, r := range s.access {
		word := r.word
		if r.table != nil {
			v, ok, err := r.table.Lookup(ctx, c.addr.String())
			if err != nil {
				s.d.Log.SMTPDConfig("postscreen_access_list", err)
				return ""
			}
			if !ok {
				continue
			}
			word = strings.ToLower(strings.TrimSpace(v))
		}
		switch word {
		case "permit_mynetworks":
			if ok, _ := s.nets.Match(ctx, "", c.addr); ok {
				return "permit"
			}
		case "permit", "reject":
			return word
		default: // DUNNO, and words that nobody knows
			return ""
		}
	}
	return ""
}

// score is the sum of the weights of the lists that a client stands on.
type score struct {
	mu   sync.Mutex
	rank int
	name string // the list of the largest weight, for the reply
	top  int
	done chan struct{} // closed when all have answered
}

// ask asks all lists at once.
func (s *Screen) ask(ctx context.Context, c *client) *score {
	r := &score{done: make(chan struct{})}
	if len(s.sites) == 0 || s.lists == nil {
		close(r.done)
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.DNSTime)
	var wg sync.WaitGroup
	for _, x := range s.sites {
		wg.Go(func() {
			defer func() { _ = recover() }() // a fault costs only this answer
			if s.listed(ctx, x, c.addr) {
				r.add(x)
			}
		})
	}
	go func() {
		wg.Wait()
		cancel()
		close(r.done)
	}()
	return r
}

// listed asks one list; what a list does not answer says nothing.
func (s *Screen) listed(ctx context.Context, x site, addr netip.Addr) bool {
	a, err := s.lists.Ask(ctx, x.zone, dnslist.Reverse(addr))
	return err == nil && a.Listed
}

func (r *score) add(x site) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rank += x.weight
	if x.weight > r.top {
		r.top, r.name = x.weight, x.name
	}
}

func (r *score) get() (rank int, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rank, r.name
}

// shown is the name of a list for replies: postscreen_dnsbl_reply_map hides
// passwords that are part of a name.
func (s *Screen) shown(ctx context.Context, name string) string {
	if s.reply != nil {
		if v, ok, err := s.reply.Lookup(ctx, name); err == nil && ok {
			return v
		}
	}
	return name
}
