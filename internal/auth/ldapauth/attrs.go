package ldapauth

import (
	"strings"
)

// Attr is one part of pass_attrs or user_attrs.
type Attr struct {
	Name  string // attribute of the directory, lower case; empty with a Value that needs none
	Field string // what it is to Dovecot; may hold a template behind "="
	Value string // template: %$ is the attribute's value, %{ldap:name} another one's; empty = the value itself
}

// ParseAttrs reads "homeDirectory=home, uidNumber=uid, =mail=maildir:%{ldap:dir}":
// each part is ATTRIBUTE=FIELD or ATTRIBUTE=FIELD=TEMPLATE; a single word is both.
// Commas inside braces belong to a template.
func ParseAttrs(text string) (list []Attr) {
	depth, start := 0, 0
	add := func(part string) {
		part = strings.TrimSpace(part)
		if part == "" {
			return
		}
		name, rest, ok := strings.Cut(part, "=")
		field, value, _ := strings.Cut(rest, "=")
		if !ok {
			field = name
		}
		list = append(list, Attr{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(field), value})
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth <= 0 {
				add(text[start:i])
				start = i + 1
			}
		}
	}
	add(text[start:])
	return list
}

// Wanted returns the attributes to ask the directory for.
func Wanted(attrs []Attr) (names []string) {
	for _, a := range attrs {
		if a.Name != "" && !strings.HasPrefix(a.Name, "@") {
			names = append(names, a.Name)
		}
		for rest := a.Value; ; {
			_, after, ok := strings.Cut(rest, "%{ldap:")
			if !ok {
				break
			}
			name, more, _ := strings.Cut(after, "}")
			name, _, _ = strings.Cut(name, ":") // a default behind it
			names = append(names, strings.ToLower(name))
			rest = more
		}
	}
	return names
}

// Fields makes fields of an entry. expand fills the other variables of a template.
// Several values of one attribute: the first one counts.
func Fields(attrs []Attr, e Entry, expand func(string) string) map[string]string {
	f := make(map[string]string)
	for _, a := range attrs {
		own, has := first(e, a.Name)
		if a.Name != "" && !has || a.Field == "" {
			continue
		}
		if a.Value == "" {
			f[a.Field] = own
			continue
		}
		f[a.Field] = fill(a.Value, own, e, expand)
	}
	return f
}

func first(e Entry, name string) (string, bool) {
	if v := e.Values[name]; len(v) > 0 {
		return v[0], true
	}
	return "", false
}

// fill puts values into a template. What came from the directory is never expanded.
func fill(template, own string, e Entry, expand func(string) string) string {
	var b strings.Builder
	for template != "" {
		i := strings.Index(template, "%$")
		j := strings.Index(template, "%{ldap:")
		switch {
		case i < 0 && j < 0:
			b.WriteString(expand(template))
			return b.String()
		case i >= 0 && (j < 0 || i < j):
			b.WriteString(expand(template[:i]) + own)
			template = template[i+2:]
		default:
			name, rest, _ := strings.Cut(template[j+7:], "}")
			name, def, _ := strings.Cut(name, ":")
			value, ok := first(e, strings.ToLower(name))
			if !ok {
				value = def
			}
			b.WriteString(expand(template[:j]) + value)
			template = rest
		}
	}
	return b.String()
}
