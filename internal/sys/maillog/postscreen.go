package maillog

import (
	"strconv"
	"time"
)

// The lines of postscreen(8). end is "[address]:port" of the client throughout.

// ScreenConnect tells of a new client.
func (g *Log) ScreenConnect(end, server string) { g.Info("CONNECT from %s to %s", end, server) }

// ScreenListed tells that an access list decided: ALLOWLISTED or DENYLISTED.
func (g *Log) ScreenListed(what, end string) { g.Info("%s %s", what, end) }

// ScreenPass tells that a client goes on to smtpd; what is NEW or OLD.
func (g *Log) ScreenPass(what, end string) { g.Info("PASS %s %s", what, end) }

// ScreenPregreet tells that a client spoke before it was greeted.
func (g *Log) ScreenPregreet(n int, after time.Duration, end string, data []byte) {
	g.Info("PREGREET %d after %s from %s: %s", n, Delta(after), end, Escape(data, 100))
}

// ScreenDNSBL tells a client's score above the threshold.
func (g *Log) ScreenDNSBL(rank int, end string) { g.Info("DNSBL rank %d for %s", rank, end) }

// ScreenHangup tells that a client left during the tests.
func (g *Log) ScreenHangup(after time.Duration, end, during string) {
	g.Info("HANGUP after %s from %s in %s", Delta(after), end, during)
}

// ScreenPipelining tells that a client did not wait for an answer.
func (g *Log) ScreenPipelining(end, after string, data []byte) {
	g.Info("COMMAND PIPELINING from %s after %.100s: %s", end, after, Escape(data, 100))
}

// ScreenNonSMTP tells that a client speaks another language.
func (g *Log) ScreenNonSMTP(end, after string, line []byte) {
	g.Info("NON-SMTP COMMAND from %s after %s: %s", end, after, Escape(line, 100))
}

// ScreenBareNewline tells that a line ended in LF alone.
func (g *Log) ScreenBareNewline(end, after string) {
	g.Info("BARE NEWLINE from %s after %s", end, after)
}

// ScreenLimit tells that a client was cut off; what is COMMAND COUNT LIMIT,
// COMMAND LENGTH LIMIT or COMMAND TIME LIMIT.
func (g *Log) ScreenLimit(what, end, after string) { g.Info("%s from %s after %s", what, end, after) }

// ScreenNoRcpt tells of DATA or BDAT without a recipient.
func (g *Log) ScreenNoRcpt(verb, end string) { g.Info("%s without valid RCPT from %s", verb, end) }

// ScreenReject tells of a refused recipient.
func (g *Log) ScreenReject(end, reply, from, to, proto, helo string) {
	g.Info("NOQUEUE: reject: RCPT from %s: %s; from=<%s>, to=<%s>, proto=%s, helo=<%s>", end, reply, from, to, proto, helo)
}

// ScreenCrowd tells that a client has too many connections.
func (g *Log) ScreenCrowd(end string) {
	g.Info("NOQUEUE: reject: CONNECT from %s: too many connections", end)
}

// ScreenBusy tells that all clients together have too many.
func (g *Log) ScreenBusy(end string) {
	g.Info("reject: connect from %s: all screening ports busy", end)
}

// ScreenStress tells that there is not much room left, or enough again; what is
// entering or leaving.
func (g *Log) ScreenStress(what string, clients int) {
	g.Info("%s STRESS mode with %d connections", what, clients)
}

// ScreenDiscarding tells which EHLO keywords a table hides from a client. There
// is no colon in front of the port: so the line of postscreen(8) is.
func (g *Log) ScreenDiscarding(addr, port, keywords string) {
	g.Info("[%s]%s: discarding EHLO keywords: %s", addr, port, keywords)
}

// ScreenDisconnect ends the lines of a client that smtpd never sees.
func (g *Log) ScreenDisconnect(end string) { g.Info("DISCONNECT %s", end) }

// Delta writes a time as Postfix writes delays: two digits that count below
// ten seconds, whole seconds above.
func Delta(d time.Duration) string {
	s := d.Seconds()
	switch {
	case s <= 0:
		return "0"
	case s < 0.01:
		return "0.01"
	case s < 10:
		b := strconv.FormatFloat(s, 'f', 2, 64)
		if s >= 1 {
			b = strconv.FormatFloat(s, 'f', 1, 64)
		}
		return b
	}
	return strconv.FormatFloat(s, 'f', 0, 64)
}
