// Package milter is the MTA's side of Sendmail's milter protocol, versions 2, 3,
// 4 and 6, as MILTER_README describes it: several milters in order, all events,
// macros, negotiation, modifications, per-milter settings, and what happens when
// a milter does not answer.
//
// The client of emersion/go-milter v0.5.0 was weighed and is not used: it offers
// the milter no quarantine and no SETSYMLIST, knows neither unknown nor DATA
// events nor SKIP for headers, gathers all modifications of a message (a whole
// replaced body) in memory, loses what a milter said before an error, and has one
// time limit for all.
//
// receive/smtpd opens a Session for each connection; receive/intake gives it the
// message and carries out what it wants (Editor). Of a message a Session holds one
// header field and 64 KiB of the body; of a milter's answer 128 KiB.
package milter
