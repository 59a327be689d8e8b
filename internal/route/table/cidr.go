package table

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"packetboat/internal/route/table/mapfile"
)

// cidrRule is one line of a cidr table: a network, or the beginning or end of
// a block. jump is the rule behind the matching endif.
type cidrRule struct {
	op     ruleOp
	not    bool
	prefix netip.Prefix
	value  string
	jump   int
}

// ruleOp says what a line of a table with if and endif does.
type ruleOp uint8

const (
	opMatch ruleOp = iota
	opIf
	opEndif
)

// cidrTable is a cidr_table(5).
type cidrTable struct {
	*source[[]cidrRule]
	name string
}

func openCIDR(name string, o Options, _ int) (Table, error) {
	path := resolve(name, o)
	src, err := openRules("cidr", name, o, func(r io.Reader) ([]cidrRule, []string, error) { return readCIDR(r, path) })
	if err != nil {
		return nil, err
	}
	return &cidrTable{src, "cidr:" + name}, nil
}

// readCIDR reads the rules; a line that says nothing sensible is skipped and
// told in the problems.
func readCIDR(r io.Reader, path string) ([]cidrRule, []string, error) {
	var rules []cidrRule
	var problems []string
	var open []int
	l := mapfile.NewLines(r)
	for {
		line, n, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		rule, err := parseCIDR(string(mapfile.TrimLeft(line)))
		if err != nil {
			problems = report(problems, "cidr map %s, line %d: %v: skipping this rule", path, n, err)
			continue
		}
		rules = append(rules, rule)
		if open, err = nest(rule.op, len(rules)-1, open, func(i, to int) { rules[i].jump = to }); err != nil {
			problems = report(problems, "cidr map %s, line %d: %v", path, n, err)
			rules = rules[:len(rules)-1]
		}
	}
	for _, i := range open {
		problems = report(problems, "cidr map %s: IF has no matching ENDIF", path)
		rules[i].jump = len(rules)
	}
	return rules, problems, nil
}

// nest keeps the stack of open blocks: an endif tells its if where to go on.
func nest(op ruleOp, at int, open []int, jump func(i, to int)) ([]int, error) {
	switch {
	case op == opIf:
		return append(open, at), nil
	case op == opEndif && len(open) == 0:
		return open, fmt.Errorf("ignoring ENDIF without matching IF")
	case op == opEndif:
		jump(open[len(open)-1], at+1)
		return open[:len(open)-1], nil
	}
	return open, nil
}

func parseCIDR(s string) (cidrRule, error) {
	var r cidrRule
	word, rest := cutWord(s)
	switch strings.ToLower(word) {
	case "endif":
		r.op = opEndif
		return r, nil
	case "if":
		r.op = opIf
		s = rest
	}
	for strings.HasPrefix(s, "!") {
		r.not = !r.not
		s = strings.TrimLeft(s[1:], " \t")
	}
	network, value := cutWord(s)
	r.value = value
	if r.op == opMatch && value == "" {
		return r, fmt.Errorf("no lookup result")
	}
	var err error
	r.prefix, err = parseNetwork(network)
	return r, err
}

// cutWord divides s at its first white space.
func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t\r\n\v\f")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// parseNetwork reads address or address/length, an IPv6 address with or
// without brackets. Host bits must be zero (cidr_table(5)).
func parseNetwork(s string) (netip.Prefix, error) {
	addr, bits, slash := strings.Cut(s, "/")
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("bad address pattern: \"%s\"", s)
	}
	if !slash {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(addr + "/" + strings.TrimSuffix(bits, "]"))
	if err != nil {
		return p, fmt.Errorf("bad net/mask pattern: \"%s\"", s)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("non-null host address bits in \"%s\", perhaps you should use \"%s\" instead", s, p.Masked())
	}
	return p, nil
}

// Lookup implements Table; what is no address is in no network.
func (t *cidrTable) Lookup(_ context.Context, key string) (string, bool, error) {
	rules, err := t.get()
	if err != nil {
		return "", false, err
	}
	addr, err := netip.ParseAddr(key)
	if err != nil {
		return "", false, nil
	}
	for i := 0; i < len(rules); {
		r := &rules[i]
		i++
		if r.op == opEndif {
			continue
		}
		hit := r.prefix.Contains(addr) != r.not
		switch {
		case r.op == opIf && !hit:
			i = r.jump
		case r.op == opMatch && hit:
			return r.value, true, nil
		}
	}
	return "", false, nil
}

// Name implements Table.
func (t *cidrTable) Name() string { return t.name }

// Pattern implements Table.
func (t *cidrTable) Pattern() bool { return true }
