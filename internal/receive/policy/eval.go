package policy

import (
	"context"
	"fmt"

	"packetboat/internal/receive/policy/reply"
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

// The names of what is refused, as texts and log lines have them.
const (
	clientClass  = "Client host"
	reverseClass = "Unverified Client host"
	certClass    = "Client certificate"
	saslClass    = "SASL login name"
	heloClass    = "Helo command"
	senderClass  = reply.Sender
	rcptClass    = reply.Recipient
	etrnClass    = "Etrn command"
	dataClass    = "Data command"
	eodClass     = "End-of-data"
)

// eval is the asking of one command: the lists that belong to it share it.
type eval struct {
	p                  *Policy
	s                  *Session
	stage              stage
	warn               bool     // the step under way may only warn
	depth              int      // of classes and tables' results inside each other
	verdict            *Verdict // of refuse
	ifOK               *Verdict // defer_if_permit: given instead of a permission
	ifBad              *Verdict // defer_if_reject: given instead of a 5xx
	listed, fromListed bool     // whether the recipient, the sender exists has been asked
	allowed            bool     // some step of a list permitted it
	failing            bool     // a policy server's default action is being done

	said *Verdict // of the step under way, for Deps.Trace
	how  string   // what became of said
}

// run asks a list's steps in order until one decides.
func (e *eval) run(ctx context.Context, l list, at stage) result {
	e.stage = at
	for i := range l {
		// What is thrown away in the end need not be looked at further.
		if e.s.Actions.Discard {
			return dunno
		}
		r := e.step(ctx, &l[i])
		if r == permit && !l[i].forAll() {
			e.allowed = true
		}
		// Once it is clear that the answer is "try again", nothing can change it.
		if r != dunno || e.ifOK != nil && e.ifBad != nil {
			return r
		}
	}
	return dunno
}

// forAll tells that a step permits whoever comes: that says nothing good of him.
func (st *step) forAll() bool {
	return st.name == "permit" || st.name == "permit_auth_destination" || st.class != nil
}

// step asks one restriction. warn_if_reject before a class counts for all of it.
func (e *eval) step(ctx context.Context, st *step) result {
	outer := e.warn
	e.warn = outer || st.warn
	e.asked(st)
	r := st.run(ctx, e, st)
	e.answered(st, r)
	e.warn = outer
	return r
}

// runClass asks a restriction class.
func runClass(ctx context.Context, e *eval, st *step) result {
	return e.nested(ctx, st.class.at(e.stage))
}

// nested asks a list inside another one.
func (e *eval) nested(ctx context.Context, l list) result {
	if e.depth++; e.depth > maxDepth {
		e.p.deps.Log.SMTPDRestriction("restrictions name each other without end")
		return e.fault()
	}
	defer func() { e.depth-- }()
	return e.run(ctx, l, e.stage)
}

// permit lets a request through, and logs that where the administrator wants it
// (smtpd_log_access_permit_actions). class and value say for whom.
func (e *eval) permit(ctx context.Context, action, class, value, extra string) result {
	if len(e.p.opts.PermitLog) == 0 || e.ifOK != nil {
		return permit
	}
	if ok, err := e.p.permitLog.Match(ctx, action); err == nil && ok {
		e.p.note(e.s, "permit", "action="+action+" for "+class+"="+value+" "+extra)
	}
	return permit
}

// permitClient is permit for what is known of the client itself.
func (e *eval) permitClient(ctx context.Context, st *step) result {
	return e.permit(ctx, st.written, clientClass, e.s.Client(), "")
}

// permitRcpt is permit for the recipient.
func (e *eval) permitRcpt(ctx context.Context, st *step) result {
	return e.permit(ctx, st.written, rcptClass, text(e.s.Rcpt), "")
}

// refuse records and logs a refusal. Under warn_if_reject it only logs; behind
// defer_if_reject a permanent refusal becomes that deferral.
func (e *eval) refuse(code int, dsn, format string, args ...any) result {
	v := e.p.checked(reply.New(code, dsn, format, args...))
	e.said, e.how = v, "reject"
	if e.warn {
		e.p.log(e.s, "reject_warning", e.p.softened(v))
		return dunno
	}
	if e.ifBad != nil && v.Code >= 500 {
		v = e.ifBad
		e.said = v
	}
	return e.refused(v)
}

// refused logs a verdict and keeps it.
func (e *eval) refused(v *Verdict) result {
	e.verdict = e.p.softened(v)
	e.p.log(e.s, "reject", e.verdict)
	return refuse
}

// fault refuses for a fault of ours, which warn_if_reject cannot excuse.
func (e *eval) fault() result { return e.hard("4.3.5", "Server configuration error") }

func (e *eval) hard(dsn, format string, args ...any) result {
	v := reply.New(451, dsn, format, args...)
	e.said, e.how = v, "reject"
	return e.refused(v)
}

// deferIfPermit remembers a temporary fault that could have hidden a refusal.
// The first one is kept. Under warn_if_reject it only logs.
func (e *eval) deferIfPermit(code int, dsn, format string, args ...any) result {
	if e.warn {
		return e.refuse(code, dsn, format, args...)
	}
	v := e.p.checked(reply.New(code, dsn, format, args...))
	e.said, e.how = v, "defer_if_permit"
	if e.ifOK == nil {
		e.ifOK = v
	}
	return dunno
}

// tempfail does what one of the *_tempfail_action parameters says.
func (e *eval) tempfail(action string, code int, dsn, format string, args ...any) result {
	if action == "defer" {
		return e.refuse(code, dsn, format, args...)
	}
	return e.deferIfPermit(code, dsn, format, args...)
}

// deferIfReject remembers a temporary fault that could have hidden a permission.
func (e *eval) deferIfReject(code int, dsn, format string, args ...any) {
	v := e.p.checked(reply.New(code, dsn, format, args...))
	e.said, e.how = v, "defer_if_reject"
	if e.ifBad == nil {
		e.ifBad = v
	}
}

// finish turns what the lists left into the answer for the command: a
// permission behind defer_if_permit is a deferral.
func (e *eval) finish(r result) *Verdict {
	if r == refuse {
		return e.verdict
	}
	if e.ifOK != nil {
		e.ended(e.ifOK)
		v := e.ifOK
		if e.ifBad != nil && v.Code >= 500 {
			v = e.ifBad
		}
		e.refused(v)
		return e.verdict
	}
	return nil
}

// checked puts a general refusal in the place of one whose codes nobody may send.
func (p *Policy) checked(v *Verdict) *Verdict {
	switch {
	case v.Code < 400 || v.Code > 599:
		p.deps.Log.Warn("SMTP reply code configuration error: %s", v.Reply())
	case !reply.IsDSN(v.DSN):
		p.deps.Log.Warn("DSN detail code configuration error: %s", v.Reply())
	default:
		return v
	}
	return &Verdict{Code: 450, DSN: "4.7.1", Text: "Service unavailable"}
}

// softened applies soft_bounce.
func (p *Policy) softened(v *Verdict) *Verdict {
	if !p.opts.SoftBounce || v.Code < 500 {
		return v
	}
	return &Verdict{Code: v.Code - 100, DSN: "4" + v.DSN[1:], Text: v.Text}
}

func (p *Policy) eval(s *Session, carried *Verdict) *eval {
	return &eval{p: p, s: s, ifOK: carried}
}

// subject names what a general restriction refuses, as its text says: the value
// and "Sender address", "Recipient address" and so on.
func (e *eval) subject() (value, class string) {
	switch e.stage {
	case atHelo:
		return e.s.Helo, heloClass
	case atSender:
		return text(e.s.Sender), senderClass
	case atRcpt:
		return text(e.s.Rcpt), rcptClass
	case atData:
		return "DATA", dataClass
	case atEOD:
		return "END-OF-MESSAGE", eodClass
	case atEtrn:
		return e.s.Site, etrnClass
	}
	return e.s.Client(), clientClass
}

// rejected is the text of most refusals.
func rejected(value, class, why string) string {
	return fmt.Sprintf("<%s>: %s rejected: %s", value, class, why)
}
