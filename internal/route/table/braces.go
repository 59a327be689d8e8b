package table

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// bracedRules returns the rules of cidr:{{rule}, {rule}}, regexp: and pcre:
// alike, one a line as a file would hold them; ok is false for a name that is a
// file's. Blanks at the begin of a rule are not a continued line (DATABASE_README,
// "inline").
func bracedRules(kind, name string) (text string, ok bool, err error) {
	if !strings.HasPrefix(name, "{") {
		return "", false, nil
	}
	body, after, err := brace(name)
	if err == nil && after != "" {
		err = fmt.Errorf("syntax error after '}' in \"%s\"", name)
	}
	var lines strings.Builder
	for err == nil {
		if body = strings.TrimLeft(body, ", \t\r\n"); body == "" {
			return lines.String(), true, nil
		}
		if body[0] != '{' {
			word, _, _ := strings.Cut(body, " ")
			err = fmt.Errorf("no '{' at start of text in \"%s\"", word)
			break
		}
		var rule string
		if rule, body, err = brace(body); err != nil {
			break
		}
		if body != "" && !strings.ContainsRune(", \t\r\n", rune(body[0])) {
			err = fmt.Errorf("syntax error after '}' in \"{%s}%s\"", rule, body)
			break
		}
		// One line each: what is broken over lines of main.cf is joined by now.
		lines.WriteString(strings.TrimSpace(strings.NewReplacer("\n", " ", "\r", " ").Replace(rule)) + "\n")
	}
	return "", true, fmt.Errorf("%s map: %w", kind, err)
}

// brace cuts the text between the brace that s begins with and its fellow.
func brace(s string) (inner, after string, err error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:], nil
			}
		}
	}
	return "", "", fmt.Errorf("missing '}' in \"%s\"", s)
}

// openRules opens the source of a table of rules: a file, or the rules
// themselves between braces.
func openRules[T any](kind, name string, o Options, read func(io.Reader) (T, []string, error)) (*source[T], error) {
	text, inline, err := bracedRules(kind, name)
	if err != nil {
		return nil, err
	}
	if !inline {
		return openSource(resolve(name, o), o, func(f *os.File) (T, []string, error) { return read(f) })
	}
	s := &source[T]{path: name, fixed: true}
	if s.now.body, s.now.problems, err = read(strings.NewReader(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}
