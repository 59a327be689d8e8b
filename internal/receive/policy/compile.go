package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/receive/policy/dnslist"
	"packetboat/internal/receive/policy/service"
	"packetboat/internal/receive/policy/spec"
	"packetboat/internal/route/table"
)

// stage is the access list under way; it decides what bare tables look up and
// which address a general restriction speaks of.
type stage uint8

const (
	atClient stage = iota
	atHelo
	atSender
	atRcpt
	atData
	atEOD
	atEtrn
	nStages
)

// step is one restriction of a compiled list.
type step struct {
	name    string // today's name
	written string // as it stands in the list
	arg     string
	run     check
	warn    bool // warn_if_reject stands before it

	maps   table.Maps      // of check_*_access
	search []spec.CertKey  // of check_ccert_access
	zone   dnslist.Zone    // of reject_rbl_client and its like
	server *service.Client // of check_policy_service
	class  *class
	pause  time.Duration // of sleep

	in   string // parameter that it stands in; "" in a table's result
	word int    // its place there, from 0
}

type list []step

// class is a restriction class. What a bare table in it means depends on the
// list that names the class, so it is compiled for each kind of list; bad holds
// why it makes no sense in one.
type class struct {
	name  string
	lists [nStages]list
	bad   [nStages]error
	ready bool
}

func (c *class) at(s stage) list { return c.lists[s] }

// maxDepth is how deep classes and results of tables may name each other.
const maxDepth = 100

// declare reads a restriction class. Classes that it names are read first; those
// that name each other in a ring are found when they run, as in Postfix.
func (p *Policy) declare(name string) (*class, error) {
	c := p.classes[name]
	if c.ready {
		return c, nil
	}
	c.ready = true
	words := p.opts.Classes[name]
	if len(words) == 0 {
		return nil, fmt.Errorf("restriction class `%s' needs a definition", name)
	}
	for s := range c.lists {
		var err error
		c.lists[s], err = p.compile(name, words, stage(s), 0)
		if _, misplaced := errors.AsType[*bareError](err); err != nil && !misplaced {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c.bad[s] = err
	}
	return c, nil
}

// bareError tells of a table without a check before it, where none is implied.
type bareError struct{ word string }

// Error says what to write, in Postfix's words.
func (e *bareError) Error() string {
	return fmt.Sprintf("specify one of (check_client_access, check_reverse_client_hostname_access, check_helo_access, "+
		"check_sender_access, check_recipient_access, check_etrn_access) before restriction %q", e.word)
}

// compile turns the words of a list into steps. in is the parameter that they
// are the value of.
func (p *Policy) compile(in string, words []string, at stage, depth int) (list, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("restrictions name each other more than %d deep", maxDepth)
	}
	var out list
	warn := false
	for i := 0; i < len(words); i++ {
		if strings.EqualFold(words[i], "warn_if_reject") {
			warn = true
			continue
		}
		st := step{in: in, word: i, warn: warn, written: words[i]}
		warn = false
		// A bare table means the access check of the list it stands in.
		if strings.Contains(words[i], ":") {
			if st.written = bareTable(at); st.written == "" {
				return nil, &bareError{words[i]}
			}
			i--
		}
		used, err := p.fill(&st, words[i+1:], at)
		if err != nil {
			return nil, err
		}
		i += used
		out = append(out, st)
		if st.name == "permit" && i+1 < len(words) && in != "" {
			// Postfix says so for each message; once is enough to be seen.
			p.deps.Log.Warn("restriction `%s' after `%s' is ignored", words[i+1], st.written)
		}
	}
	return out, nil
}

// fill completes a step whose word is known; rest are the words behind it, of
// which it returns how many are its argument.
func (p *Policy) fill(st *step, rest []string, at stage) (used int, err error) {
	if p.classes[st.written] != nil {
		c, err := p.declare(st.written)
		if err != nil {
			return 0, err
		}
		st.name, st.class, st.run = c.name, c, runClass
		return 0, c.bad[at]
	}
	e, ok := p.table[strings.ToLower(st.written)]
	if !ok {
		return 0, fmt.Errorf("unknown smtpd restriction: %q", st.written)
	}
	st.name, st.run = e.name, e.run
	if now := map[string]string{"check_relay_domains": "reject_unauth_destination", "reject_maps_rbl": "reject_rbl_client domain-name"}[st.name]; now != "" {
		p.deps.Log.SMTPDRestriction("support for restriction \"" + st.name + "\" will be removed from Postfix; use \"" + now + "\" instead")
	}
	if e.arg == noArg {
		return 0, nil
	}
	if len(rest) == 0 {
		return 0, fmt.Errorf("restriction %q needs an argument", st.written)
	}
	st.arg = rest[0]
	if err := p.argument(st, e.arg); err != nil {
		return 0, fmt.Errorf("%s: %w", st.written, err)
	}
	return 1, nil
}

// argument reads the argument of a restriction.
func (p *Policy) argument(st *step, kind argKind) (err error) {
	switch kind {
	case zoneArg:
		st.zone, err = dnslist.Parse(st.arg)
	case serverArg:
		st.server, err = service.New(st.arg, p.opts.Service, p.opts.QueueDir, p.deps.Log.Warn)
	case secondsArg:
		n, bad := strconv.ParseUint(st.arg, 10, 16)
		if bad != nil {
			return fmt.Errorf("must be followed by number, not %q", st.arg)
		}
		st.pause = time.Duration(n) * time.Second
	case certArg:
		if st.arg, st.search, err = spec.CertSearch(st.arg); err == nil {
			err = p.openTable(st)
		}
	case tableArg:
		err = p.openTable(st)
	}
	return err
}

func (p *Policy) openTable(st *step) error {
	if !strings.Contains(st.arg, ":") {
		return fmt.Errorf("bad argument %q: need maptype:mapname", st.arg)
	}
	t, err := p.open(st.arg)
	if err != nil {
		return err
	}
	st.maps = table.Maps{t}
	return nil
}

// bareTable is the check that a table without one stands for; DATA and
// END-OF-DATA have none.
func bareTable(at stage) string {
	return [nStages]string{atClient: "check_client_access", atHelo: "check_helo_access", atSender: "check_sender_access",
		atRcpt: "check_recipient_access", atEtrn: "check_etrn_access"}[at]
}

// parsed returns the list that a table's result is, remembered from the last time
// it came up. There are as many as the tables have, so nothing is forgotten.
func (p *Policy) parsed(text string, at stage) (list, error) {
	type key struct {
		text string
		at   stage
	}
	if l, ok := p.results.Load(key{text, at}); ok {
		return l.(list), nil
	}
	l, err := p.compile("", spec.Words(text), at, 0)
	if err == nil && len(text) < 256 {
		p.results.Store(key{text, at}, l)
	}
	return l, err
}
