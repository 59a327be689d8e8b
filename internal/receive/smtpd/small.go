package smtpd

import (
	"packetboat/internal/receive/smtpd/syntax"
)

// rset is RFC 5321 section 4.1.1.5.
func (c *session) rset(cmd *syntax.Command) bool {
	if len(cmd.Args) != 1 {
		return c.fail("501 5.5.4 Syntax: RSET")
	}
	c.reset()
	c.reply("250 2.0.0 Ok")
	return true
}

// noop is RFC 5321 section 4.1.1.9; arguments are ignored.
func (c *session) noop(*syntax.Command) bool {
	c.reply("250 2.0.0 Ok")
	return true
}

// quit is RFC 5321 section 4.1.1.10; arguments are ignored.
func (c *session) quit(*syntax.Command) bool {
	c.reset()
	c.reply("221 2.0.0 Bye")
	c.hangup = true
	return true
}

// help is RFC 5321 section 4.1.1.8. Postfix does not know it; the RFC says that
// a server should.
func (c *session) help(*syntax.Command) bool {
	c.reply("214 2.0.0 HELO EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY ETRN QUIT")
	return true
}
