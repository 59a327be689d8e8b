package smtpd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd/syntax"
)

// limits are the parameters that postconf(5) makes stricter under stress, when
// nearly all sessions are taken (STRESS_README).
type limits struct {
	timeout, startTLS time.Duration
	hard, junk        int
}

func (o *Options) limits() limits {
	return limits{o.Timeout, o.StartTLSTimeout, o.HardErrors, o.JunkLimit}
}

// limits returns those that hold at this moment.
func (c *session) limits() limits {
	if c.s.stressed.Load() {
		return c.s.stress
	}
	return c.s.calm
}

// stressAt is the part of MaxSessions above which the limits of stress hold, in
// percent.
const stressAt = 90

// weigh finds out whether there is stress; s.mu is held.
func (s *Server) weigh() { s.stressed.Store(len(s.all)*100 >= s.opts.MaxSessions*stressAt) }

// hosts opens the lists of clients.
func (s *Server) hosts() (err error) {
	for _, l := range []struct {
		into  **gate.Hosts
		name  string
		words []string
	}{
		{&s.exempt, "smtpd_client_event_limit_exceptions", s.opts.ClientExempt},
		{&s.xclient, "smtpd_authorized_xclient_hosts", s.opts.XClient},
		{&s.xforward, "smtpd_authorized_xforward_hosts", s.opts.XForward},
		{&s.noAuth, "smtpd_sasl_exceptions_networks", s.opts.SASLExcept},
		{&s.bareOK, "smtpd_forbid_bare_newline_exclusions", s.opts.BareExempt},
	} {
		if *l.into, err = gate.NewHosts(l.words, s.deps.Table); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if s.opts.CommandFilter != "" {
		if s.filter, err = s.openTable(s.opts.CommandFilter); err != nil {
			return fmt.Errorf("smtpd_command_filter: %w", err)
		}
	}
	for _, w := range s.opts.Forbidden {
		if !strings.Contains(w, ":") {
			continue
		}
		t, err := s.openTable(w)
		if err != nil {
			return fmt.Errorf("smtpd_forbidden_commands: %w", err)
		}
		s.bad = append(s.bad, t)
	}
	for _, spec := range s.opts.DiscardMaps {
		t, err := s.openTable(spec)
		if err != nil {
			return fmt.Errorf("smtpd_discard_ehlo_keyword_address_maps: %w", err)
		}
		s.discard = append(s.discard, t)
	}
	return nil
}

func (s *Server) openTable(spec string) (gate.Table, error) {
	if s.deps.Table == nil {
		return nil, fmt.Errorf("table %q cannot be used here", spec)
	}
	return s.deps.Table(spec)
}

// spared tells whether no limits hold for this client.
func (c *session) spared() bool {
	c.identify()
	ok, err := c.s.exempt.Match(c.ctx, c.st.Name, c.st.Addr)
	if err != nil {
		c.s.deps.Log.SMTPDConfig("smtpd_client_event_limit_exceptions", err)
	}
	return ok
}

// tooOften counts an event and tells whether its client went over the limit,
// which is logged; what names the event as Postfix does.
func (c *session) tooOften(e gate.Event, limit int, what string) bool {
	if c.s.deps.Anvil == nil || limit <= 0 || c.spared() {
		return false
	}
	n := c.s.deps.Anvil.Count(e, c.s.opts.Entry, c.st.Addr)
	if n <= limit {
		return false
	}
	c.s.deps.Log.SMTPDRate(what, n, c.st.Client(), c.s.opts.Entry)
	return true
}

// discarded returns the EHLO keywords that are left out for this client
// (smtpd_discard_ehlo_keyword_address_maps before smtpd_discard_ehlo_keywords).
func (c *session) discarded() syntax.Keywords {
	for _, t := range c.s.discard {
		v, ok, err := t.Lookup(context.WithoutCancel(c.ctx), c.st.Addr.Unmap().String())
		if err != nil {
			c.s.deps.Log.SMTPDConfig("smtpd_discard_ehlo_keyword_address_maps", err)
			return syntax.Keywords{All: true}
		}
		if ok {
			return syntax.NewKeywords(syntax.Fields(v))
		}
	}
	return c.s.ehlo
}

// replace runs a command line through smtpd_command_filter (postconf(5)).
func (c *session) replace(line []byte) ([]byte, error) {
	if c.s.filter == nil {
		return line, nil
	}
	for len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		line = line[1:]
	}
	v, ok, err := c.s.filter.Lookup(c.ctx, string(line))
	if err != nil || !ok {
		return line, err
	}
	c.s.deps.Log.SMTPDReplaced(c.st.Client(), line, v)
	return []byte(v), nil
}
