package smtpd

import (
	"packetboat/internal/receive/smtpd/syntax"
)

// etrn is RFC 1985. No site has a queue of its own here (fast_flush_domains is
// empty), so every site is refused as Postfix refuses those it keeps none for.
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
	c.s.deps.Log.SMTPDEtrn(site, c.st.Client())
	return c.fail("459 <" + site + ">: service unavailable")
}
