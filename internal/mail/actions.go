package mail

// Actions are what access tables, policy services, header checks and milters
// ask to be done with a message that is let in (access(5), header_checks(5)).
// receive/policy collects them in its session, receive/smtpd hands them over
// with the envelope, and receive/intake carries them out; none is stored but
// what becomes part of the envelope (Filter).
type Actions struct {
	Hold     bool      // HOLD: the message goes to the hold queue
	Discard  bool      // DISCARD: the message is accepted and thrown away
	Filter   string    // FILTER transport:nexthop; overrides content_filter
	Redirect Address   // REDIRECT: the one recipient instead of all
	BCC      []Address // BCC: more recipients
	Prepend  []string  // PREPEND: header lines without line end, in front of the message's own
}
