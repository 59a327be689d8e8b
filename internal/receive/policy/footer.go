package policy

import (
	"context"
	"errors"
	"strings"
	"time"

	"packetboat/internal/receive/policy/reply"
	"packetboat/internal/receive/policy/template"
)

var errNoVerifier = errors.New("no probes can be sent here")

// expand fills a template with what own knows and what is known of the session.
func (p *Policy) expand(text string, s *Session, own map[string]string) (string, bool) {
	return template.Expand(text, p.filter, func(name string) (string, bool) {
		v, known := own[name]
		if !known {
			v, known = p.attribute(s, name)
		}
		if !known && name != "" {
			p.deps.Log.Warn("unknown macro name \"%s\" in expansion request", name)
		}
		return v, known
	})
}

// attribute is what is known of the session under a name.
func (p *Policy) attribute(s *Session, name string) (string, bool) {
	switch name {
	case "server_name":
		return p.opts.Hostname, true
	case "client":
		return s.Client(), true
	case "client_port":
		return portText(s.Port), true
	case "client_address":
		return s.Addr.Unmap().String(), true
	case "client_name":
		return s.Name, true
	case "reverse_client_name":
		return s.Reverse, true
	case "helo_name":
		return s.Helo, true
	case "localtime":
		return time.Now().Format("Jan 02 15:04:05"), true
	}
	if part, ok := strings.CutPrefix(name, "sender"); ok {
		return template.AddressPart(s.Sender, part)
	}
	if part, ok := strings.CutPrefix(name, "recipient"); ok {
		return template.AddressPart(s.Rcpt, part)
	}
	return "", false
}

// Final returns what has to be sent for a 4xx or 5xx reply, whoever made it: with
// soft_bounce it is a 4xx, and the text of smtpd_reject_footer_maps or
// smtpd_reject_footer stands behind it. Lines are divided by CRLF, without one at
// the end. smtpd calls it for every reply.
func (p *Policy) Final(ctx context.Context, s *Session, answer string) string {
	if p.opts.SoftBounce {
		answer = reply.Soften(answer)
	}
	if p.opts.Footer == "" && len(p.footers) == 0 || len(answer) < 4 || answer[0] != '4' && answer[0] != '5' {
		return answer
	}
	footer, found, err := p.footers.Lookup(ctx, answer)
	if err != nil {
		p.deps.Log.SMTPDConfig("smtpd_reject_footer_maps lookup error", err)
	}
	if !found {
		footer = p.opts.Footer
	}
	if footer == "" || strings.HasPrefix(answer[3:], "-") {
		return answer
	}
	return template.Footer(answer, footer, func(line string) string {
		line, _ = p.expand(line, s, nil)
		return line
	})
}
