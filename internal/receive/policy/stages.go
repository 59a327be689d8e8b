package policy

import (
	"context"
	"strings"
	"time"
)

func (p *Policy) delayed() bool { return yes(p.opts.DelayReject) }

// AsksAtConnect tells whether Connect can refuse at all. If not, the greeting
// need not wait for the client's name.
func (p *Policy) AsksAtConnect() bool { return !p.delayed() && len(p.client) > 0 }

// Connect is asked before the greeting.
func (p *Policy) Connect(ctx context.Context, s *Session) *Verdict {
	if p.delayed() {
		return nil
	}
	return p.askClient(ctx, s)
}

// Helo is asked at HELO and EHLO, when s.Helo is set.
func (p *Policy) Helo(ctx context.Context, s *Session) *Verdict {
	if p.delayed() {
		return nil
	}
	return p.askHelo(ctx, s)
}

// Mail is asked at MAIL FROM, when s.Sender is set.
func (p *Policy) Mail(ctx context.Context, s *Session) *Verdict {
	if p.delayed() {
		return nil
	}
	return p.askSender(ctx, s)
}

func (p *Policy) askClient(ctx context.Context, s *Session) *Verdict {
	e := p.eval(s, nil)
	r := e.run(ctx, p.client, atClient)
	s.afterClient = e.ifOK
	return onlyRefusal(e, r)
}

func (p *Policy) askHelo(ctx context.Context, s *Session) *Verdict {
	if s.Helo == "" {
		s.afterHelo = s.afterClient
		return nil
	}
	e := p.eval(s, s.afterClient)
	r := e.run(ctx, p.helo, atHelo)
	s.afterHelo = e.ifOK
	return onlyRefusal(e, r)
}

func (p *Policy) askSender(ctx context.Context, s *Session) *Verdict {
	s.afterSender = s.afterHelo
	if s.Sender == nil {
		return nil
	}
	e := p.eval(s, s.afterHelo)
	r := e.run(ctx, p.sender, atSender)
	if r != refuse && p.opts.UnlistedFrom && !e.fromListed && !s.Actions.Discard {
		r = e.rule("smtpd_reject_unlisted_sender", func() result { return e.unlistedSender(ctx) })
	}
	s.afterSender = e.ifOK
	return onlyRefusal(e, r)
}

// onlyRefusal leaves defer_if_permit to the recipient lists.
func onlyRefusal(e *eval, r result) *Verdict {
	if r == refuse {
		return e.verdict
	}
	return nil
}

// earlier asks the lists that smtpd_delay_reject has put off.
func (p *Policy) earlier(ctx context.Context, s *Session) *Verdict {
	if !p.delayed() {
		return nil
	}
	for _, ask := range []func(context.Context, *Session) *Verdict{p.askClient, p.askHelo, p.askSender} {
		if v := ask(ctx, s); v != nil {
			return v
		}
	}
	return nil
}

// Rcpt is asked at RCPT TO and VRFY, when s.Rcpt is set. A recipient that does
// not exist is refused here, so that it is never bounced later.
func (p *Policy) Rcpt(ctx context.Context, s *Session) *Verdict {
	// RFC 5321 section 4.5.1: whoever has trouble with us must reach postmaster.
	if strings.EqualFold(string(*s.Rcpt), "postmaster") {
		return nil
	}
	if v := p.earlier(ctx, s); v != nil {
		return v
	}
	lists := []list{p.relay, p.rcpt}
	if strings.EqualFold(p.opts.RelayFirst, "no") {
		lists = []list{p.rcpt, p.relay}
	}
	e := p.eval(s, s.afterSender)
	for _, l := range lists {
		// A permission satisfies its own list only: the other is asked too.
		if e.run(ctx, l, atRcpt) == refuse {
			return e.verdict
		}
	}
	if v := e.finish(dunno); v != nil {
		return v
	}
	if s.Actions.Discard {
		return nil
	}
	if yes(p.opts.UnlistedRcpt) && !e.listed &&
		e.rule("smtpd_reject_unlisted_recipient", func() result { return e.unlistedRcpt(ctx) }) == refuse {
		return e.verdict
	}
	if p.opts.Greylist && e.rule("smtpd_greylist", func() result { return e.greylist(ctx, time.Now()) }) == refuse {
		return e.verdict
	}
	return nil
}

// Data is asked at DATA and the first BDAT.
func (p *Policy) Data(ctx context.Context, s *Session) *Verdict {
	e := p.eval(s, nil)
	return e.finish(e.run(ctx, p.data, atData))
}

// EndOfData is asked when the message has come, before it is committed.
func (p *Policy) EndOfData(ctx context.Context, s *Session) *Verdict {
	e := p.eval(s, nil)
	return e.finish(e.run(ctx, p.eod, atEOD))
}

// Etrn is asked at ETRN, when s.Site is set.
func (p *Policy) Etrn(ctx context.Context, s *Session) *Verdict {
	if p.delayed() {
		for _, ask := range []func(context.Context, *Session) *Verdict{p.askClient, p.askHelo} {
			if v := ask(ctx, s); v != nil {
				return v
			}
		}
	}
	e := p.eval(s, s.afterHelo)
	return e.finish(e.run(ctx, p.etrn, atEtrn))
}
