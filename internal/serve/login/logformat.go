package login

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/auth"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/maillog"
)

// LogFormat is how lines about clients look. The zero value is Dovecot's default.
type LogFormat struct {
	Line     string `dovecot:"login_log_format"`          // %$ = what happened, %s = the elements
	Elements string `dovecot:"login_log_format_elements"` // separated by spaces in it, by ", " in the line
}

// defaultFormat is Dovecot's, which the log writes without it.
var defaultFormat = LogFormat{"%$: %s", "user=<%u> method=%m rip=%r lip=%l mpid=%e %c session=<%{session}>"}

// Custom returns the format where it is another one than the default.
func (f LogFormat) Custom() LogFormat {
	if f == defaultFormat {
		return LogFormat{}
	}
	return f
}

// formatVars are the variables of a LogFormat, short ones by their long names.
const formatVars = `user username domain domain_first domain_last service lip rip lport rport real_lip real_rip real_lport real_rport
pid mech secured home ssl_security mail_pid session auth_user auth_username auth_domain orig_user orig_username orig_domain`

// shortVars are the long names of short variables that mean something else here
// than in other settings, or nothing there.
var shortVars = map[string]string{"u": "user", "n": "username", "d": "domain", "s": "service", "h": "home", "l": "lip", "r": "rip", "p": "pid",
	"m": "mech", "a": "lport", "b": "rport", "c": "secured", "k": "ssl_security", "e": "mail_pid"}

// Check tells of a variable that there is not.
func (f LogFormat) Check() (err error) {
	auth.Variables(f.Elements, func(name string) {
		if !slices.Contains(strings.Fields(formatVars), longVar(name)) {
			err = fmt.Errorf("unknown variable %%%s", name)
		}
	})
	auth.Variables(f.Line, func(name string) {
		if name != "$" && name != "s" {
			err = fmt.Errorf("unknown variable %%%s", name)
		}
	})
	return err
}

func longVar(name string) string {
	if long := shortVars[name]; long != "" {
		return long
	}
	return name
}

// Ends are the two ends of a connection and what its TLS is, for the log.
type Ends struct {
	Remote, Local netip.AddrPort
	TLS           *tls.ConnectionState // nil = none
}

// Writer returns the function that writes a client's lines; nil for the default.
func (f LogFormat) Writer(at Ends) func(c maillog.Client, message string, mpid int) string {
	if f == (LogFormat{}) {
		return nil
	}
	if f.Line == "" {
		f.Line = "%$: %s"
	}
	return func(c maillog.Client, message string, mpid int) string {
		value := func(name string) string { return at.value(c, mpid, longVar(name)) }
		var said []string
		for e := range strings.FieldsSeq(f.Elements) {
			text := auth.ExpandWith(e, value)
			// An element whose variables are all empty is left out, but for that with the
			// user's name.
			if named(e) || text != auth.ExpandWith(e, func(string) string { return "" }) {
				said = append(said, text)
			}
		}
		return auth.ExpandWith(f.Line, func(name string) string {
			if name == "$" {
				return message
			}
			return strings.Join(said, ", ")
		})
	}
}

// named tells whether an element has the user's name.
func named(element string) (yes bool) {
	auth.Variables(element, func(name string) { yes = yes || name == "u" || name == "n" })
	return yes
}

// value returns a variable by its long name.
func (at Ends) value(c maillog.Client, mpid int, name string) string {
	local, domain, _ := strings.Cut(c.User, "@")
	switch name {
	case "user", "auth_user", "orig_user":
		return c.User
	case "username", "auth_username", "orig_username":
		return local
	case "domain", "domain_first", "domain_last", "auth_domain", "orig_domain":
		return domain
	case "service":
		return c.Service
	case "mech":
		return c.Method
	case "secured":
		return c.TLS
	case "session":
		return c.Session
	case "pid":
		return strconv.Itoa(os.Getpid())
	case "mail_pid":
		if mpid > 0 {
			return strconv.Itoa(mpid)
		}
	case "ssl_security":
		if at.TLS != nil {
			name, bits := cert.CipherName(at.TLS.CipherSuite)
			return fmt.Sprintf("%s with cipher %s (%d/%d bits)", cert.VersionName(at.TLS.Version), name, bits, bits)
		}
	}
	return at.network(c, name)
}

// network knows the variables of the connection.
func (at Ends) network(c maillog.Client, name string) string {
	switch name {
	case "rip", "real_rip":
		return c.Remote
	case "lip", "real_lip":
		return c.Local
	case "rport", "real_rport":
		return portText(at.Remote)
	case "lport", "real_lport":
		return portText(at.Local)
	}
	return ""
}

func portText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return strconv.Itoa(int(a.Port()))
}

// logFormat returns how the client's lines are written.
func (c *client) logFormat() func(maillog.Client, string, int) string {
	if c.s.o.LogFormat == (LogFormat{}) {
		return nil
	}
	at := Ends{Remote: c.remote, Local: c.local}
	if t, ok := c.conn.(*tls.Conn); ok && c.tls {
		state := t.ConnectionState()
		at.TLS = &state
	}
	return c.s.o.LogFormat.Writer(at)
}
