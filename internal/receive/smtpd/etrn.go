package smtpd

import (
	"packetboat/internal/receive/smtpd/syntax"
)

// etrn is RFC 1985.
func (c *session) etrn(cmd *syntax.Command) bool {
	switch {
	case c.s.opts.HeloRequired && c.st.Helo == "":
		return c.fail("503 Error: send HELO/EHLO first")
	case c.tx.active:
		return c.fail("503 Error: MAIL transaction in progress")
	case len(cmd.Args) != 2:
		return c.fail("500 Syntax: ETRN domain")
	}
	site := cmd.Args[1].Text
	if site[0] == '@' || site[0] == '#' {
		site = site[1:]
	}
	if !syntax.ValidSite(site) {
		return c.fail("501 Error: invalid parameter syntax")
	}
	c.st.Site = site
	if v := c.s.deps.Policy.Etrn(c.ctx, &c.st); v != nil {
		return c.refused(v)
	}
	return c.flushSite(site)
}

// flushSite tries the mail for a site again. Postfix keeps lists of it for
// fast_flush_domains only, and so does not answer for others; nor do we.
func (c *session) flushSite(site string) bool {
	if c.s.deps.Flush == nil || !syntax.InDomains(site, c.s.opts.FlushDomains) {
		c.s.deps.Log.SMTPDEtrn(site, c.st.Client())
		return c.fail("459 <" + site + ">: service unavailable")
	}
	if err := c.s.deps.Flush(site); err != nil {
		c.s.deps.Log.SMTPDConfig("ETRN "+site, err)
		return c.fail("458 Unable to queue messages")
	}
	c.reply("250 Queuing started")
	return true
}
