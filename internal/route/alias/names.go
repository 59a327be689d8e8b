package alias

import "strings"

// maxNesting bounds conditions inside conditions.
const maxNesting = 20

// Names fills in $name, ${name}, $(name), ${name?text}, ${name:text} and
// ${name?{text}:{text}}, as mac_expand(3) does for forward_path, luser_relay and
// command_execution_directory. value tells what a name stands for and whether it
// stands for anything; undefined says that a name outside of conditions does not.
func Names(s string, value func(name string) (string, bool)) (text string, undefined bool) {
	return expandNames(s, value, 0)
}

func expandNames(s string, value func(string) (string, bool), depth int) (text string, undefined bool) {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok || depth > maxNesting {
			return b.String(), undefined || ok
		}
		if strings.HasPrefix(after, "$") {
			b.WriteByte('$')
			s = after[1:]
			continue
		}
		name, rest := CutName(after)
		filled, missing := choose(name, value, depth)
		b.WriteString(filled)
		undefined = undefined || missing
		s = rest
	}
}

// CutName reads what stands behind a "$": the name with its condition, without
// the braces around it.
func CutName(s string) (name, rest string) {
	if n := closing(s); n > 0 {
		return s[1:n], s[n+1:]
	}
	n := 0
	for n < len(s) && isNameByte(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func isNameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// closing finds the end of the braces or parentheses that s begins with; 0 where
// it begins with none, or they do not end.
func closing(s string) int {
	if s == "" || s[0] != '{' && s[0] != '(' {
		return 0
	}
	open, end := s[0], byte('}')
	if open == '(' {
		end = ')'
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case open:
			depth++
		case end:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return 0
}

// choose evaluates "name", "name?text" and "name:text".
func choose(expr string, value func(string) (string, bool), depth int) (text string, undefined bool) {
	i := 0
	for i < len(expr) && isNameByte(expr[i]) {
		i++
	}
	v, known := value(expr[:i])
	if i == len(expr) {
		return v, !known
	}
	op := expr[i]
	yes, no := branches(expr[i+1:])
	switch {
	case op == '?' && v != "", op == ':' && v == "":
		return expandNames(yes, value, depth+1)
	case op == '?':
		return expandNames(no, value, depth+1)
	case op == ':':
		return "", false
	}
	return "", true
}

// branches divides "{yes}:{no}"; without braces all is the first.
func branches(s string) (yes, no string) {
	n := 0
	if strings.HasPrefix(s, "{") {
		n = closing(s)
	}
	if n == 0 {
		return s, ""
	}
	yes, rest := s[1:n], s[n+1:]
	if rest, ok := strings.CutPrefix(rest, ":"); ok {
		if n := closing(rest); n > 0 && rest[0] == '{' {
			return yes, rest[1:n]
		}
		return yes, rest
	}
	return yes, ""
}

// Safe replaces every byte of s that is not in chars by "_", as local(8) does
// with what strangers chose before a shell or the file system sees it.
func Safe(s, chars string) string {
	b := []byte(s)
	for i, c := range b {
		if strings.IndexByte(chars, c) < 0 {
			b[i] = '_'
		}
	}
	return string(b)
}
