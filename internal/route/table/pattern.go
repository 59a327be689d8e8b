package table

import (
	"context"
	"fmt"
	"io"
	"strings"

	"packetboat/internal/route/table/mapfile"
	"packetboat/internal/route/table/regex"
)

// rule is one line of a regexp or pcre table.
type rule struct {
	op    ruleOp
	not   bool
	re    regex.Matcher
	plain bool   // value holds no $
	value string // the template, "$$" still in it
	jump  int    // with opIf: the rule behind the matching endif
}

// compiler makes a regular expression of a pattern and its flag letters.
type compiler func(pattern, flags string) (regex.Matcher, error)

// patterns is a regexp_table(5) or pcre_table(5).
type patterns struct {
	*source[[]rule]
	name string
}

// openPatterns returns the opener of one pattern type.
func openPatterns(kind string, compile compiler) opener {
	return func(name string, o Options, _ int) (Table, error) {
		p := patternReader{kind: kind, path: resolve(name, o), compile: compile, noSub: o.NoRegSub}
		src, err := openRules(kind, name, o, p.read)
		if err != nil {
			return nil, err
		}
		return &patterns{src, kind + ":" + name}, nil
	}
}

// patternReader reads the lines of one pattern table.
type patternReader struct {
	kind, path string
	compile    compiler
	noSub      bool
}

// maxRules is the number of rules of one table; each is tried in turn.
const maxRules = 100000

// read reads all rules. A line with a mistake is skipped and told, as Postfix
// does; a pattern that is right but cannot be run here fails the whole table,
// because mail would be judged without it.
func (p patternReader) read(r io.Reader) ([]rule, []string, error) {
	var rules []rule
	var problems []string
	var open []int
	for l := mapfile.NewLines(r); ; {
		line, n, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		one, err := p.parse(string(mapfile.TrimLeft(line)))
		if u, ok := err.(*regex.UnsupportedError); ok {
			return nil, nil, fmt.Errorf("line %d: %w", n, u)
		}
		if err != nil {
			why := err.Error()
			if p.kind == "pcre" && strings.HasPrefix(why, "no closing") { // these words differ in Postfix
				why = strings.Replace(why, "skipping", "ignoring", 1)
			}
			problems = report(problems, "%s map %s, line %d: %s", p.kind, p.path, n, why)
			continue
		}
		if rules = append(rules, one); len(rules) > maxRules {
			return nil, nil, fmt.Errorf("more than %d rules", maxRules)
		}
		if open, err = nest(one.op, len(rules)-1, open, func(i, to int) { rules[i].jump = to }); err != nil {
			problems = report(problems, "%s map %s, line %d: %v", p.kind, p.path, n, err)
			rules = rules[:len(rules)-1]
		}
	}
	for _, i := range open {
		problems = report(problems, "%s map %s: IF has no matching ENDIF", p.kind, p.path)
		rules[i].jump = len(rules)
	}
	return rules, problems, nil
}

// parse reads one rule: [!]/pattern/flags value, if /pattern/, endif.
func (p patternReader) parse(s string) (rule, error) {
	var r rule
	word, rest := cutWord(s)
	switch {
	case strings.EqualFold(word, "endif"):
		r.op = opEndif
		return r, nil
	case strings.EqualFold(word, "if"):
		r.op = opIf
		s = rest
	case len(s) > 2 && strings.EqualFold(s[:2], "if") && !isAlnum(s[2]):
		r.op = opIf // "if/pattern/" without a blank
		s = s[2:]
	}
	for strings.HasPrefix(s, "!") {
		r.not = !r.not
		s = strings.TrimLeft(s[1:], " \t")
	}
	pattern, flags, value, err := cutPattern(s)
	if err != nil {
		return r, err
	}
	if r.op == opMatch {
		if value == "" {
			return r, fmt.Errorf("no replacement text: using empty string")
		}
		if err := r.template(value, p.noSub); err != nil {
			return r, err
		}
	}
	r.re, err = p.compile(pattern, flags)
	if err != nil {
		return r, err
	}
	return r, r.checkGroups()
}

// cutPattern divides /pattern/flags value at the delimiter that s begins with;
// a backslash keeps the delimiter in the pattern.
func cutPattern(s string) (pattern, flags, value string, err error) {
	if s == "" {
		return "", "", "", fmt.Errorf("no regexp: need \"/pattern/\"")
	}
	d := s[0]
	if isAlnum(d) {
		return "", "", "", fmt.Errorf("ignoring unrecognized request")
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			if s[i+1] != d {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i+1])
			i++
		case s[i] == d:
			flags, value = cutWord(s[i+1:])
			return b.String(), flags, value, nil
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", "", fmt.Errorf("no closing regexp delimiter \"%c\": skipping this rule", d)
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// template stores the result's text. Negated rules have nothing to put in.
func (r *rule) template(value string, noSub bool) error {
	r.value, r.plain = value, !strings.Contains(value, "$")
	if r.plain {
		return nil
	}
	_, used, err := expand(value, nil)
	switch {
	case err != nil:
		return err
	case used > 0 && r.not:
		return fmt.Errorf("$number found in negative match replacement text: skipping this rule")
	case used > 0 && noSub:
		return fmt.Errorf("regular expression substitution is not allowed: skipping this rule")
	}
	return nil
}

// checkGroups refuses $n where the pattern has fewer groups.
func (r *rule) checkGroups() error {
	_, used, _ := expand(r.value, nil)
	if r.op == opMatch && used > r.re.Count() {
		return fmt.Errorf("out of range replacement index \"%d\": skipping this rule", used)
	}
	return nil
}

// expand fills $1, ${1}, $(1) of text with groups, "$$" becomes "$". It returns
// the highest number used; with nil groups that is all it finds out.
func expand(text string, groups []string) (string, int, error) {
	var b strings.Builder
	highest := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '$' {
			b.WriteByte(text[i])
			continue
		}
		n, width, err := reference(text[i+1:])
		if err != nil {
			return "", 0, err
		}
		i += width
		if n < 0 {
			b.WriteByte('$')
			continue
		}
		highest = max(highest, n)
		if n < len(groups) {
			b.WriteString(groups[n])
		}
	}
	return b.String(), highest, nil
}

// reference reads what follows a "$": the group's number (-1 for a second "$")
// and how many bytes it took.
func reference(s string) (n, width int, err error) {
	if strings.HasPrefix(s, "$") {
		return -1, 1, nil
	}
	digits, extra := s, 0
	if s != "" && (s[0] == '{' || s[0] == '(') {
		closing := map[byte]string{'{': "}", '(': ")"}[s[0]]
		inner, _, ok := strings.Cut(s[1:], closing)
		if !ok {
			return 0, 0, fmt.Errorf("truncated macro reference: \"$%s\"", s)
		}
		digits, extra = inner, 2
	}
	for width = 0; width < len(digits) && digits[width] >= '0' && digits[width] <= '9' && n < 1000; width++ {
		n = n*10 + int(digits[width]-'0')
	}
	if width == 0 || n == 0 || (extra > 0 && width != len(digits)) {
		return 0, 0, fmt.Errorf("non-numeric replacement index \"%s\"", digits)
	}
	return n, width + extra, nil
}

// Lookup implements Table.
func (t *patterns) Lookup(_ context.Context, key string) (string, bool, error) {
	rules, err := t.get()
	if err != nil {
		return "", false, err
	}
	for i := 0; i < len(rules); {
		r := &rules[i]
		i++
		if r.op == opEndif {
			continue
		}
		hit, err := r.re.Matches(key)
		if err != nil {
			return "", false, err
		}
		hit = hit != r.not
		switch {
		case r.op == opIf && !hit:
			i = r.jump
		case r.op == opMatch && hit && r.plain:
			return r.value, true, nil
		case r.op == opMatch && hit:
			groups, err := r.re.Groups(key)
			if err != nil {
				return "", false, err
			}
			v, _, err := expand(r.value, groups)
			return v, err == nil, err
		}
	}
	return "", false, nil
}

// Name implements Table.
func (t *patterns) Name() string { return t.name }

// Pattern implements Table.
func (t *patterns) Pattern() bool { return true }
