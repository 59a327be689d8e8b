package regex

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// matchTime bounds one match of a pattern that needs backtracking: what a
// stranger sends must not keep us busy. A match that takes longer is an error,
// and mail waits.
const matchTime = 500 * time.Millisecond

// Matcher is a compiled pattern. Groups is nil where the key does not match;
// its first one is the whole match, and a group that took no part is empty.
type Matcher interface {
	// Matches tells whether key matches.
	Matches(key string) (bool, error)
	// Groups returns what the groups hold.
	Groups(key string) ([]string, error)
	// Count is how many groups the pattern has, the whole match not counted.
	Count() int
}

// linear is a pattern that Go's engine runs in time linear in the key.
type linear struct{ *regexp.Regexp }

// Matches implements Matcher.
func (m linear) Matches(key string) (bool, error) { return m.MatchString(key), nil }

// Groups implements Matcher.
func (m linear) Groups(key string) ([]string, error) { return m.FindStringSubmatch(key), nil }

// Count implements Matcher.
func (m linear) Count() int { return m.NumSubexp() }

// backtracking is a pattern with look-around, back-references, atomic groups or
// possessive repetitions. Its engine counts in runes: keys go in and out as
// Latin-1, byte for rune, as PCRE sees them without its UTF flag.
type backtracking struct{ re *regexp2.Regexp }

// latin makes a rune of each byte; ASCII stays what it is.
func latin(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			r := make([]rune, len(s))
			for i := range r {
				r[i] = rune(s[i])
			}
			return string(r)
		}
	}
	return s
}

// unlatin undoes latin.
func unlatin(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

// Matches implements Matcher.
func (m backtracking) Matches(key string) (bool, error) {
	ok, err := m.re.MatchString(latin(key))
	return ok, tooLong(err)
}

// Groups implements Matcher.
func (m backtracking) Groups(key string) ([]string, error) {
	found, err := m.re.FindStringMatch(latin(key))
	if err != nil || found == nil {
		return nil, tooLong(err)
	}
	list := make([]string, m.Count()+1)
	for i := range list {
		if g := found.GroupByNumber(i); g != nil {
			list[i] = unlatin(g.String())
		}
	}
	return list, nil
}

// Count implements Matcher.
func (m backtracking) Count() int { return len(m.re.GetGroupNumbers()) - 1 }

// tooLong names the time limit; the engine's own text holds the key.
func tooLong(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("a pattern took longer than %v", matchTime)
}

// compileBacktracking compiles a pattern that Go's engine has not, where the
// other one understands it. Named groups count as PCRE counts them only when all
// groups are named or none is.
func compileBacktracking(pattern string, on map[rune]bool) (Matcher, error) {
	text := possessive(pattern)
	opt := regexp2.RegexOptions(0)
	for flag, o := range map[rune]regexp2.RegexOptions{'i': regexp2.IgnoreCase, 'm': regexp2.Multiline, 's': regexp2.Singleline, 'x': regexp2.IgnorePatternWhitespace} {
		if on[flag] {
			opt |= o
		}
	}
	if on['U'] {
		return nil, &UnsupportedError{pattern, "greediness turned round (flag U) together with look-around"}
	}
	if on['A'] {
		text = `\G(?:` + text + `)`
	}
	re, err := regexp2.Compile(latin(text), opt)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchTime
	return backtracking{re}, nil
}

// possessive writes a++, a*+, a?+ and a{n}+ as atomic groups, and \h, \R as
// what they stand for: PCRE has them, the other engine has not.
func possessive(p string) string {
	var b strings.Builder
	starts := []int{} // where open groups begin in b
	last := -1        // where the last whole item begins in b
	for i := 0; i < len(p); {
		n := itemWidth(p[i:])
		item := p[i : i+n]
		i += n
		switch {
		case item == "(":
			starts = append(starts, b.Len())
			b.WriteString(item)
			last = -1
			continue
		case item == ")" && len(starts) > 0:
			last = starts[len(starts)-1]
			starts = starts[:len(starts)-1]
			b.WriteString(item)
		case item == `\h`:
			last = b.Len()
			b.WriteString(`[\t ]`)
		case item == `\R`:
			last = b.Len()
			b.WriteString(`(?>\r\n|[\n-\r\x85])`)
		default:
			last = b.Len()
			b.WriteString(item)
		}
		q := quantifier(p[i:])
		if q == 0 {
			continue
		}
		b.WriteString(p[i : i+q])
		i += q
		if i < len(p) && p[i] == '+' && last >= 0 {
			all := b.String()
			b.Reset()
			b.WriteString(all[:last] + "(?>" + all[last:] + ")")
			i++
		}
	}
	return b.String()
}

// itemWidth is the length of one item: an escape, a bracket, or one character.
func itemWidth(p string) int {
	switch {
	case p[0] == '\\' && len(p) > 1:
		return 2
	case p[0] == '[':
		for i := 1; i < len(p); i++ {
			switch {
			case p[i] == '\\':
				i++
			case p[i] == '[' && i+1 < len(p) && p[i+1] == ':':
				if end := strings.Index(p[i:], ":]"); end > 0 {
					i += end + 1
				}
			case p[i] == ']' && i > 1 && (i > 2 || p[1] != '^'):
				return i + 1
			}
		}
	}
	return 1
}

// quantifier is the length of *, +, ? or {n,m} at the beginning of p.
func quantifier(p string) int {
	switch {
	case p == "":
		return 0
	case strings.IndexByte("*+?", p[0]) >= 0:
		return 1
	case p[0] == '{' && repetition(p):
		return strings.IndexByte(p, '}') + 1
	}
	return 0
}
