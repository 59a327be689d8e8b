package auth

import (
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Expand replaces Dovecot's %variables in pattern by what q knows: %u %n %d %s
// %r %l %a %b %m %c %h %i and their long names %{user}, with the modifiers L
// (lower case), U (upper case), R (reversed) and M (MD5 in hex). A value goes in as it is and
// is never expanded again, whatever it holds. An unknown variable is left out.
func Expand(pattern string, q *Query) string {
	s, _ := expand(pattern, q.lookup, nil, nil)
	return s
}

// ExpandWith is Expand with variables of the caller's, who is asked for each by
// its name as it stands in pattern: "u" or "user".
func ExpandWith(pattern string, lookup func(name string) string) string {
	s, _ := expand(pattern, lookup, nil, nil)
	return s
}

// Variables calls fn with the name of each variable in pattern.
func Variables(pattern string, fn func(name string)) {
	expand(pattern, func(name string) string { fn(name); return "" }, nil, nil)
}

// expandQuoted is Expand for a query of a database: every value goes through quote
// last, so that no modifier can cut a quoting apart. password fills %w.
func expandQuoted(pattern string, q *Query, password string, quote func(string) string) string {
	with := *q
	with.password = password
	s, _ := expand(pattern, with.lookup, nil, quote)
	return s
}

// names are the long names of all variables that Expand knows.
var names = []string{"user", "username", "domain", "domain_last", "orig_user", "auth_user", "service", "mech", "secured", "home", "uid",
	"gid", "hostname", "session", "lip", "real_lip", "rip", "real_rip", "lport", "real_lport", "rport", "real_rport", "pid",
	"orig_username", "orig_domain", "auth_username", "auth_domain", "domain_first", "login_user", "login_username", "login_domain"}

// CheckPattern tells what Expand would not understand in pattern: an unknown
// variable, or a modifier of Dovecot's that is not built (hashes such as %Mu).
// A configuration is held against it at start, for a path with a part left out
// leads to somebody else's mail.
func CheckPattern(pattern string) error { return checkPattern(pattern) }

// checkPattern is CheckPattern with the names of further variables.
func checkPattern(pattern string, more ...string) error {
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			continue
		}
		mods, name, n := variable(pattern[i+1:])
		i += n
		switch {
		case name == "%" && mods == "":
		case !slices.Contains(names, longName(name)) && !slices.Contains(more, longName(name)):
			return fmt.Errorf("unknown variable %%%s%s", mods, name)
		case strings.ContainsAny(mods, "EX"), padded(mods):
			return fmt.Errorf("modifier in %%%s%s is not supported", mods, name)
		}
	}
	return nil
}

// padded tells whether a width fills up with zeros, which only numbers are for.
func padded(mods string) bool {
	digits := strings.Trim(mods, "LURETXM")
	return len(digits) > 1 && strings.HasPrefix(digits[strings.IndexByte(digits, '.')+1:], "0")
}

// errPath is a user name that would lead a path elsewhere.
var errPath = errors.New("user name cannot be part of a path")

// ExpandPath is Expand for a path: a value that holds a slash or NUL, or is
// "." or "..", is an error, for it would lead out of the folder that the
// pattern names; so is an empty name. An empty domain is left out, as Dovecot
// does. %h is a path itself and goes in whole.
func ExpandPath(pattern string, q *Query) (string, error) {
	return expand(pattern, q.lookup, func(name, value string) error {
		if name == "home" || name == "hostname" {
			return nil
		}
		if value == "" && (name == "user" || name == "username") {
			return errPath
		}
		if value == "." || value == ".." || strings.ContainsAny(value, "/\x00") {
			return errPath
		}
		return nil
	}, nil)
}

func expand(pattern string, lookup func(name string) string, check func(name, value string) error, quote func(string) string) (string, error) {
	if strings.IndexByte(pattern, '%') < 0 {
		return pattern, nil
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' || i+1 == len(pattern) {
			b.WriteByte(pattern[i])
			continue
		}
		mods, name, n := variable(pattern[i+1:])
		i += n
		if name == "%" {
			b.WriteByte('%')
			continue
		}
		value := lookup(name)
		if check != nil {
			if err := check(longName(name), value); err != nil {
				return "", err
			}
		}
		value = window(mods, modify(mods, value))
		if quote != nil {
			value = quote(value)
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// variable reads what stands behind "%": modifiers, then a letter or a {long
// name}. n is its length in bytes.
func variable(s string) (mods, name string, n int) {
	for n < len(s) && strings.IndexByte("LURETXM0123456789.-", s[n]) >= 0 {
		n++
	}
	mods = s[:n]
	if n == len(s) {
		return mods, "", n
	}
	if s[n] == '{' {
		if end := strings.IndexByte(s[n:], '}'); end > 0 {
			return mods, s[n+1 : n+end], n + end + 1
		}
	}
	return mods, s[n : n+1], n + 1
}

// longName returns the long form of a one-letter variable.
func longName(name string) string {
	switch name {
	case "u":
		return "user"
	case "n":
		return "username"
	case "d":
		return "domain"
	case "s":
		return "service"
	case "l":
		return "lip"
	case "r":
		return "rip"
	case "a":
		return "lport"
	case "b":
		return "rport"
	case "m":
		return "mech"
	case "c":
		return "secured"
	case "h":
		return "home"
	case "i":
		return "uid"
	case "w":
		return "password"
	case "p":
		return "pid"
	}
	return name
}

func (q *Query) lookup(name string) string {
	local, domain, _ := strings.Cut(q.User, "@")
	switch longName(name) {
	case "user":
		return q.User
	case "username":
		return local
	case "domain":
		return domain
	case "domain_last":
		return domain[strings.LastIndexByte(domain, '@')+1:]
	case "orig_user", "auth_user":
		return q.Orig
	case "service":
		return q.Service
	case "mech":
		return q.Mech
	case "secured":
		if q.Secured {
			return "secured"
		}
	case "home":
		return q.Home
	case "uid":
		return q.UID
	case "gid":
		return q.GID
	case "hostname":
		h, _ := os.Hostname()
		return h
	}
	return q.others(longName(name))
}

// others knows names that the user has or had, and the password where a query may
// hold it.
func (q *Query) others(name string) string {
	switch name {
	case "password":
		return q.password
	case "pid":
		return strconv.Itoa(os.Getpid())
	case "domain_first":
		_, domain, _ := strings.Cut(q.User, "@")
		domain, _, _ = strings.Cut(domain, "@")
		return domain
	case "login_user":
		return q.Login
	}
	if of, part, ok := strings.Cut(name, "_"); ok && (part == "username" || part == "domain") {
		whole := q.Orig
		if of == "login" {
			whole = q.Login
		}
		local, domain, _ := strings.Cut(whole, "@")
		if part == "domain" {
			return domain
		}
		return local
	}
	return q.network(name)
}

// network knows the variables of the client's connection.
func (q *Query) network(name string) string {
	switch name {
	case "session":
		return q.Session
	case "lip", "real_lip":
		return q.Local
	case "rip", "real_rip":
		return q.Remote
	case "lport", "real_lport":
		return q.LPort
	case "rport", "real_rport":
		return q.RPort
	}
	return ""
}

// window cuts a value as %2u and %1.2u ask: [offset.]width in bytes, a negative
// one counted from the end.
func window(mods, value string) string {
	digits := strings.Trim(mods, "LURETXM")
	if digits == "" {
		return value
	}
	first, second, both := strings.Cut(digits, ".")
	if !both {
		first, second = "0", digits
	}
	offset, err1 := strconv.Atoi(first)
	width, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil {
		return value
	}
	if !both {
		width = max(width, -width) // a sign without an offset has no meaning
	}
	if offset < 0 {
		offset = max(0, len(value)+offset)
	}
	value = value[min(offset, len(value)):]
	switch {
	case width < 0:
		return value[:max(0, len(value)+width)]
	case width > 0:
		return value[:min(width, len(value))]
	}
	return value
}

func modify(mods, value string) string {
	for i := 0; i < len(mods); i++ {
		switch mods[i] {
		case 'L':
			value = strings.ToLower(value)
		case 'U':
			value = strings.ToUpper(value)
		case 'M':
			value = fmt.Sprintf("%x", md5.Sum([]byte(value)))
		case 'T':
			value = strings.TrimRight(value, " \t")
		case 'R':
			b := []byte(value)
			for l, r := 0, len(b)-1; l < r; l, r = l+1, r-1 {
				b[l], b[r] = b[r], b[l]
			}
			value = string(b)
		}
	}
	return value
}
