package smtpd

import (
	"net/netip"
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/milter"
	"packetboat/internal/receive/smtpd/syntax"
	"packetboat/internal/sys/maillog"
)

// What a session tells its milters, and what becomes of their answers. All of it
// does nothing in a service without milters.

// Milters are what a service needs for them. *milter.Set makes the sessions.
type Milters struct {
	// For returns the milters for a client: smtpd_milter_maps, else smtpd_milters;
	// nil for none.
	For func(client netip.Addr) *milter.Set
	// Route says what becomes of a recipient, for {rcpt_mailer} and its kin; nil =
	// such macros are left out.
	Route func(sender, rcpt mail.Address) (transport, nexthop string, addr mail.Address, err error)
}

// filtered is a Message that milters look at. *intake.Message is one.
type filtered interface{ SetMilters(x *milter.Session) }

// openFilters begins the milters' session and tells them of the client. It
// returns the reply that turns the client away, or "".
func (c *session) openFilters() string {
	if c.s.deps.Milters.For == nil {
		return ""
	}
	c.identify()
	set := c.s.deps.Milters.For(c.st.Addr.Unmap())
	if set == nil {
		return ""
	}
	c.closeFilters()
	c.filters = set.Open(c.macro, c.s.deps.Log)
	refusal := c.filterReply(c.filters.Connect(c.st.Name, c.st.Addr, c.peer.Port))
	switch {
	case strings.HasPrefix(refusal, "421"):
		c.hangup = true
		return "421 " + c.s.opts.Hostname + " Service unavailable - try again later"
	case strings.HasPrefix(refusal, "5"):
		c.errors++
		return "554 " + c.s.opts.Hostname + " ESMTP not accepting connections"
	}
	return "" // a 4xx is the answer to MAIL
}

// closeFilters ends the milters' session.
func (c *session) closeFilters() {
	c.filters.Close()
	c.filters = nil
}

// abortFilters ends a transaction for the milters.
func (c *session) abortFilters() {
	if c.filtering {
		c.filtering = false
		c.filters.Abort()
		c.filters.Log(c.s.deps.Log) // intake has spoken through it
	}
}

// filterReply carries out what milters say, tells the log, and returns the reply
// of a refusal, or "".
func (c *session) filterReply(r milter.Reply) string {
	what, text, refusal := "milter-reject", r.Text, r.Text
	switch r.Verdict {
	case milter.Go:
		return ""
	case milter.Hold:
		c.st.Actions.Hold = true
		what, text, refusal = "milter-hold", "milter triggers HOLD action", ""
	case milter.Discard:
		c.st.Actions.Discard = true
		what, text, refusal = "milter-discard", "milter triggers DISCARD action", ""
	case milter.Shutdown:
		text, refusal = "421 4.7.0 Server closing connection", "421 4.7.0 Server closing connection"
	}
	l := maillog.Refusal{ID: c.st.QueueID, What: what, Where: c.st.Where, Client: c.st.Client(), Text: text,
		Proto: c.st.Proto, Helo: c.st.Helo}
	if c.st.Sender != nil {
		from := c.st.Sender.Quoted()
		l.From = &from
	}
	if c.st.Rcpt != nil {
		to := c.st.Rcpt.Quoted()
		l.To = &to
	}
	c.s.deps.Log.SMTPDReject(l)
	return refusal
}

// filter asks milters about an event, unless the message is thrown away anyway;
// false when the command is refused, which has been said.
func (c *session) filter(ask func(x *milter.Session) milter.Reply) bool {
	if c.filters == nil || c.st.Actions.Discard {
		return true
	}
	if refusal := c.filterReply(ask(c.filters)); refusal != "" {
		return c.fail(refusal)
	}
	return true
}

// filterHelo tells of HELO or EHLO. Only 421 is an answer to it: other refusals
// wait for MAIL, as in Postfix. The log speaks of the protocol before.
func (c *session) filterHelo(name, proto string) bool {
	if c.filters == nil {
		return true
	}
	c.filtering = true
	defer func(now string) { c.st.Proto = now }(c.st.Proto)
	c.st.Proto = proto
	if refusal := c.filterReply(c.filters.Helo(name)); strings.HasPrefix(refusal, "421") {
		return c.fail(refusal)
	}
	return true
}

// filterMail tells of MAIL.
func (c *session) filterMail(cmd *syntax.Command) bool {
	c.filtering = c.filters != nil
	return c.filter(func(x *milter.Session) milter.Reply { return x.Mail(syntax.Words(cmd.Args[2:])...) })
}

// filterRcpt tells of RCPT. refusal is what the access lists said, empty for an
// accepted one.
func (c *session) filterRcpt(cmd *syntax.Command, rcpt *mail.Address, refusal string) bool {
	if c.filters == nil || c.st.Actions.Discard {
		return true
	}
	c.rcptRefusal, c.st.Rcpt = refusal, rcpt
	defer func() { c.rcptRefusal, c.st.Rcpt = "", nil }()
	r := c.filters.Rcpt(refusal != "", syntax.Words(cmd.Args[2:])...)
	if refusal != "" {
		return true // it is refused already
	}
	if text := c.filterReply(r); text != "" {
		return c.fail(text)
	}
	return true
}

// filterData tells of DATA, or of the first BDAT. The log names the first recipient.
func (c *session) filterData() bool {
	if c.filters != nil {
		c.st.Rcpt = &c.tx.env.Rcpts[0].Addr
	}
	return c.filter(func(x *milter.Session) milter.Reply { return x.Data() })
}

// filterUnknown tells of an unknown command: of its first word only, as Postfix.
func (c *session) filterUnknown(verb string) bool {
	return c.filter(func(x *milter.Session) milter.Reply { return x.Unknown(verb) })
}

// filterOther refuses a command that no event stands for, when milters have
// refused the client.
func (c *session) filterOther(verb string) bool {
	switch verb {
	case "AUTH", "STARTTLS", "VRFY", "ETRN":
		return c.filters == nil || c.filter(func(x *milter.Session) milter.Reply { return x.Other() })
	}
	return true
}

// filterMessage hands the milters on to the message, which has come to DATA.
func (c *session) filterMessage() {
	if m, ok := c.tx.msg.(filtered); ok && c.filters != nil {
		m.SetMilters(c.filters)
	}
}

// macro answers the milters' macros, as MILTER_README lists them.
func (c *session) macro(name string) (string, bool) {
	some := func(s string) (string, bool) { return s, s != "" }
	switch name {
	case "{_}":
		text := c.st.Reverse + " [" + c.st.Addr.Unmap().String() + "]"
		if !strings.EqualFold(c.st.Name, c.st.Reverse) {
			text += " (may be forged)"
		}
		return text, true
	case "{client_addr}":
		return addrMacro(c.st.Addr), true
	case "{client_port}":
		return strconv.Itoa(int(c.peer.Port)), true
	case "{client_name}":
		return c.st.Name, true
	case "{client_ptr}":
		return c.st.Reverse, true
	case "{client_resolve}":
		return [...]string{"OK", "FAIL", "TEMP"}[min(int(c.st.NameState), 2)], true
	case "{client_connections}":
		return strconv.Itoa(c.connections), true
	case "{daemon_addr}":
		return c.local.Addr().Unmap().String(), true
	case "{daemon_port}":
		return strconv.Itoa(int(c.local.Port())), true
	case "{i}":
		return some(c.st.QueueID)
	case "{auth_type}":
		return some(c.st.Mech)
	case "{auth_authen}":
		return some(c.st.User)
	case "{auth_author}":
		return some(c.st.SASLSender)
	}
	if v, ok := c.tlsMacro(name); ok {
		return v, true
	}
	return c.routeMacro(name)
}

// addrMacro is an address as RFC 5321 section 4.1.3 has it, without brackets.
func addrMacro(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		return "IPv6:" + a.WithZone("").String()
	}
	return a.String()
}

// tlsMacro answers the macros of an encrypted session.
func (c *session) tlsMacro(name string) (string, bool) {
	if !c.st.TLS {
		return "", false
	}
	switch name {
	case "{tls_version}":
		return c.st.TLSProtocol, c.st.TLSProtocol != ""
	case "{cipher}":
		return c.st.TLSCipher, c.st.TLSCipher != ""
	case "{cipher_bits}":
		return strconv.Itoa(c.st.TLSBits), true
	case "{cert_subject}":
		return c.st.Subject, c.st.Verified
	case "{cert_issuer}":
		return c.st.Issuer, c.st.Verified
	}
	return "", false
}

// routeMacro answers the macros that say where mail for an address goes.
func (c *session) routeMacro(name string) (string, bool) {
	who, part, _ := strings.Cut(strings.Trim(name, "{}"), "_")
	of := c.st.Sender
	if who == "rcpt" {
		of = c.st.Rcpt
	} else if who != "mail" {
		return "", false
	}
	switch {
	case of == nil || c.s.deps.Milters.Route == nil:
		return "", false
	case who == "rcpt" && c.rcptRefusal != "":
		return c.refusedMacro(part)
	case *of == "" && part == "addr":
		return "", true
	}
	sender := mail.Address("")
	if who == "rcpt" && c.st.Sender != nil {
		sender = *c.st.Sender
	}
	transport, nexthop, addr, err := c.s.deps.Milters.Route(sender, *of)
	switch {
	case err != nil:
		return "", false
	case part == "addr":
		return addr.Quoted(), true
	case part == "host":
		return nexthop, true
	case part == "mailer":
		return transport, true
	}
	return "", false
}

// refusedMacro answers for a recipient that is refused: mailer "error", the code
// as its host, the text as its address (MILTER_README).
func (c *session) refusedMacro(part string) (string, bool) {
	_, rest, _ := strings.Cut(c.rcptRefusal, " ")
	dsn, text, _ := strings.Cut(rest, " ")
	switch part {
	case "mailer":
		return "error", true
	case "host":
		return dsn, true
	case "addr":
		return text, true
	}
	return "", false
}
