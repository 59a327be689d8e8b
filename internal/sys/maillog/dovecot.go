package maillog

import (
	"fmt"
	"strconv"
	"strings"
)

// The events of the reading half. A line begins with the service's name; the
// tag before it is "dovecot: ", so use a Logger with Name "dovecot" and Bare
// set, and Program("").

// Client is one client of a login process, as the end of its log lines tells it.
type Client struct {
	Service string // imap, pop3
	User    string // as the client wrote it; empty before it named one
	Method  string // SASL mechanism; empty before the first try
	Remote  string // addresses
	Local   string
	TLS     string // "TLS", "secured" (same machine), "TLS handshaking", or empty
	Session string
	// Write makes the text behind the service's name of a message and the client,
	// as login_log_format and its elements ask; mpid is the process that serves the
	// client, 0 = none yet. nil = Dovecot's default form.
	Write func(c Client, message string, mpid int) string
}

// line writes a message about a client.
func (c Client) line(message string, mpid int) string {
	if c.Write == nil {
		return message + ": " + c.tail(mpid)
	}
	c.User = angle(c.User)
	return c.Write(c, message, mpid)
}

// angle makes a stranger's word safe between "<" and ">": fail2ban takes the
// address that stands behind it (security.md 36).
func angle(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.NewReplacer("<", "?", ">", "?").Replace(s)
}

// tail writes "user=<alice>, method=PLAIN, rip=..., lip=..., session=<...>".
func (c Client) tail(mpid int) string {
	s := "user=<" + angle(c.User) + ">"
	if c.Method != "" {
		s += ", method=" + c.Method
	}
	s += ", rip=" + c.Remote + ", lip=" + c.Local
	if mpid > 0 {
		s += ", mpid=" + strconv.Itoa(mpid)
	}
	if c.TLS != "" {
		s += ", " + c.TLS
	}
	return s + ", session=<" + c.Session + ">"
}

// Login: a client was let in; mpid is the process that serves it.
func (g *Log) Login(c Client, mpid int) {
	g.Info("%s-login: %s", c.Service, c.line("Login", mpid))
}

// LoginDisconnected: a client went, or was sent away, before it was let in.
// reason is "Connection closed", why "(no auth attempts in 3 secs)".
func (g *Log) LoginDisconnected(c Client, reason, why string) {
	g.Info("%s-login: %s", c.Service, c.line("Disconnected: "+reason+" "+why, 0))
}

// LoginFailed: one try failed for a reason that the login process itself knows;
// what is "Login failed" or "Authenticate PLAIN failed".
func (g *Log) LoginFailed(c Client, what, reason string) {
	g.Info("%s-login: %s", c.Service, c.line(what+": "+reason, 0))
}

// LoginError: a try could not be finished for a fault of ours.
func (g *Log) LoginError(c Client, text string) {
	g.DovecotError(c.Service+"-login", c.line(text, 0))
}

// HAProxyFailed: a load balancer, or who pretends to be one, was sent away.
func (g *Log) HAProxyFailed(text, remote string) {
	g.DovecotError("login", "haproxy: "+text+" (rip="+remote+")")
}

// TooManyConnections: mail_max_userip_connections sent a client away.
func (g *Log) TooManyConnections(c Client, limit int) {
	g.Info("%s-login: %s", c.Service, c.line(fmt.Sprintf("Maximum number of connections from user+IP exceeded (mail_max_userip_connections=%d)", limit), 0))
}

// DovecotInfo writes "service: text".
func (g *Log) DovecotInfo(service, text string) { g.Info("%s: %s", service, text) }

// DovecotWarning writes "service: Warning: text".
func (g *Log) DovecotWarning(service, text string) {
	g.write(sevWarning, "", "%s: Warning: %s", []any{service, text})
}

// DovecotError writes "service: Error: text".
func (g *Log) DovecotError(service, text string) {
	g.write(sevErr, "", "%s: Error: %s", []any{service, text})
}

// POP3Stats are the figures of one POP3 session.
type POP3Stats struct {
	Top, Retr, Deleted, Total int   // commands, messages deleted, messages at the start
	TopBytes, RetrBytes       int64 // octets sent for them
	Size                      int64 // octets of the mailbox at the start
}

// POP3Disconnected: a POP3 session ended. prefix is "pop3(alice)<pid><session>".
func (g *Log) POP3Disconnected(user string, pid int, session, reason string, s POP3Stats) {
	g.Info("pop3(%s)<%d><%s>: Disconnected: %s top=%d/%d, retr=%d/%d, del=%d/%d, size=%d",
		angle(user), pid, session, reason, s.Top, s.TopBytes, s.Retr, s.RetrBytes, s.Deleted, s.Total, s.Size)
}

// POP3Error: something of ours failed in a POP3 session.
func (g *Log) POP3Error(user string, pid int, session, text string) {
	g.write(sevErr, "", "pop3(%s)<%d><%s>: Error: %s", []any{angle(user), pid, session, text})
}

// MasterStarting: mrad is up.
func (g *Log) MasterStarting(version, protocols string) {
	g.Info("master: Dovecot v%s starting up for %s (core dumps disabled)", version, protocols)
}

// MasterSignal: mrad ends; code is "kill" as siginfo_t names it.
func (g *Log) MasterSignal(sig int) {
	g.write(sevWarning, "", "master: Warning: Killed with signal %d", []any{sig})
}

// LMTPConnect: an LMTP client came; peer is "local" or an address.
func (g *Log) LMTPConnect(pid int, peer string) { g.Info("lmtp(%d): Connect from %s", pid, peer) }

// LMTPDisconnect: an LMTP client went.
func (g *Log) LMTPDisconnect(pid int, peer, reason, state string) {
	g.Info("lmtp(%d): Disconnect from %s: %s (state=%s)", pid, peer, reason, state)
}

// LMTPSaved: a message was stored.
func (g *Log) LMTPSaved(user string, pid int, session, msgid string) {
	g.Info("lmtp(%s)<%d><%s>: msgid=%s: saved mail to INBOX", angle(user), pid, session, msgid)
}

// LMTPFailed: a message could not be stored.
func (g *Log) LMTPFailed(user string, pid int, session, msgid, text string) {
	g.Info("lmtp(%s)<%d><%s>: msgid=%s: save failed to INBOX: %s", angle(user), pid, session, msgid, text)
}
