package smtpd

import (
	"strings"

	"packetboat/internal/receive/smtpd/syntax"
)

// verb is one SMTP command.
type verb struct {
	name   string
	log    string                               // its name in "disconnect from"
	run    func(*session, *syntax.Command) bool // false: it was refused
	junk   bool                                 // counts against smtpd_junk_command_limit
	preTLS bool                                 // allowed before STARTTLS where TLS is required
	last   bool                                 // nothing may follow before its reply (RFC 2920)
}

const nVerbs = 16

// verbs in the order in which "disconnect from" lists them.
var verbs = [nVerbs]verb{
	{name: "HELO", log: "helo", run: (*session).helo, junk: true, preTLS: true, last: true},
	{name: "EHLO", log: "ehlo", run: (*session).ehlo, junk: true, preTLS: true, last: true},
	{name: "XCLIENT", log: "xclient", run: (*session).xclientCmd, preTLS: true},
	{name: "XFORWARD", log: "xforward", run: (*session).xforwardCmd},
	{name: "STARTTLS", log: "starttls", run: (*session).starttls, preTLS: true},
	{name: "AUTH", log: "auth", run: (*session).auth},
	{name: "MAIL", log: "mail", run: (*session).mail},
	{name: "RCPT", log: "rcpt", run: (*session).rcpt},
	{name: "DATA", log: "data", run: (*session).data, last: true},
	{name: "BDAT", log: "bdat", run: (*session).bdat},
	{name: "RSET", log: "rset", run: (*session).rset, junk: true},
	{name: "NOOP", log: "noop", run: (*session).noop, junk: true, preTLS: true, last: true},
	{name: "VRFY", log: "vrfy", run: (*session).vrfy, junk: true, last: true},
	{name: "ETRN", log: "etrn", run: (*session).etrn, junk: true},
	{name: "QUIT", log: "quit", run: (*session).quit, preTLS: true},
	{name: "HELP", log: "help", run: (*session).help, junk: true, preTLS: true, last: true},
}

// findVerb returns the index of a verb, -1 for unknown ones.
func findVerb(word string) int {
	for i := range verbs {
		if strings.EqualFold(verbs[i].name, word) {
			return i
		}
	}
	return -1
}
