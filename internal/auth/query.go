package auth

import (
	"errors"
	"fmt"
	"strings"

	"packetboat/internal/auth/wire"
)

// maxUser is the longest user name in bytes; Dovecot's buffers end nearby.
const maxUser = 512

// Query is what is known of who asks. Its fields fill %variables.
type Query struct {
	User    string // the account, normalised; may still change (passdb field "user")
	Orig    string // as the client wrote it
	Service string // imap, pop3, smtp, lmtp, doveadm
	Mech    string
	Session string
	Local   string // addresses and ports as text; empty = not known
	Remote  string
	LPort   string
	RPort   string
	Secured bool
	Home    string // of the user, once a userdb gave it
	UID     string
	GID     string
	Login   string // whose mail a master user asked for; empty = nobody's but his own

	password string // for queries of databases only, see expandQuoted
}

func newQuery(r wire.Request) *Query {
	q := &Query{Service: r.Service, Mech: r.Mech, Session: r.Session, Secured: r.Secured}
	if r.Local.IsValid() {
		q.Local, q.LPort = r.Local.Addr().String(), fmt.Sprint(r.Local.Port())
	}
	if r.Remote.IsValid() {
		q.Remote, q.RPort = r.Remote.Addr().String(), fmt.Sprint(r.Remote.Port())
	}
	return q
}

// where writes "(user,ip,<session>)", as every line of Dovecot's auth has it.
func (q *Query) where() string {
	user := q.User
	if user == "" {
		user = "?"
	}
	s := "(" + printable(user)
	if q.Remote != "" {
		s += "," + q.Remote
	}
	if q.Session != "" {
		s += ",<" + printable(q.Session) + ">"
	}
	return s + ")"
}

// printable makes a name safe inside the parentheses of a log line: brackets
// and spaces of a stranger's could otherwise forge its fields (fail2ban reads
// them).
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '(' || r == ')' || r == '<' || r == '>' {
			return '?'
		}
		return r
	}, s)
}

var (
	errEmptyUser = errors.New("empty username")
	errLongUser  = errors.New("username too long")
)

// setUser normalises the name that a client gave: default realm, allowed
// bytes, then auth_username_format.
func (a *Auth) setUser(q *Query, name string) error {
	switch {
	case name == "":
		return errEmptyUser
	case len(name) > maxUser:
		return errLongUser
	}
	if a.o.DefaultRealm != "" && !strings.Contains(name, "@") {
		name += "@" + a.o.DefaultRealm
	}
	for i := 0; i < len(name); i++ {
		if name[i] == 0 || (!a.o.AnyChars && strings.IndexByte(a.o.Chars, name[i]) < 0) {
			return said(fmt.Sprintf("Username character disallowed by auth_username_chars: 0x%02x (username: %s)", name[i], printable(name)))
		}
	}
	q.Orig, q.User = name, name
	q.User = Expand(a.o.Format, q)
	if q.User == "" {
		return errEmptyUser
	}
	return nil
}
