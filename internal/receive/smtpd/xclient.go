package smtpd

import (
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd/origin"
	"packetboat/internal/receive/smtpd/syntax"
)

// What XCLIENT and XFORWARD offer in EHLO (XCLIENT_README, XFORWARD_README).
const (
	xclientOffer  = "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
	xforwardOffer = "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"
)

// maxAttribute is the longest value of an attribute in octets.
const maxAttribute = 255

// tempUnavail is the value of a name that may be known later.
const tempUnavail = "[TEMPUNAVAIL]"

// forwarded is what XFORWARD said: who gave the next message to the client, which
// is a content filter. It stands in the log and in the envelope.
type forwarded struct {
	mail.Origin
	asked, may bool // whether the client may use it
}

// mayX tells whether the client stands in a list: for XCLIENT such as XCLIENT
// made it, for XFORWARD as it was when it was first asked about.
func (c *session) mayX(verb string) bool {
	if verb == "XCLIENT" {
		return c.inList(verb, c.s.xclient)
	}
	if !c.fwd.asked {
		c.fwd.asked, c.fwd.may = true, c.inList(verb, c.s.xforward)
	}
	return c.fwd.may
}

func (c *session) inList(verb string, list *gate.Hosts) bool {
	c.identify()
	ok, err := list.Match(c.ctx, c.st.Name, c.st.Addr)
	if err != nil {
		c.s.deps.Log.SMTPDConfig("smtpd_authorized_"+strings.ToLower(verb)+"_hosts", err)
	}
	return ok
}

// attributes reads and applies the attributes of XCLIENT or XFORWARD.
func (c *session) attributes(cmd *syntax.Command, apply func(name, value string) (known, ok bool)) bool {
	verb := strings.ToUpper(cmd.Args[0].Text)
	switch {
	case c.tx.active:
		return c.fail("503 5.5.1 Error: MAIL transaction in progress")
	case len(cmd.Args) < 2:
		return c.fail("501 5.5.4 Syntax: " + verb + " attribute=value...")
	case !c.mayX(verb):
		return c.fail("550 5.7.0 Error: insufficient authorization")
	}
	// A ":" ends a word for other commands; "IPV6:..." is one here.
	for _, arg := range strings.Fields(syntax.JoinColons(cmd.Args[1:])) {
		name, value, found := strings.Cut(arg, "=")
		switch {
		case !found || value == "":
			return c.fail("501 5.5.4 Error: attribute=value expected")
		case len(value) > maxAttribute:
			return c.fail("501 5.5.4 Error: attribute value too long")
		}
		plain, decoded := syntax.Unxtext(value)
		if !decoded {
			plain = value // which no attribute takes: a "+" stands in it
		}
		known, ok := apply(strings.ToUpper(name), plain)
		if !known {
			return c.fail("501 5.5.4 Bad " + verb + " attribute name: " + printable(name))
		}
		if !ok || !decoded {
			return c.fail("501 5.5.4 Bad " + strings.ToUpper(name) + " syntax: " + printable(plain))
		}
	}
	return true
}

// xclientCmd lets a trusted client speak for another one: all that was known of the
// client is replaced, and the session begins again with a greeting.
func (c *session) xclientCmd(cmd *syntax.Command) bool {
	c.mayX("XFORWARD") // while the client is still itself
	if !c.attributes(cmd, c.setXClient) {
		return false
	}
	c.reset()
	c.denied = false
	if v := c.connectVerdict(); v != nil {
		c.reply(v.Reply())
		c.denied = true
		return true
	}
	if refusal := c.openFilters(); refusal != "" {
		c.reply(refusal)
		return true
	}
	c.reply("220 " + c.s.opts.Banner)
	return true
}

func (c *session) setXClient(name, value string) (known, ok bool) {
	gone := strings.EqualFold(value, syntax.Unavailable)
	switch name {
	case "NAME":
		return true, setName(&c.st.Name, &c.st.NameState, value) && c.samePeer()
	case "REVERSE_NAME":
		return true, setName(&c.st.Reverse, &c.st.RevState, value)
	case "ADDR":
		a, ok := syntax.ParseAddr(value)
		if ok || gone {
			c.st.Addr, c.peer.Addr = a, a
		}
		return true, ok || gone
	case "PORT":
		p, err := strconv.ParseUint(value, 10, 16)
		c.peer.Port, c.st.Port = uint16(p), uint16(p)
		return true, err == nil || gone
	case "HELO":
		if gone {
			value = ""
		}
		c.st.Helo = syntax.Neuter(value)
		c.peer.Helo = c.st.Helo
		return true, len(value) <= maxAttribute
	case "PROTO":
		up := strings.ToUpper(value)
		if up != "SMTP" && up != "ESMTP" {
			return true, false
		}
		c.st.Proto, c.peer.Proto = up, up
		return true, true
	case "LOGIN":
		c.setLogin(value, gone)
		return true, true
	case "DESTADDR":
		_, ok := syntax.ParseAddr(value)
		return true, ok || gone
	case "DESTPORT":
		_, err := strconv.ParseUint(value, 10, 16)
		return true, err == nil || gone
	}
	return false, false
}

// setLogin believes the client about who logged in.
func (c *session) setLogin(user string, gone bool) {
	mech := "XCLIENT"
	if gone || !c.s.opts.SASL {
		user, mech = "", ""
	}
	c.st.User, c.st.Mech, c.peer.User, c.peer.SASL = user, mech, user, mech
}

// samePeer takes the name over for headers and log.
func (c *session) samePeer() bool {
	c.peer.Name = c.st.Name
	return true
}

func setName(name *string, state *policy.Lookup, value string) bool {
	switch {
	case strings.EqualFold(value, syntax.Unavailable):
		*name, *state = "unknown", policy.NameNone
	case strings.EqualFold(value, tempUnavail):
		*name, *state = "unknown", policy.NameTry
	case !syntax.ValidSite(value) || value[0] == '[':
		return false
	default:
		*name, *state = value, policy.NameOK
	}
	return true
}

// xforwardCmd takes what a content filter knows of the client before it.
func (c *session) xforwardCmd(cmd *syntax.Command) bool {
	if !c.attributes(cmd, func(name, value string) (known, ok bool) { return origin.Set(&c.fwd.Origin, name, value) }) {
		return false
	}
	c.reply("250 2.0.0 Ok")
	return true
}
