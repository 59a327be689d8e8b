package policy

import (
	"context"
	"fmt"
	"strings"

	"packetboat/internal/mail"
)

// stage is the access list under way; it decides what bare tables look up and
// which address a general restriction speaks of.
type stage uint8

const (
	atClient stage = iota
	atHelo
	atSender
	atRcpt
	atData
	atEOD
	atEtrn
)

// result is what one restriction says.
type result uint8

const (
	dunno  result = iota // ask the next one
	permit               // this list is satisfied
	refuse               // eval.verdict says how
)

// check is one restriction's work.
type check func(ctx context.Context, e *eval, st *step) result

// step is one restriction of a compiled list.
type step struct {
	name  string
	arg   string
	run   check
	table Table  // of check_*_access
	warn  bool   // warn_if_reject stands before it
	in    string // parameter that it stands in; "" in a table's result
	word  int    // its place there, from 0
}

type list []step

// eval is the asking of one command: the lists that belong to it share it.
type eval struct {
	p       *Policy
	s       *Session
	stage   stage
	warn    bool     // the step under way may only warn
	verdict *Verdict // of refuse
	ifOK    *Verdict // defer_if_permit: given instead of a permission
	ifBad   *Verdict // defer_if_reject: given instead of a 5xx
	listed  bool     // the recipient's existence has been asked
	said    *Verdict // of the step under way, for Deps.Trace
}

// compile turns the words of a list into steps.
func (p *Policy) compile(words []string, at stage) (list, error) {
	var out list
	table := entries()
	warn := false
	for i := 0; i < len(words); i++ {
		name, begin := strings.ToLower(words[i]), i
		if name == "warn_if_reject" {
			warn = true
			continue
		}
		// A bare table means the access check of the list it stands in.
		if strings.Contains(name, ":") {
			name = bareTable(at)
			i--
		}
		e, ok := table[name]
		if !ok {
			return nil, fmt.Errorf("unknown smtpd restriction: %q", words[i])
		}
		st := step{name: name, run: e.run, warn: warn, word: begin}
		warn = false
		if e.arg != noArg {
			if i++; i >= len(words) {
				return nil, fmt.Errorf("restriction %q needs an argument", name)
			}
			st.arg = words[i]
		}
		if e.arg == tableArg {
			t, err := p.open(st.arg)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			st.table = t
		}
		out = append(out, st)
	}
	return out, nil
}

func (p *Policy) open(spec string) (Table, error) {
	if p.deps.Open == nil {
		return nil, fmt.Errorf("no tables can be opened here, not %q", spec)
	}
	return p.deps.Open(spec)
}

func bareTable(at stage) string {
	switch at {
	case atHelo:
		return "check_helo_access"
	case atSender:
		return "check_sender_access"
	case atRcpt:
		return "check_recipient_access"
	case atEtrn:
		return "check_etrn_access"
	}
	return "check_client_access"
}

// run asks a list's steps in order until one decides.
func (e *eval) run(ctx context.Context, l list, at stage) result {
	e.stage = at
	for i := range l {
		e.warn = l[i].warn
		e.asked(&l[i])
		r := l[i].run(ctx, e, &l[i])
		e.answered(&l[i], r)
		switch {
		case r == refuse && e.warn:
			e.verdict = nil // it was logged; go on
		case r != dunno:
			return r
		}
	}
	e.warn = false
	return dunno
}

// refuse records and logs a refusal. Under warn_if_reject it only logs; behind
// defer_if_reject a permanent refusal becomes that deferral.
func (e *eval) refuse(code int, dsn, format string, args ...any) result {
	v := verdict(code, dsn, format, args...)
	e.said = v
	switch {
	case e.warn:
		e.p.log(e.s, "reject_warning", v)
	case e.ifBad != nil && v.Code >= 500:
		e.verdict, e.said = e.ifBad, e.ifBad
		e.p.log(e.s, "reject", e.verdict)
	default:
		e.verdict = v
		e.p.log(e.s, "reject", v)
	}
	return refuse
}

// deferIfPermit remembers a temporary fault that could have hidden a refusal.
// The first one is kept. Under warn_if_reject it only logs.
func (e *eval) deferIfPermit(code int, dsn, format string, args ...any) result {
	v := verdict(code, dsn, format, args...)
	e.said = v
	switch {
	case e.warn:
		e.p.log(e.s, "reject_warning", v)
	case e.ifOK == nil:
		e.ifOK = v
	}
	return dunno
}

// finish turns what the lists left into the answer for the command: a
// permission behind defer_if_permit is a deferral.
func (e *eval) finish(r result) *Verdict {
	if r == refuse {
		return e.verdict
	}
	if e.ifOK != nil {
		e.ended(e.ifOK)
		e.p.log(e.s, "reject", e.ifOK)
		return e.ifOK
	}
	return nil
}

func (p *Policy) eval(s *Session, carried *Verdict) *eval {
	return &eval{p: p, s: s, ifOK: carried}
}

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
	if r != refuse && p.opts.UnlistedFrom {
		if e.rule("smtpd_reject_unlisted_sender", func() result { return e.unlistedSender(ctx) }) == refuse {
			r = refuse
		}
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
	if yes(p.opts.UnlistedRcpt) && !e.listed &&
		e.rule("smtpd_reject_unlisted_recipient", func() result { return e.unlistedRcpt(ctx) }) == refuse {
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

// what names what a general restriction refuses, as its text says: the value
// and "Sender address", "Recipient address" and so on.
func (e *eval) what() (value, class string) {
	switch e.stage {
	case atHelo:
		return e.s.Helo, "Helo command"
	case atSender:
		return text(e.s.Sender), "Sender address"
	case atRcpt:
		return text(e.s.Rcpt), "Recipient address"
	case atData:
		return "DATA", "Data command"
	case atEOD:
		return "END-OF-MESSAGE", "End-of-data"
	case atEtrn:
		return e.s.Site, "Etrn command"
	}
	return e.s.Client(), "Client host"
}

func text(a *mail.Address) string {
	if a == nil {
		return ""
	}
	return string(*a)
}
