package policy

// Event is one step of a decision, for Deps.Trace. mailadm explain shows them:
// the questions in the order in which they were asked, what a table answered,
// and what came of it.
type Event struct {
	What EventKind
	// List is the parameter that the restriction stands in, "" inside the result of
	// a table; Word counts the words of that parameter from 0. A rule that stands in
	// no list (smtpd_reject_unlisted_recipient) has its parameter as Name and Word
	// -1.
	List string
	Word int
	Name string // the restriction, as today's Postfix calls it
	Arg  string // its argument: a table, a zone
	Warn bool   // warn_if_reject stands before it

	Table, Key, Value string // with Found: which table answered which key

	// Result is "permit", "reject", "defer_if_permit", "defer_if_reject" or
	// "dunno"; with Answered and Ended.
	Result  string
	Verdict *Verdict // what the client would be told, if that is known
}

// EventKind says what an Event tells.
type EventKind uint8

// The values of EventKind.
const (
	Asked    EventKind = iota // a restriction begins; others may begin inside it
	Found                     // a table had an answer
	Answered                  // the restriction that was asked last and has no answer yet is done
	Ended                     // the command's answer was put together: defer_if_permit after all lists
)

// asked tells of a restriction's begin.
func (e *eval) asked(st *step) {
	if e.p.deps.Trace == nil {
		return
	}
	e.said = nil
	e.p.deps.Trace(Event{What: Asked, List: st.in, Word: st.word, Name: st.name, Arg: st.arg, Warn: st.warn})
}

// found tells of a table's answer.
func (e *eval) found(table, key, value string) {
	if e.p.deps.Trace != nil {
		e.p.deps.Trace(Event{What: Found, Table: table, Key: key, Value: value})
	}
}

// answered tells what became of a restriction.
func (e *eval) answered(st *step, r result) {
	if e.p.deps.Trace == nil {
		return
	}
	ev := Event{What: Answered, List: st.in, Word: st.word, Name: st.name, Arg: st.arg, Warn: e.warn,
		Result: [...]string{dunno: "dunno", permit: "permit", refuse: "reject"}[r], Verdict: e.said}
	if r == refuse && e.said == nil {
		ev.Verdict = e.verdict
	}
	if r == dunno && e.said != nil {
		ev.Result = e.how
	}
	e.said = nil
	e.p.deps.Trace(ev)
}

// ended tells that a deferral was remembered until now and is given.
func (e *eval) ended(v *Verdict) {
	if e.p.deps.Trace != nil {
		e.p.deps.Trace(Event{What: Ended, Result: "reject", Verdict: v})
	}
}

// rule runs a rule that stands in no list as if it were a restriction.
func (e *eval) rule(parameter string, ask func() result) result {
	st := &step{name: parameter, word: -1}
	e.asked(st)
	r := ask()
	e.answered(st, r)
	return r
}
