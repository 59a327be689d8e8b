package maillog

import "fmt"

// The lines of cleanup(8) for what intake's checks and milters do.

// Match is a line of a message that a table matched.
type Match struct {
	ID     string
	Action string // reject, warning, info, filter, pass, discard, hold, prepend, replace, redirect, bcc, strip
	What   string // header, body, content
	Text   string // the line; 200 octets of it are told
	Origin string // "name[address]", "local", "unknown"
	From   string
	To     string // empty = nobody yet
	Proto  string // empty for local mail
	Helo   string
	Reason string // empty = none
}

// Matched writes "ID: reject: header Subject: x from a[1.2.3.4]; from=<a> ...".
func (g *Log) Matched(m Match) {
	b := fmt.Appendf(nil, "%s: %s: %s %s from %s; from=<%s>", m.ID, m.Action, m.What, m.Text[:min(len(m.Text), 200)], m.Origin, m.From)
	if m.To != "" {
		b = fmt.Appendf(b, " to=<%s>", m.To)
	}
	if m.Proto != "" {
		b = fmt.Appendf(b, " proto=%s", m.Proto)
	}
	if m.Helo != "" {
		b = fmt.Appendf(b, " helo=<%s>", m.Helo)
	}
	if m.Reason != "" {
		b = fmt.Appendf(b, ": %s", m.Reason)
	}
	g.Info("%s", b)
}

// MIMEFault writes "ID: reject: mime-error why: text from origin; from=<a> to=<b>".
func (g *Log) MIMEFault(m Match) {
	to := m.To
	if to == "" {
		to = "unknown"
	}
	g.Info("%s: reject: mime-error %s: %s from %s; from=<%s> to=<%s>", m.ID, m.Reason, m.Text[:min(len(m.Text), 100)], m.Origin, m.From, to)
}

// HopsExceeded writes the warning for a message that went round in circles.
func (g *Log) HopsExceeded(id string) { g.Warn("%s: message rejected: hopcount exceeded", id) }

// MapProblem writes the warning for a table that does not answer; addr is what
// was looked up, or empty.
func (g *Log) MapProblem(id, param, addr string) {
	if addr != "" {
		addr = " for " + addr
	}
	g.Warn("%s: %s map lookup problem%s -- message not accepted, try again later", id, param, addr)
}

// MapNesting writes the warning for a table whose addresses lead to each other
// without end.
func (g *Log) MapNesting(id, param, addr string) {
	g.Warn("%s: unreasonable %s map nesting for %s -- message not accepted, try again later", id, param, addr)
}

// MapMultiple writes the warning for several addresses where one is allowed.
func (g *Log) MapMultiple(id, param, addr string) {
	g.Warn("%s: multi-valued %s entry for %s", id, param, addr)
}

// MilterRcpt writes the warnings for a milter that refuses a recipient of local
// mail, where nobody can be told.
func (g *Log) MilterRcpt(id string) {
	g.Warn("%s: milter configuration error: can't reject recipient in non-smtpd(8) submission", id)
	g.Warn("%s: message not accepted, try again later", id)
}
