package policy

import (
	"context"
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/reply"
	"packetboat/internal/receive/policy/spec"
)

// answer is the right-hand side of an access table's entry, or the action of a
// policy server.
type answer struct {
	table string // or server
	key   string
	text  string
	about subject
}

// act does what an answer says (access(5), ACTIONS).
func (e *eval) act(ctx context.Context, a answer) result {
	verb, arg := a.text, ""
	if i := strings.IndexAny(a.text, " \t"); i >= 0 {
		verb, arg = a.text[:i], strings.TrimLeft(a.text[i:], " \t\r\n")
	}
	o := &e.p.opts
	switch upper := strings.ToUpper(verb); upper {
	case "DUNNO":
		return dunno
	case "OK", "RELAY":
		return e.permit(ctx, verb, a.about.class, a.about.value, "from "+a.table)
	case "REJECT":
		return e.denied(a.about, o.AccessReject, "5.7.1", arg)
	case "DEFER":
		return e.denied(a.about, o.AccessDefer, "4.7.1", arg)
	case "DEFER_IF_PERMIT":
		dsn, why := e.why(a.about, "4.7.1", arg, "Service unavailable")
		return e.deferIfPermit(o.AccessDefer, dsn, "%s", why)
	case "DEFER_IF_REJECT":
		dsn, why := e.why(a.about, "4.7.1", arg, "Service unavailable")
		e.deferIfReject(o.AccessDefer, dsn, "%s", why)
		return dunno
	case "WARN", "INFO":
		e.p.note(e.s, strings.ToLower(verb), arg)
		return dunno
	case "FILTER", "HOLD", "DISCARD", "REDIRECT", "BCC", "PREPEND":
		return e.delegate(ctx, upper, arg, a)
	}
	return e.codeOrList(ctx, verb, arg, a)
}

// denied refuses with a text of the administrator's.
func (e *eval) denied(about subject, code int, dsn, arg string) result {
	dsn, why := e.why(about, dsn, arg, "Access denied")
	return e.refuse(code, dsn, "%s", why)
}

// why is the enhanced code and the text of an answer, which may begin with a code
// of its own (access(5): "REJECT 5.7.9 go away").
func (e *eval) why(about subject, dsn, arg, otherwise string) (code, text string) {
	code, text = reply.Enhanced(dsn, arg)
	if text == "" {
		text = otherwise
	}
	return e.p.fixDSN(code, about.class), rejected(about.value, about.class, text)
}

// codeOrList reads what is no word of access(5): all digits permit, a reply code
// with a text refuses, anything else is a list of restrictions.
func (e *eval) codeOrList(ctx context.Context, verb, arg string, a answer) result {
	switch {
	case allDigits(a.text):
		return e.permit(ctx, verb, a.about.class, a.about.value, "from "+a.table)
	case len(verb) == 3 && arg != "" && allDigits(verb) && (verb[0] == '4' || verb[0] == '5'):
		code, _ := strconv.Atoi(verb)
		return e.denied(a.about, code, verb[:1]+".7.1", arg)
	case strings.Contains(a.text, ":"):
		e.p.deps.Log.SMTPDRestriction("access table " + a.table + " has entry with lookup table: " + a.text)
		e.p.deps.Log.SMTPDRestriction("do not specify lookup tables inside SMTPD access maps")
		e.p.deps.Log.SMTPDRestriction("define a restriction class and specify its name instead.")
		return e.fault()
	}
	l, err := e.p.parsed(a.text, e.stage)
	switch {
	case err != nil:
		e.p.deps.Log.SMTPDRestriction(err.Error())
		return e.fault()
	case len(l) == 0:
		e.p.deps.Log.SMTPDRestriction("access table " + a.table + " entry " + a.text + " has empty value")
		return permit
	}
	return e.nested(ctx, l)
}

// delegate notes what intake has to do with the message.
func (e *eval) delegate(ctx context.Context, verb, arg string, a answer) result {
	if !e.inMessage(verb, a) {
		return dunno
	}
	act := &e.s.Actions
	switch verb {
	case "FILTER":
		if e.wants(a, arg == "", "has FILTER entry without value") || e.wants(a, !strings.Contains(arg, ":"), "requires transport:destination") {
			return dunno
		}
		e.triggers(a, "filter", "triggers FILTER "+arg)
		act.Filter = arg
	case "HOLD":
		if !act.Hold {
			e.triggers(a, "hold", orElse(arg, "triggers HOLD action"))
		}
		act.Hold = true
	case "DISCARD":
		e.triggers(a, "discard", orElse(arg, "triggers DISCARD action"))
		act.Discard = true
		return e.permit(ctx, verb, a.about.class, a.about.value, "from "+a.table)
	case "REDIRECT":
		if e.wants(a, !strings.Contains(arg, "@"), "requires user@domain target") {
			return dunno
		}
		e.triggers(a, "redirect", "triggers REDIRECT "+arg)
		act.Redirect = mail.Address(arg)
	case "BCC":
		if e.wants(a, !strings.Contains(arg, "@"), "requires user@domain target") {
			return dunno
		}
		e.triggers(a, "bcc", "triggers BCC "+arg)
		if len(act.BCC) < maxExtras {
			act.BCC = append(act.BCC, mail.Address(arg))
		}
	case "PREPEND":
		if !e.wants(a, !spec.IsField(arg), "requires header: text") && len(act.Prepend) < maxExtras {
			act.Prepend = append(act.Prepend, arg)
		}
	}
	return dunno
}

// maxExtras bounds the headers and recipients that tables add to one message: a
// client with a thousand recipients can make a policy server ask for as many.
const maxExtras = 1000

// inMessage tells whether there is a message to do something with.
func (e *eval) inMessage(verb string, a answer) bool {
	switch {
	case e.s.Where == "ETRN" && verb != "PREPEND":
		e.p.deps.Log.SMTPDAccess(a.table, "action "+verb+" is unavailable in smtpd_etrn_restrictions")
	case e.s.Sender == nil:
		e.p.deps.Log.SMTPDAccess(a.table, "with smtpd_delay_reject=no, action "+verb+
			" is always skipped in Client host or Helo command restrictions")
	case verb == "PREPEND" && e.s.Where == "END-OF-MESSAGE":
		e.p.deps.Log.SMTPDAccess(a.table, "action PREPEND must be used before smtpd_end_of_data_restrictions")
	default:
		return true
	}
	return false
}

// wants complains of an entry that lacks something.
func (e *eval) wants(a answer, bad bool, what string) bool {
	if bad {
		e.p.deps.Log.SMTPDEntry(a.table, a.key, what)
	}
	return bad
}

func (e *eval) triggers(a answer, what, text string) {
	e.p.note(e.s, what, "<"+a.about.value+">: "+a.about.class+" "+text)
}

// fixDSN makes a code that speaks of an address fit what is refused.
func (p *Policy) fixDSN(dsn, class string) string {
	fixed := reply.FixDSN(dsn, class)
	if fixed != dsn {
		p.deps.Log.Info("mapping DSN status %s into %s status %s", dsn, class, fixed)
	}
	return fixed
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
