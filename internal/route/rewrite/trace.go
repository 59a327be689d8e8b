package rewrite

import "packetboat/internal/mail"

// Event is one step of a decision, for Options.Trace. mailadm explain shows them.
type Event struct {
	What  EventKind
	Param string // the parameter that was applied; "" where it is a rule of RFC 5321
	From  mail.Address
	To    []mail.Address // with Rewritten and Expanded
	Key   string         // with Found: what the tables of Param were asked
	Value string         // with Found: their answer; with Chosen: "transport:nexthop"
	Class Class          // with Classed
}

// EventKind says what an Event tells.
type EventKind uint8

// The values of EventKind.
const (
	Rewritten EventKind = iota // an address was completed: From, To
	Found                      // a table of Param answered: From, Key, Value
	Missed                     // no table of Param knows From
	Expanded                   // Found has led to To
	Classed                    // the domain of From is in Param
	Chosen                     // Param gives transport and next hop
)

func (r *Router) trace(e Event) {
	if r.o.Trace != nil {
		r.o.Trace(e)
	}
}

// rewritten tells that param made b of a, and returns b.
func (r *Router) rewritten(param, a, b string) string {
	if r.o.Trace != nil && a != b {
		r.o.Trace(Event{What: Rewritten, Param: param, From: mail.Address(a), To: []mail.Address{mail.Address(b)}})
	}
	return b
}

// looked tells of a look-up.
func (r *Router) looked(param string, a mail.Address, key, value string, found bool) {
	if r.o.Trace == nil {
		return
	}
	if !found {
		r.o.Trace(Event{What: Missed, Param: param, From: a})
		return
	}
	r.o.Trace(Event{What: Found, Param: param, From: a, Key: key, Value: value})
}

// chosen tells what gave transport and next hop.
func (r *Router) chosen(param string, rt *Route) {
	if r.o.Trace != nil {
		r.o.Trace(Event{What: Chosen, Param: param, From: rt.Addr, Value: rt.Transport + ":" + rt.Nexthop})
	}
}

// classed tells which list of domains gave the class; "" for none.
func (r *Router) classed(param string, rt *Route) {
	if r.o.Trace != nil {
		r.o.Trace(Event{What: Classed, Param: param, From: rt.Addr, Class: rt.Class})
	}
}
