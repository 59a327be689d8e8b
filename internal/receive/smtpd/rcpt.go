package smtpd

import (
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd/origin"
	"packetboat/internal/receive/smtpd/syntax"
	"packetboat/internal/sys/maillog"
)

// rcpt is RFC 5321 section 4.1.1.3, with the parameters of RFC 3461.
func (c *session) rcpt(cmd *syntax.Command) bool {
	switch {
	case c.tx.chunks != bdatNone && c.tx.active:
		return c.fail("503 5.5.1 Error: RCPT after BDAT")
	case !c.tx.active:
		return c.fail("503 5.5.1 Error: need MAIL command")
	case len(cmd.Args) < 3 || !strings.EqualFold(cmd.Args[1].Text, "TO:"):
		return c.fail("501 5.5.4 Syntax: RCPT TO:<address>")
	case cmd.Args[2].Bad:
		return c.fail("501 5.1.3 Bad recipient address syntax")
	}
	if c.tooOften(gate.Recipient, c.s.opts.RcptRate, "Recipient address rate") {
		return c.fail("450 4.7.1 Error: too many recipients from " + c.st.Addr.Unmap().String())
	}
	to, ok := c.address("RCPT", cmd.Args[2].Text, syntax.PathRules{Strict: c.s.opts.Strict821, UTF8: c.tx.env.SMTPUTF8})
	if !ok {
		return c.fail("501 5.1.3 Bad recipient address syntax")
	}
	rcpt := mail.Rcpt{Addr: to, State: mail.Pending}
	for _, a := range cmd.Args[3:] {
		if refusal := c.rcptOption(&rcpt, a.Text); refusal != "" {
			return c.fail(refusal)
		}
	}
	if len(c.tx.env.Rcpts) >= c.s.opts.RcptLimit {
		return c.tooMany()
	}
	return c.addRcpt(rcpt, cmd)
}

// tooMany refuses a recipient above the limit (RFC 5321 section 4.5.3.1.10).
// A client that goes on long after that makes errors.
func (c *session) tooMany() bool {
	c.reply("452 4.5.3 Error: too many recipients")
	c.tx.over++
	return c.tx.over <= c.s.opts.RcptOver
}

// addRcpt asks about a recipient and takes it. The first one begins the
// message, whose id is logged with the client's name.
func (c *session) addRcpt(rcpt mail.Rcpt, cmd *syntax.Command) bool {
	c.st.Rcpt = &rcpt.Addr
	v := c.s.deps.Policy.Rcpt(c.ctx, &c.st)
	c.st.Rcpt = nil
	if v != nil {
		c.filterRcpt(cmd, &rcpt.Addr, v.Reply())
		return c.refused(v)
	}
	if !c.filterRcpt(cmd, &rcpt.Addr, "") {
		return false
	}
	if c.tx.msg == nil && !c.open() || !c.passRcpt(rcpt.Addr, cmd) {
		return false
	}
	c.tx.env.Rcpts = append(c.tx.env.Rcpts, rcpt)
	c.st.RcptCount++
	c.reply("250 2.1.5 Ok")
	return true
}

func (c *session) open() bool {
	if c.s.opts.Filter != "" {
		return c.openFilter()
	}
	m, err := c.s.deps.Open()
	if err != nil {
		return c.unqueued(err)
	}
	c.tx.msg = m
	c.st.QueueID = m.ID()
	c.s.deps.Log.SMTPDClient(maillog.SMTPDPeer{ID: m.ID(), Client: c.st.Client(), Method: c.st.Mech, User: c.st.User,
		Sender: c.peer.SASLFrom, OrigID: c.fwd.Ident, OrigClient: origin.Client(&c.fwd.Origin, c.s.opts.LogPort)})
	return true
}

// rcptOption reads one parameter of RCPT; it returns the reply that refuses it.
func (c *session) rcptOption(rcpt *mail.Rcpt, arg string) string {
	name, value, _ := strings.Cut(arg, "=")
	dsn := c.offer.Has("DSN")
	switch {
	case !dsn && (strings.EqualFold(name, "NOTIFY") || strings.EqualFold(name, "ORCPT")):
		return noDSN
	case strings.EqualFold(name, "NOTIFY"):
		n, ok := syntax.Notify(value)
		if !ok || rcpt.Notify != 0 {
			return "501 5.5.4 Error: Bad NOTIFY parameter syntax"
		}
		rcpt.Notify = n
	case strings.EqualFold(name, "ORCPT"):
		o, ok := syntax.ORCPT(value)
		if !ok || rcpt.ORCPT != "" {
			return "501 5.5.4 Error: Bad ORCPT parameter syntax"
		}
		rcpt.ORCPT = o
	default:
		return "555 5.5.4 Unsupported option: " + arg
	}
	return ""
}
