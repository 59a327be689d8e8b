package smtpd

import (
	"strings"

	"packetboat/internal/receive/smtpd/syntax"
)

// vrfy is RFC 5321 section 4.1.1.6. A recipient that RCPT would take is
// answered with 252, since RFC 5321 section 3.5.1 wants more than we would tell
// for a 250; one that does not exist is refused as RCPT refuses it.
func (c *session) vrfy(cmd *syntax.Command) bool {
	switch {
	case c.s.opts.NoVRFY:
		return c.fail("502 5.5.1 VRFY command is disabled")
	case len(cmd.Args) < 2:
		return c.fail("501 5.5.4 Syntax: VRFY address [SMTPUTF8]")
	}
	args := cmd.Args[1:]
	utf8 := len(args) > 1 && strings.EqualFold(args[len(args)-1].Text, "SMTPUTF8")
	if utf8 {
		args = args[:len(args)-1]
	}
	arg := strings.Join(syntax.Words(args), " ")
	to, ok := c.address("VRFY", arg, syntax.PathRules{UTF8: utf8})
	if !ok {
		return c.fail("501 5.1.3 Bad recipient address syntax")
	}
	c.st.Rcpt = &to
	v := c.s.deps.Policy.Rcpt(c.ctx, &c.st)
	c.st.Rcpt = nil
	if v != nil {
		return c.refused(v)
	}
	c.reply("252 2.0.0 " + printable(arg))
	return true
}
