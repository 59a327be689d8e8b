package smtpd

import (
	"strings"

	"packetboat/internal/sys/maillog"
)

// crowd counts the connection and tells whether its client has too many, now or
// in this time unit. n is how many it has where nobody counts for all services.
func (c *session) crowd(n int) bool {
	o, rate := &c.s.opts, 0
	if a := c.s.deps.Anvil; a != nil {
		n, rate = a.Connect(o.Entry, c.st.Addr)
		c.counted = true
	}
	if (o.ClientLimit <= 0 || n <= o.ClientLimit) && (o.ConnRate <= 0 || rate <= o.ConnRate) || c.spared() {
		return false
	}
	if o.ClientLimit > 0 && n > o.ClientLimit {
		c.s.deps.Log.SMTPDCrowd(n, c.st.Client(), o.Entry)
	} else {
		c.s.deps.Log.SMTPDRate("Connection rate", rate, c.st.Client(), o.Entry)
	}
	return true
}

// uncount ends what crowd began.
func (c *session) uncount() {
	if c.counted {
		c.s.deps.Anvil.Disconnect(c.s.opts.Entry, c.ownAddr)
	}
}

// forbidden looks a verb up in smtpd_forbidden_commands: words and tables.
func (c *session) forbidden(name string) bool {
	for _, w := range c.s.opts.Forbidden {
		if strings.EqualFold(w, name) {
			return true
		}
	}
	for _, t := range c.s.bad {
		if _, ok, err := t.Lookup(c.ctx, name); ok && err == nil {
			return true
		}
	}
	return false
}

// forbidsBare tells whether lines must end in CRLF (smtpd_forbid_bare_newline =
// reject). RFC 5321 section 2.3.8: a LF alone ends no line.
func (c *session) forbidsBare() bool {
	if !strings.EqualFold(c.s.opts.BareNewline, "reject") {
		return false
	}
	ok, err := c.s.bareOK.Match(c.ctx, c.st.Name, c.st.Addr)
	return !ok || err != nil
}

// bareNewline ends the session of a client that breaks the rule.
func (c *session) bareNewline() {
	c.identify()
	c.logReject("bare <LF> received")
	c.reply(itoa(int64(c.s.opts.BareCode)) + " 5.5.2 " + c.s.opts.Hostname + " Error: bare <LF> received")
}

// logReject tells of a refusal that no access list decided on.
func (c *session) logReject(text string) { c.told("reject", c.st.Client(), text) }

// told writes such a line; what is the first word, client may be empty.
func (c *session) told(what, client, text string) {
	r := maillog.Refusal{ID: c.st.QueueID, What: what, Where: c.where, Client: client, Text: text,
		Proto: c.st.Proto, Helo: c.st.Helo}
	if c.st.Sender != nil {
		from := c.st.Sender.Quoted()
		r.From = &from
	}
	if one := c.only(); one != nil {
		to := one.Quoted()
		r.To = &to
	}
	c.s.deps.Log.SMTPDReject(r)
}

// pipelined notes, once a session, that a client did not wait for an answer. It
// returns false when that ends the session (smtpd_forbid_unauth_pipelining).
func (c *session) pipelined(where string) bool {
	if c.s.opts.ForbidPipe {
		c.identify()
		c.s.deps.Log.SMTPDPipelining(where, c.st.Client(), c.in.Unread())
		c.in.Take(len(c.in.Unread()))
		c.reply("554 5.5.0 Error: SMTP protocol synchronization")
		c.hangup = true
		return false
	}
	if c.st.Pipelining {
		return true
	}
	c.st.Pipelining = true
	c.identify()
	c.s.deps.Log.SMTPDPipelining(where, c.st.Client(), c.in.Unread())
	return true
}
