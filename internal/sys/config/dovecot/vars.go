package dovecot

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/sys/config/base"
)

// Vars gives the values of %variables by their long names: user, username,
// domain, home, service (or protocol), lip, rip, lport, rport, pid, uid, gid,
// session, passwd-file fields (userdb:x) and so on. The short names are known:
// %u %n %d %h %s %l %r %a %b %p %i %c %k %w.
type Vars map[string]string

// longName returns the long name of a one-letter variable, "" for none.
func longName(c byte) string {
	switch c {
	case 'u':
		return "user"
	case 'n':
		return "username"
	case 'd':
		return "domain"
	case 'h':
		return "home"
	case 's':
		return "service"
	case 'l':
		return "lip"
	case 'r':
		return "rip"
	case 'a':
		return "lport"
	case 'b':
		return "rport"
	case 'p':
		return "pid"
	case 'i':
		return "uid"
	case 'c':
		return "secured"
	case 'k':
		return "cert"
	case 'w':
		return "password"
	}
	return ""
}

// Expand replaces the %variables of a Dovecot value: %u, %{user}, with the
// modifiers of Dovecot 2.3 before the name: L U (case), E (escape), X (hex),
// R (reverse), N H (hash numbers), M (md5), D (domain components), T (trim),
// and a substring "offset.length". "%%" is a percent sign. An unknown variable
// is an error that names it.
func Expand(value string, vars Vars) (string, error) {
	if strings.IndexByte(value, '%') < 0 {
		return value, nil
	}
	var b strings.Builder
	for value != "" {
		i := strings.IndexByte(value, '%')
		if i < 0 || i == len(value)-1 {
			b.WriteString(value)
			break
		}
		b.WriteString(value[:i])
		text, rest, err := expandOne(value[i+1:], vars)
		if err != nil {
			return "", err
		}
		if b.WriteString(text); b.Len() > base.MaxExpand {
			return "", fmt.Errorf("value grows past %d bytes", base.MaxExpand)
		}
		value = rest
	}
	return b.String(), nil
}

// varFormat is what stands between % and the name: an offset and a width, and
// modifiers.
type varFormat struct {
	offset, width int
	zeros         bool // the width fills with zeros instead of cutting off
}

// expandOne expands the variable at the start of s, which follows a %.
func expandOne(s string, vars Vars) (text, rest string, err error) {
	start := s
	if s[0] == '%' {
		return "%", s[1:], nil
	}
	f, s := cutFormat(s)
	n := 0
	for n < len(s) && n < 10 && strings.IndexByte("LUEXRHNMDT", s[n]) >= 0 {
		n++
	}
	modifiers, s := s[:n], s[n:]
	if s == "" {
		return "", "", nil
	}
	name := longName(s[0])
	rest = s[1:]
	if s[0] == '{' {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return "", "", fmt.Errorf("missing } in variable %%%s", start)
		}
		name, rest = s[1:end], s[end+1:]
	}
	text, ok := lookupVar(name, vars)
	if !ok {
		return "", "", fmt.Errorf("unknown variable %%%s", start[:len(start)-len(rest)])
	}
	for i := 0; i < len(modifiers); i++ {
		text = f.modify(modifiers[i], text)
	}
	return f.cut(text), rest, nil
}

// lookupVar finds the value of a variable: of vars, or of the environment or
// system with the prefixes env: and system:.
func lookupVar(name string, vars Vars) (string, bool) {
	if v, ok := vars[name]; ok {
		return v, true
	}
	if env, ok := strings.CutPrefix(name, "env:"); ok {
		return os.Getenv(env), true
	}
	switch name {
	case "pid":
		return strconv.Itoa(os.Getpid()), true
	case "hostname":
		h, err := os.Hostname()
		return h, err == nil
	case "protocol":
		return lookupVar("service", vars)
	case "username", "domain":
		user, ok := vars["user"]
		local, domain, _ := strings.Cut(user, "@")
		if name == "domain" {
			return domain, ok
		}
		return local, ok
	}
	return "", false
}

// maxWidth bounds widths and offsets; real ones are one or two digits.
const maxWidth = 10_000

// cutFormat reads "[offset.]width" off s: -, 0 for filling with zeros, digits.
func cutFormat(s string) (f varFormat, rest string) {
	f.width, f.zeros, s = cutWidth(s)
	if strings.HasPrefix(s, ".") {
		f.offset = f.width
		f.width, f.zeros, s = cutWidth(s[1:])
	} else if f.width < 0 {
		f.width = -f.width // a sign without an offset has no meaning
	}
	return f, s
}

func cutWidth(s string) (n int, zeros bool, rest string) {
	s, negative := strings.CutPrefix(s, "-")
	s, zeros = strings.CutPrefix(s, "0")
	if zeros && strings.HasPrefix(s, "-") {
		negative, s = true, s[1:]
	}
	for s != "" && s[0] >= '0' && s[0] <= '9' {
		if n < maxWidth {
			n = n*10 + int(s[0]-'0')
		}
		s = s[1:]
	}
	n = min(n, maxWidth)
	if negative {
		n = -n
	}
	return n, zeros, s
}

// cut applies offset and width to a value.
func (f *varFormat) cut(s string) string {
	if f.offset < 0 {
		s = s[max(0, len(s)+f.offset):]
	} else {
		s = s[min(f.offset, len(s)):]
	}
	switch {
	case f.width == 0:
		return s
	case f.zeros:
		return strings.Repeat("0", max(0, f.width-len(s))) + s
	case f.width < 0:
		return s[:max(0, len(s)+f.width)]
	}
	return s[:min(f.width, len(s))]
}

// number prints the number of a hash modifier, below the width and filled with
// zeros to the offset; both are used up by it.
func (f *varFormat) number(n uint64) string {
	if f.width > 0 {
		n %= uint64(f.width)
	}
	s := strconv.FormatUint(n&0xffffffff, 16)
	s = strings.Repeat("0", max(0, f.offset-len(s))) + s
	f.width, f.offset = 0, 0
	return s
}

func (f *varFormat) modify(c byte, s string) string {
	switch c {
	case 'L':
		return strings.ToLower(s)
	case 'U':
		return strings.ToUpper(s)
	case 'E':
		return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s)
	case 'X':
		n, _ := strconv.ParseUint(s, 10, 64)
		return strconv.FormatUint(n, 16)
	case 'R':
		b := []byte(s)
		slices.Reverse(b)
		return string(b)
	case 'M':
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	case 'N':
		sum := md5.Sum([]byte(s))
		return f.number(binary.BigEndian.Uint64(sum[:]))
	case 'H':
		return f.number(uint64(stringHash(s)))
	case 'D':
		return strings.ReplaceAll(s, ".", ",dc=")
	case 'T':
		return strings.TrimRight(s, " \t\n\v\f\r")
	}
	return s
}

// stringHash is the hash of %H: that of the Dragon Book (Aho, Sethi, Ullman,
// Compilers, page 436).
func stringHash(s string) uint32 {
	var h uint32
	for i := 0; i < len(s); i++ {
		h = h<<4 + uint32(s[i])
		if g := h & 0xf0000000; g != 0 {
			h ^= g >> 24
			h ^= g
		}
	}
	return h
}
