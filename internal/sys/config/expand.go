package config

import (
	"strconv"
	"strings"

	"packetboat/internal/sys/config/base"
)

// expander replaces the $name references of a value, as mac_expand(3) of
// Postfix does: $name ${name} $(name), ${name?text} ${name:text} with or
// without braces around the text, ${name?{x}:{y}}, and relational expressions
// ${{a} == {b}?{x}:{y}}. "$$" is a dollar sign.
type expander struct {
	// lookup returns the unexpanded value of a name; ok is false when there
	// is no such name. test says that only emptiness counts.
	lookup func(name string, test bool) (value string, ok bool)
	out    []byte
	depth  int
	height int // the greatest depth so far
	steps  int // references followed so far, over all depths
	undef  bool
	// recurse expands the values of names too; otherwise they are put in as
	// they are.
	recurse bool
	// scan visits every name in every branch and puts nothing out.
	scan bool
	// known holds the values that were expanded already, by what they were
	// before; nil until the expansion turns out to be a long one.
	known map[string]expanded
}

// expanded is a value after its expansion, and the references inside each other
// that it took.
type expanded struct {
	text   string
	height int
	undef  bool
}

// manySteps is the number of references after which an expansion remembers what
// it has expanded: of a chain of forty lines "a = $b $b" each is then expanded
// once and not 2^40 times. Real values stay below it and pay for no map.
const manySteps = 64

// ExpandWith expands value, and the values of the names in it, with a lookup of
// the caller's: test says that only the value's emptiness counts. The error's
// text is Postfix's.
func ExpandWith(value string, lookup func(name string, test bool) (value string, ok bool)) (string, error) {
	if strings.IndexByte(value, '$') < 0 {
		return value, nil
	}
	x := expander{lookup: lookup, recurse: true}
	if err := x.expand(value); err != nil {
		return "", err
	}
	return string(x.out), nil
}

// References calls fn for every name that value refers to, in every branch of
// its conditions.
func References(value string, fn func(name string)) error {
	x := expander{scan: true, lookup: func(name string, _ bool) (string, bool) {
		fn(name)
		return "", true
	}}
	return x.expand(value)
}

// maxSteps bounds the work of one expansion: 2^100 references fit into a
// hundred levels of two each.
const maxSteps = 100_000

// expand appends the expansion of value to x.out.
func (x *expander) expand(value string) error {
	for value != "" {
		dollar := strings.IndexByte(value, '$')
		if dollar < 0 {
			return x.put(value)
		}
		if err := x.put(value[:dollar]); err != nil {
			return err
		}
		rest := value[dollar+1:]
		if strings.HasPrefix(rest, "$") {
			x.out = append(x.out, '$')
			value = rest[1:]
			continue
		}
		expr, after, err := cutReference(rest, value)
		if err != nil {
			return err
		}
		if err := x.reference(expr); err != nil {
			return err
		}
		value = after
	}
	return nil
}

func (x *expander) put(s string) error {
	if x.scan {
		return nil
	}
	if len(x.out)+len(s) > base.MaxExpand {
		return base.Bad("value grows past %d bytes", base.MaxExpand)
	}
	x.out = append(x.out, s...)
	return nil
}

// cutReference splits what follows a dollar sign into the reference's text
// without its parentheses, and the rest.
func cutReference(s, whole string) (expr, rest string, err error) {
	if s != "" && (s[0] == '{' || s[0] == '(') {
		n := base.Balance(s)
		if n < 0 {
			return "", "", base.Bad("truncated macro reference: \"%s\"", whole)
		}
		expr, rest = s[1:n-1], s[n:]
	} else {
		n := 0
		for n < len(s) && isName(s[n]) {
			n++
		}
		expr, rest = s[:n], s[n:]
	}
	if expr == "" {
		return "", "", base.Bad("empty macro name: \"%s\"", whole)
	}
	return expr, rest, nil
}

func isName(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// reference expands one reference.
func (x *expander) reference(expr string) error {
	if x.depth++; x.depth > maxNesting {
		return base.Bad("unreasonable macro call nesting: \"%s\"", expr)
	}
	if x.steps++; x.steps > maxSteps {
		return base.Bad("too many macro references: \"%s\"", expr)
	}
	x.height = max(x.height, x.depth)
	defer func() { x.depth-- }()
	value, found, op, rest, err := x.subject(expr)
	if err != nil {
		return err
	}
	if op == 0 {
		return x.use(value, found)
	}
	return x.choose(value != "", op, rest)
}

// subject evaluates what stands before ? or : (op), which rest follows.
func (x *expander) subject(expr string) (value string, found bool, op byte, rest string, err error) {
	if trimmed := skipSpace(expr); strings.HasPrefix(trimmed, "{") {
		value, rest, err = x.relation(trimmed)
		if err != nil || rest == "" {
			return value, true, 0, "", err
		}
		if rest[0] != '?' && rest[0] != ':' {
			return "", false, 0, "", base.Bad("\"?\" or \":\" expected at: \"...}>>>%s\"", clip(rest))
		}
		return value, true, rest[0], rest[1:], nil
	}
	name := skipSpace(expr)
	n := 0
	for n < len(name) && isName(name[n]) {
		n++
	}
	rest = skipSpace(name[n:])
	switch {
	case rest == "":
	case rest[0] == '?' || rest[0] == ':':
		op, rest = rest[0], rest[1:]
	default:
		at := len(expr) - len(name) + n
		return "", false, 0, "", base.Bad("attribute name syntax error at: \"...%s>>>%s\"", expr[:at], clip(expr[at:]))
	}
	value, found = x.lookup(name[:n], op != 0)
	return value, found, op, rest, nil
}

func clip(s string) string { return s[:min(len(s), 20)] }

// use puts the value of a name in, expanded.
func (x *expander) use(value string, found bool) error {
	if !found {
		x.undef = true
		return nil
	}
	switch {
	case !x.recurse || strings.IndexByte(value, '$') < 0:
		return x.put(value)
	case x.steps < manySteps:
		return x.expand(value)
	}
	return x.remember(value)
}

// remember expands the value of a name once for the whole expansion. What it
// refers to is the same wherever it stands; only the depth differs, and one that
// would go too deep from here is expanded again for its error.
func (x *expander) remember(value string) error {
	if e, ok := x.known[value]; ok && x.depth+e.height <= maxNesting {
		x.undef, x.height = x.undef || e.undef, max(x.height, x.depth+e.height)
		return x.put(e.text)
	}
	start, height, undef := len(x.out), x.height, x.undef
	x.height, x.undef = x.depth, false
	if err := x.expand(value); err != nil {
		return err
	}
	if x.known == nil {
		x.known = map[string]expanded{}
	}
	x.known[value] = expanded{string(x.out[start:]), x.height - x.depth, x.undef}
	x.height, x.undef = max(height, x.height), undef || x.undef
	return nil
}

// choose expands the text that belongs to the answer yes, after ?, or no,
// after :.
func (x *expander) choose(yes bool, op byte, rest string) error {
	if op == '?' {
		text, after, err := operand(rest)
		if err != nil {
			return err
		}
		if yes || x.scan {
			if err := x.expand(text); err != nil {
				return err
			}
		}
		if after == "" {
			return nil
		}
		if after[0] != ':' {
			return base.Bad("\":\" expected at: \"...%s}>>>%s\"", text, clip(after))
		}
		rest = after[1:]
	}
	text, after, err := operand(rest)
	if err != nil {
		return err
	}
	if after != "" {
		return base.Bad("unexpected input at: \"...%s}>>>%s\"", text, clip(after))
	}
	if yes && !x.scan {
		return nil
	}
	return x.expand(text)
}

// operand takes a result text: {text}, after which more may follow, or all.
func operand(s string) (text, rest string, err error) {
	if t := skipSpace(s); strings.HasPrefix(t, "{") {
		return curly(t)
	}
	return s, "", nil
}

// curly takes {text} and the white space after it off s.
func curly(s string) (text, rest string, err error) {
	n := base.Balance(s)
	if n < 0 {
		return "", "", base.Bad("unbalanced {} in attribute expression: \"%s\"", s)
	}
	return s[1 : n-1], skipSpace(s[n:]), nil
}

// relation evaluates {left} op {right} at the start of s; the value of a true
// relation is "true", that of a false one is empty.
func (x *expander) relation(s string) (value, rest string, err error) {
	left, after, err := curly(s)
	if err != nil {
		return "", "", err
	}
	n := 0
	for n < len(after) && strings.IndexByte("<>!=?+-*/~&|%", after[n]) >= 0 {
		n++
	}
	op := after[:n]
	if !isRelation(op) { // the words, quotes included, are Postfix's
		return "", "", base.Bad("\"==\" or \"!=\"\" or \"<\"\" or \"<=\"\" or \">=\"\" or \">\" expected at: \"...%s}>>>%s\"", left, clip(after))
	}
	k := n
	for k < len(after) && isName(after[k]) && after[k] != '_' {
		k++
	}
	// The one suffix there is compares compatibility levels: 3.10 > 3.9.
	suffix := after[n:k]
	if suffix != "" && suffix != "level" {
		return "", "", base.Bad("bad operator suffix at: \"...%s>>>%s\"", op, suffix)
	}
	right := skipSpace(after[k:])
	if !strings.HasPrefix(right, "{") {
		return "", "", base.Bad("\"{expression}\" expected at: \"...{%s} %s>>>%s\"", left, after[:k], clip(after[k:]))
	}
	right, rest, err = curly(right)
	if err != nil {
		return "", "", err
	}
	ok, err := x.compare(left, op, suffix, right)
	if ok {
		value = "true"
	}
	return value, rest, err
}

func isRelation(op string) bool {
	switch op {
	case "==", "!=", "<", "<=", ">=", ">":
		return true
	}
	return false
}

// BadConversion begins the text of an error about a number that does not fit
// into 64 bits: it ends Postfix's programs at once, without a warning.
const BadConversion = "mac_exp_eval: bad conversion"

// compare expands both sides and compares them: as numbers when both are, as
// strings otherwise.
func (x *expander) compare(left, op, suffix, right string) (bool, error) {
	l, err := x.sub(left)
	if err != nil {
		return false, err
	}
	r, err := x.sub(right)
	if err != nil {
		return false, err
	}
	d := 0
	switch {
	case x.scan:
	case suffix == "level":
		if d, err = compareLevels(l, r); err != nil {
			return false, err
		}
	case base.IsDigits(l) && base.IsDigits(r):
		for _, n := range [...]string{l, r} {
			if _, err := strconv.ParseInt(n, 10, 64); err != nil {
				return false, base.Bad("%s: %s", BadConversion, n)
			}
		}
		d = compareDigits(l, r)
	default:
		d = strings.Compare(l, r)
	}
	switch op {
	case "==":
		return d == 0, nil
	case "!=":
		return d != 0, nil
	case "<":
		return d < 0, nil
	case "<=":
		return d <= 0, nil
	case ">=":
		return d >= 0, nil
	}
	return d > 0, nil
}

// sub expands a text on its own.
func (x *expander) sub(text string) (string, error) {
	y := expander{lookup: x.lookup, depth: x.depth, height: x.height, steps: x.steps, recurse: x.recurse, scan: x.scan, known: x.known}
	err := y.expand(text)
	x.steps, x.height, x.undef, x.known = y.steps, y.height, x.undef || y.undef, y.known
	return string(y.out), err
}

// compareDigits compares decimal numbers of any length.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// compareLevels compares two compatibility levels "major[.minor[.patch]]".
func compareLevels(a, b string) (int, error) {
	for {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if !base.IsDigits(x) || !base.IsDigits(y) {
			return 0, base.Bad("malformed compatibility level syntax: \"%s\"", x)
		}
		if d := compareDigits(x, y); d != 0 || a == "" && b == "" {
			return d, nil
		}
		if a == "" {
			a = "0"
		}
		if b == "" {
			b = "0"
		}
	}
}
