// Package regex compiles the patterns of regexp_table(5) and pcre_table(5). They
// run in Go's engine, in linear time, wherever it has what they need; look-around,
// back-references and their like run in a backtracking engine with a limit of time.
//
// Other than the originals: regexp back-references match leftmost-first, not
// leftmost-longest; a PCRE pattern that neither engine has (recursion, conditions,
// verbs such as (*ACCEPT), \K, flag U with look-around) fails its table with the
// line's number, so that nothing is judged without it.
package regex

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"packetboat/internal/route/table/mapfile"
)

// UnsupportedError says that a correct pattern uses what our engine, which
// promises linear time, does not have.
type UnsupportedError struct{ pattern, what string }

// Error names the pattern and what it needs.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("pattern /%s/ needs %s, which is not supported", e.pattern, e.what)
}

// maxPattern bounds one pattern in bytes.
const maxPattern = 64 << 10

// POSIX makes an expression of a regexp_table(5) pattern: POSIX
// extended, case-insensitive unless flag i turns that off; m makes ^ and $
// match at lines; x asks for basic syntax.
func POSIX(pattern, flags string) (Matcher, error) {
	fold, multi, extended := true, false, true
	for _, f := range flags {
		switch f {
		case 'i':
			fold = !fold
		case 'm':
			multi = !multi
		case 'x':
			extended = !extended
		default:
			return nil, fmt.Errorf("unknown regexp option \"%c\": skipping this rule", f)
		}
	}
	if !extended {
		pattern = fromBasic(pattern)
	}
	goish, err := fromPOSIX(pattern)
	var other *UnsupportedError
	if errors.As(err, &other) {
		// Back-references: the other engine's are leftmost-first, not longest.
		return compileBacktracking(pattern, map[rune]bool{'i': fold, 'm': multi, 's': !multi})
	}
	if err != nil {
		return nil, err
	}
	mode := letters(fold, "i") + letters(multi, "m") + letters(!multi, "s")
	re, err := build(pattern, "(?"+mode+")"+goish)
	if err != nil {
		return nil, err
	}
	re.Longest() // POSIX: the leftmost-longest match
	return linear{re}, nil
}

// PCRE makes an expression of a pcre_table(5) pattern: case-insensitive
// and with "." matching line ends, unless flags turn that off.
func PCRE(pattern, flags string) (Matcher, error) {
	on := map[rune]bool{'i': true, 's': true}
	for _, f := range flags {
		if !strings.ContainsRune("imsxAEUX", f) {
			return nil, fmt.Errorf("unknown regexp option \"%c\": skipping this rule", f)
		}
		on[f] = !on[f]
	}
	text := pattern
	if on['x'] {
		text = dropBlanks(text)
	}
	if on['A'] {
		text = `\A(?:` + text + `)`
	}
	mode := letters(on['i'], "i") + letters(on['m'], "m") + letters(on['s'], "s") + letters(on['U'], "U")
	if mode != "" {
		text = "(?" + mode + ")" + text
	}
	re, err := build(pattern, text)
	var other *UnsupportedError
	if errors.As(err, &other) {
		if m, e := compileBacktracking(pattern, on); e == nil {
			return m, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return linear{re}, nil
}

func letters(on bool, s string) string {
	if on {
		return s
	}
	return ""
}

// build compiles text and tells mistakes from what only the original can run.
func build(pattern, text string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("pattern longer than %d bytes", maxPattern)
	}
	re, err := regexp.Compile(text)
	if err == nil {
		return re, nil
	}
	e, ok := err.(*syntax.Error)
	if !ok {
		return nil, err
	}
	switch {
	case e.Code == syntax.ErrInvalidPerlOp,
		e.Code == syntax.ErrInvalidNamedCapture && (strings.HasPrefix(e.Expr, "(?<=") || strings.HasPrefix(e.Expr, "(?<!")):
		return nil, &UnsupportedError{pattern, "look-around or another Perl operator (\"" + e.Expr + "\")"}
	case e.Code == syntax.ErrInvalidEscape && len(e.Expr) > 1 && e.Expr[1] >= '1' && e.Expr[1] <= '9':
		return nil, &UnsupportedError{pattern, "a back-reference (\"" + e.Expr + "\")"}
	case e.Code == syntax.ErrInvalidEscape:
		return nil, &UnsupportedError{pattern, "the escape \"" + e.Expr + "\""}
	case e.Code == syntax.ErrInvalidRepeatSize, e.Code == syntax.ErrLarge, e.Code == syntax.ErrNestingDepth:
		return nil, &UnsupportedError{pattern, "a repetition that is too large (\"" + e.Expr + "\")"}
	case e.Code == syntax.ErrInvalidRepeatOp && len(e.Expr) > 1:
		return nil, &UnsupportedError{pattern, "a possessive repetition (\"" + e.Expr + "\")"}
	}
	if why, ok := posixText()[e.Code]; ok {
		return nil, errors.New(why)
	}
	return nil, fmt.Errorf("%s: %s", e.Code, e.Expr)
}

// posixText gives the words of regcomp(3) to mistakes.
func posixText() map[syntax.ErrorCode]string {
	return map[syntax.ErrorCode]string{
		syntax.ErrMissingParen:          `Unmatched ( or \(`,
		syntax.ErrUnexpectedParen:       `Unmatched ) or \)`,
		syntax.ErrMissingBracket:        "Unmatched [, [^, [:, [., or [=",
		syntax.ErrInvalidCharRange:      "Invalid range end",
		syntax.ErrTrailingBackslash:     "Trailing backslash",
		syntax.ErrMissingRepeatArgument: "Invalid preceding regular expression",
	}
}

// fromPOSIX writes an extended expression of POSIX (with the GNU escapes \< \>
// \w \W \s \S \b \B \` \') in Go's syntax: inside brackets a backslash is an
// ordinary character, and an escaped letter without meaning is the letter.
func fromPOSIX(p string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '[':
			n, err := bracket(&b, p[i:])
			if err != nil {
				return "", err
			}
			i += n - 1
		case c == '\\' && i+1 == len(p):
			return "", fmt.Errorf("trailing backslash")
		case c == '\\':
			i++
			if err := escape(&b, p, p[i]); err != nil {
				return "", err
			}
		case c == '{' && !repetition(p[i:]):
			b.WriteString(`\{`)
		case c == '*' && (i == 0 || p[i-1] == '(' || p[i-1] == '|'):
			b.WriteString(`\*`) // GNU: a star with nothing before it is a star
		case c == '(' && i+1 < len(p) && p[i+1] == '?':
			b.WriteString(`(\?`) // GNU: nothing to repeat; never a Perl group
			i++
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// escape writes what a backslash and c mean outside brackets.
func escape(b *strings.Builder, pattern string, c byte) error {
	switch c {
	case '<', '>':
		b.WriteString(`\b`)
	case '`':
		b.WriteString(`\A`)
	case '\'':
		b.WriteString(`\z`)
	case 'w', 'W', 's', 'S', 'b', 'B':
		b.WriteByte('\\')
		b.WriteByte(c)
	default:
		if c >= '1' && c <= '9' {
			return &UnsupportedError{pattern, "a back-reference (\"\\" + string(c) + "\")"}
		}
		b.WriteString(regexp.QuoteMeta(string([]byte{c})))
	}
	return nil
}

// bracket writes the bracket expression that p begins with and returns its
// length: "]" right behind the opening is a member, [:class:] stays.
func bracket(b *strings.Builder, p string) (int, error) {
	b.WriteByte('[')
	i := 1
	if i < len(p) && p[i] == '^' {
		b.WriteByte('^')
		i++
	}
	for first := true; i < len(p); first = false {
		switch c := p[i]; {
		case c == ']' && !first:
			b.WriteByte(']')
			return i + 1, nil
		case c == '[' && i+1 < len(p) && strings.IndexByte(":.=", p[i+1]) >= 0:
			n, err := class(b, p[i:])
			if err != nil {
				return 0, err
			}
			i += n
			continue
		case c == '[', c == ']', c == '\\', c == '^', c == '&', c == '~':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
		i++
	}
	return 0, errors.New(posixText()[syntax.ErrMissingBracket])
}

// class writes [:name:], or the character of [.c.] and [=c=].
func class(b *strings.Builder, p string) (int, error) {
	mark := p[1:2]
	name, _, ok := strings.Cut(p[2:], mark+"]")
	if !ok {
		return 0, errors.New(posixText()[syntax.ErrMissingBracket])
	}
	if mark == ":" {
		b.WriteString("[:" + name + ":]")
	} else {
		b.WriteString(regexp.QuoteMeta(name))
	}
	return len(name) + 4, nil
}

// repetition tells whether p begins with {n}, {n,} or {n,m}.
func repetition(p string) bool {
	end := strings.IndexByte(p, '}')
	if end < 2 {
		return false
	}
	return strings.Trim(p[1:end], "0123456789,") == "" && p[1] != ','
}

// fromBasic writes a basic expression in extended form: \( \) \{ \} \+ \? \|
// are the operators, without backslash they are characters.
func fromBasic(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\' && i+1 < len(p):
			i++
			if strings.IndexByte("(){}+?|", p[i]) < 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(p[i])
		case strings.IndexByte("(){}+?|", c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// dropBlanks removes white space and comments outside brackets: PCRE's
// extended form (flag x), which Go's engine does not have.
func dropBlanks(p string) string {
	var b strings.Builder
	inside := false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\' && i+1 < len(p):
			b.WriteString(p[i : i+2])
			i++
		case !inside && mapfile.IsSpace(c):
		case !inside && c == '#':
			for i < len(p) && p[i] != '\n' {
				i++
			}
		default:
			inside = c == '[' || (inside && c != ']')
			b.WriteByte(c)
		}
	}
	return b.String()
}
