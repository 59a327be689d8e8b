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

// noAuthority answers XCLIENT and XFORWARD to clients that may not use them.
func (c *session) noAuthority(*syntax.Command) bool {
	return c.fail("550 5.7.0 Error: insufficient authorization")
}
