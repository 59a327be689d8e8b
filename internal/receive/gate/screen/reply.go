package screen

import (
	"context"
	"net"
	"strconv"
	"time"

	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/policy/reply"
	"packetboat/internal/receive/policy/template"
	"packetboat/internal/receive/smtpd/syntax"
)

// soft makes a refusal for good one for now, with soft_bounce.
func (s *Screen) soft(line string) string {
	if s.o.Soft {
		return reply.Soften(line)
	}
	return line
}

// final makes of a 4xx or 5xx reply what the client gets: softer with
// soft_bounce, and with the text of postscreen_reject_footer_maps or
// postscreen_reject_footer behind it.
func (c *client) final(line string) string {
	s := c.s
	if len(line) < 4 || line[0] != '4' && line[0] != '5' {
		return line
	}
	line = s.soft(line)
	footer := s.o.Footer
	if len(s.footers) > 0 {
		v, ok, err := first(s.footers, line)
		switch {
		case err != nil:
			s.d.Log.SMTPDConfig("postscreen_reject_footer_maps lookup error", err)
		case ok:
			footer = v
		}
	}
	if footer == "" {
		return line
	}
	return template.Footer(line, footer, func(text string) string {
		text, _ = template.Expand(text, s.filterFooter, c.macro)
		return text
	})
}

// macro is what a footer may name. It is less than smtpd knows: that is all that
// postscreen(8) expands, and others stand for nothing.
func (c *client) macro(name string) (string, bool) {
	_, port, _ := net.SplitHostPort(c.end)
	switch name {
	case "server_name":
		return c.s.o.Hostname, true
	case "client_address":
		return c.addr.String(), true
	case "client_port":
		return port, true
	case "localtime":
		return time.Now().Format("Jan 02 15:04:05"), true
	}
	c.s.d.Log.Warn("unknown macro name %s in expansion request", strconv.Quote(name))
	return "", true
}

// first asks tables in their order.
func first(tables []gate.Table, key string) (string, bool, error) {
	for _, t := range tables {
		if v, ok, err := t.Lookup(context.Background(), key); ok || err != nil {
			return v, ok, err
		}
	}
	return "", false, nil
}

// hides returns the EHLO keywords that a client is not offered:
// postscreen_discard_ehlo_keyword_address_maps before
// postscreen_discard_ehlo_keywords. Of the first the log is told when EHLO comes.
func (s *Screen) hides(c *client) syntax.Keywords {
	v, ok, err := first(s.discard, c.addr.String())
	switch {
	case err != nil:
		s.d.Log.SMTPDConfig("postscreen_discard_ehlo_keyword_address_maps", err)
		return syntax.Keywords{All: true}
	case ok:
		c.own = true
		return syntax.NewKeywords(syntax.Fields(v))
	}
	return s.hidden
}

// limits are the parameters that postconf(5) makes stricter under stress.
type limits struct{ wait, timeout time.Duration }

// limits returns those that hold at this moment.
func (s *Screen) limits() limits {
	if s.o.Stress != nil && s.stressed.Load() {
		return limits{s.o.Stress.Wait, s.o.Stress.Timeout}
	}
	return limits{s.o.Wait, s.o.Timeout}
}

// weigh finds out whether there is stress: it begins at nine tenths of the places
// and ends at seven, so that it does not come and go with each client. s.mu is held.
func (s *Screen) weigh() {
	switch on := s.stressed.Load(); {
	case !on && s.testing >= s.o.Queue*9/10 && s.testing > 0:
		s.stressed.Store(true)
		s.d.Log.ScreenStress("entering", s.testing)
	case on && s.testing <= s.o.Queue*7/10:
		s.stressed.Store(false)
		s.d.Log.ScreenStress("leaving", s.testing)
	}
}

// openReplies opens what replies are made with.
func (s *Screen) openReplies() (err error) {
	s.hidden = syntax.NewKeywords(s.o.Discard)
	if s.filterFooter = template.Unescape(s.o.Expansion); s.o.Expansion == "" {
		s.filterFooter = ""
	}
	if s.footers, err = s.tables("postscreen_reject_footer_maps", s.o.FooterMaps); err != nil {
		return err
	}
	s.discard, err = s.tables("postscreen_discard_ehlo_keyword_address_maps", s.o.DiscardMaps)
	return err
}
