package newer

import (
	"fmt"
	"strings"
)

// ExpressionNewer writes a value of 2.3 with %variables in the words of 2.4; it is
// the way back of Expression. setting names it, for those with variables of
// their own.
func ExpressionNewer(setting, value string) (string, error) {
	var b strings.Builder
	for {
		text, rest, ok := strings.Cut(value, "%")
		b.WriteString(text)
		switch {
		case !ok:
			return b.String(), nil
		case rest == "":
			return b.String() + "%", nil
		case rest[0] == '%':
			b.WriteString("%")
			value = rest[1:]
			continue
		}
		v, after, err := newerVariable(setting, rest)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
		value = after
	}
}

// newerVariable writes the variable at the start of s, which follows a %.
func newerVariable(setting, s string) (v, rest string, err error) {
	if long := formatLetter(setting, s[:1], true); long != "" {
		return "%{" + long + "}", s[1:], nil
	}
	n := 0
	for n < len(s) && strings.IndexByte("0123456789.-", s[n]) >= 0 {
		n++
	}
	cut, s := s[:n], s[n:]
	for n = 0; n < len(s) && (modifiers[s[n]] != "" || s[n] == 'N'); {
		n++
	}
	mods, s := s[:n], s[n:]
	if s == "" {
		return "", "", fmt.Errorf("a variable has no name")
	}
	name, rest := letters[s[0]], s[1:]
	if s[0] == '{' {
		inner, after, ok := strings.Cut(s[1:], "}")
		if !ok || strings.ContainsAny(inner, ";%") {
			return "", "", fmt.Errorf("the variable %%%s has no equal in 2.4 that is known here", s)
		}
		if name, rest = longNames[inner], after; name == "" {
			name = inner
		}
	}
	if name == "" {
		return "", "", fmt.Errorf("unknown variable %%%s", s[:1])
	}
	filters, err := newerFilters(cut, mods)
	return "%{" + name + filters + "}", rest, err
}

// newerFilters writes modifiers and a substring.
func newerFilters(cut, mods string) (string, error) {
	if rest, ok := strings.CutSuffix(mods, "N"); ok && rest == "" {
		width, mod, two := strings.Cut(cut, ".")
		switch {
		case two && width != "":
			return " | md5 | substr(0, 8) % " + mod + " | hex(" + width + ")", nil
		case cut != "" && !two:
			return " | md5 | substr(0, 8) % " + cut + " | hex", nil
		}
		return "", fmt.Errorf("the modifier N needs a number")
	}
	var b strings.Builder
	for i := 0; i < len(mods); i++ {
		if modifiers[mods[i]] == "" {
			return "", fmt.Errorf("the modifier %c has no equal", mods[i])
		}
		b.WriteString(" | " + modifiers[mods[i]])
	}
	offset, width, two := strings.Cut(cut, ".")
	switch {
	case cut == "":
	case strings.HasPrefix(width, "0") || !two && strings.HasPrefix(offset, "0"):
		return "", fmt.Errorf("filling with zeros has no equal")
	case two && width != "":
		b.WriteString(" | substr(" + offset + ", " + width + ")")
	case two:
		b.WriteString(" | substr(" + offset + ")")
	default:
		b.WriteString(" | substr(0, " + offset + ")")
	}
	return b.String(), nil
}

// UIDLNewer writes pop3_uidl_format in the words of 2.4.
func UIDLNewer(value string) (string, error) {
	var b strings.Builder
	for {
		text, rest, ok := strings.Cut(value, "%")
		b.WriteString(text)
		if !ok {
			return b.String(), nil
		}
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		width, rest := strings.TrimLeft(rest[:n], "0"), rest[n:]
		rest, hex := strings.CutPrefix(rest, "X")
		name := ""
		if rest != "" {
			name = map[byte]string{'u': "uid", 'v': "uidvalidity", 'm': "md5", 'f': "filename", 'g': "guid"}[rest[0]]
		}
		switch {
		case name == "" || n > 0 && !hex:
			return "", fmt.Errorf("unknown variable in %s", value)
		case hex && width != "":
			name += " | hex(" + width + ")"
		case hex:
			name += " | hex"
		}
		b.WriteString("%{" + name + "}")
		value = rest[1:]
	}
}
