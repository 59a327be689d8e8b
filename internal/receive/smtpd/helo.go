package smtpd

import (
	"strings"

	"packetboat/internal/receive/smtpd/syntax"
)

// greetName takes the argument of HELO or EHLO; false when there is none.
func (c *session) greetName(cmd *syntax.Command) bool {
	if len(cmd.Args) < 2 {
		return false
	}
	name := cmd.Rest(1)
	c.reset()
	// It goes into headers and log lines, between brackets and before others' words.
	c.st.Helo = syntax.Neuter(printable(name))
	c.peer.Helo = c.st.Helo
	return true
}

// helo is RFC 5321 section 4.1.1.1 without extensions.
func (c *session) helo(cmd *syntax.Command) bool {
	old, proto := c.st.Helo, c.st.Proto
	if !c.greetName(cmd) {
		return c.fail("501 Syntax: HELO hostname")
	}
	if !c.askHelo(old, "SMTP") || !c.filterHelo(cmd.Rest(1), proto) {
		return false
	}
	c.reply("250 " + c.s.opts.Hostname)
	return true
}

// ehlo is RFC 5321 section 4.1.1.1. Replies to HELO and EHLO have no enhanced
// codes (RFC 2034 section 4).
func (c *session) ehlo(cmd *syntax.Command) bool {
	old, proto := c.st.Helo, c.st.Proto
	if !c.greetName(cmd) {
		return c.fail("501 Syntax: EHLO hostname")
	}
	if !c.askHelo(old, "ESMTP") || !c.filterHelo(cmd.Rest(1), proto) {
		return false
	}
	c.offer = c.discarded()
	if l := c.offer.List(); l != "" && !c.offer.Silent {
		c.s.deps.Log.SMTPDDiscarding(l)
	}
	lines := c.keywords()
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		c.reply("250" + sep + l)
	}
	return true
}

// askHelo asks the access list; after a refusal the former name stands.
func (c *session) askHelo(old, proto string) bool {
	c.st.Proto = proto
	if v := c.s.deps.Policy.Helo(c.ctx, &c.st); v != nil {
		c.st.Helo, c.peer.Helo = old, old
		return c.refused(v)
	}
	c.peer.Proto = proto
	return true
}

// keywords are the lines of an EHLO reply in Postfix's order.
func (c *session) keywords() []string {
	o, f := &c.s.opts, c.offer
	size := "SIZE"
	if o.SizeLimit > 0 {
		size += " " + itoa(o.SizeLimit)
	}
	lines := append(make([]string, 0, 16), o.Hostname)
	add := func(on bool, keyword, line string) {
		if on && f.Has(keyword) {
			lines = append(lines, line)
		}
	}
	add(true, "PIPELINING", "PIPELINING")
	add(true, "SIZE", size)
	add(!o.NoVRFY, "VRFY", "VRFY")
	add(true, "ETRN", "ETRN")
	add(c.canTLS(), "STARTTLS", "STARTTLS")
	mechs := ""
	if c.canAuth() && !c.authException() {
		mechs = strings.Join(c.mechs(), " ")
	}
	add(mechs != "", "AUTH", "AUTH "+mechs)
	add(mechs != "" && o.BrokenSASL, "AUTH", "AUTH="+mechs)
	add(len(o.XClient) > 0 && c.mayX("XCLIENT"), "XCLIENT", xclientOffer)
	add(len(o.XForward) > 0 && c.mayX("XFORWARD"), "XFORWARD", xforwardOffer)
	add(true, "ENHANCEDSTATUSCODES", "ENHANCEDSTATUSCODES")
	add(true, "8BITMIME", "8BITMIME")
	add(true, "DSN", "DSN")
	add(!no(o.NoUTF8), "SMTPUTF8", "SMTPUTF8")
	add(true, "CHUNKING", "CHUNKING")
	// Postfix 3.7 ends here. RFC 3030 section 3 allows BINARYMIME with CHUNKING only. RFC 8689 section 2 wants REQUIRETLS inside TLS only;
	// RFC 9422 lets a client know how many recipients a transaction may have.
	add(c.offersBinary(), "BINARYMIME", "BINARYMIME")
	add(c.st.TLS, "REQUIRETLS", "REQUIRETLS")
	add(true, "LIMITS", "LIMITS RCPTMAX="+itoa(int64(o.RcptLimit)))
	return lines
}

// offersBinary tells whether messages may be binary. A before-queue filter gets
// what the client said of the message, so that it would have to be one of those.
func (c *session) offersBinary() bool {
	return c.st.Proto == "ESMTP" && c.offer.Has("CHUNKING") && c.offer.Has("BINARYMIME") && c.s.opts.Filter == ""
}

// printable replaces control bytes by "?", for logs and headers.
func printable(s string) string {
	if strings.IndexFunc(s, syntax.IsControl) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if syntax.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}
