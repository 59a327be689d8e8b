package maillog

import (
	"fmt"
	"strconv"
)

// SMTPDConnect tells that a client has connected. client is "name[address]"
// here and below.
func (g *Log) SMTPDConnect(client string) { g.Info("connect from %s", client) }

// SMTPDPeer is what SMTPDClient tells; empty fields are left out.
type SMTPDPeer struct {
	ID, Client         string
	Method, User       string // of AUTH
	Sender             string // MAIL FROM's AUTH=
	OrigID, OrigClient string // what XFORWARD said
}

// SMTPDClient ties a queue id to the client that brings the message.
func (g *Log) SMTPDClient(c SMTPDPeer) {
	var b []byte
	for _, f := range [...]struct{ name, value string }{{"sasl_method", c.Method}, {"sasl_username", c.User},
		{"sasl_sender", c.Sender}, {"orig_queue_id", c.OrigID}, {"orig_client", c.OrigClient}} {
		if f.value != "" {
			b = append(append(append(append(b, ", "...), f.name...), '='), f.value...)
		}
	}
	g.Info("%s: client=%s%s", c.ID, c.Client, b)
}

// Refusal is what a reject line tells beside the reply.
type Refusal struct {
	ID     string // queue id; empty = NOQUEUE
	What   string // reject, reject_warning, warn, info ...
	Where  string // CONNECT, MAIL, RCPT, DATA ...
	Client string
	Text   string // the reply: "550 5.1.1 <x>: Recipient address rejected: ..."
	From   *string
	To     *string // nil = not known yet
	Proto  string
	Helo   string
}

// SMTPDReject tells of a refused command.
func (g *Log) SMTPDReject(r Refusal) {
	if r.ID == "" {
		r.ID = "NOQUEUE"
	}
	b := fmt.Appendf(nil, "%s: %s: %s", r.ID, r.What, r.Where)
	if r.Client != "" { // a before-queue filter's words name none
		b = fmt.Appendf(b, " from %s", r.Client)
	}
	b = fmt.Appendf(b, ": %s;", r.Text)
	if r.From != nil {
		b = fmt.Appendf(b, " from=<%s>", *r.From)
	}
	if r.To != nil {
		b = fmt.Appendf(b, " to=<%s>", *r.To)
	}
	if r.Proto != "" {
		b = fmt.Appendf(b, " proto=%s", r.Proto)
	}
	if r.Helo != "" {
		b = fmt.Appendf(b, " helo=<%s>", r.Helo)
	}
	g.Info("%s", b)
}

// SMTPDEnd tells why a session ended other than by QUIT: "lost connection",
// "timeout", "too many errors". where is the last command; bytes is how much of
// a message had come, or below 0 outside DATA and BDAT.
func (g *Log) SMTPDEnd(why, where, client string, bytes int64) {
	if bytes >= 0 {
		g.Info("%s after %s (%d bytes) from %s", why, where, bytes, client)
		return
	}
	g.Info("%s after %s from %s", why, where, client)
}

// Count is one command's figures for SMTPDDisconnect.
type Count struct {
	Name      string
	Good, All int
}

// SMTPDDisconnect ends a session's lines: " ehlo=1 rcpt=0/1 ... commands=3/4".
// Commands that never came are left out.
func (g *Log) SMTPDDisconnect(client string, counts []Count) {
	var b []byte
	total := Count{Name: "commands"}
	for _, c := range counts {
		if c.All > 0 {
			b = appendCount(b, c)
			total.Good += c.Good
			total.All += c.All
		}
	}
	b = appendCount(b, total)
	g.Info("disconnect from %s%s", client, b)
}

func appendCount(b []byte, c Count) []byte {
	b = append(append(append(b, ' '), c.Name...), '=')
	b = strconv.AppendInt(b, int64(c.Good), 10)
	if c.Good != c.All || c.All == 0 {
		b = strconv.AppendInt(append(b, '/'), int64(c.All), 10)
	}
	return b
}

// SMTPDPipelining tells that bytes stood behind a command that must be the last
// of a group (RFC 2920 section 3.1); early is what they were.
func (g *Log) SMTPDPipelining(where, client string, early []byte) {
	g.Info("improper command pipelining after %s from %s: %s", where, client, Escape(early, 100))
}

// SMTPDNonSMTP tells that a client speaks another language than SMTP.
func (g *Log) SMTPDNonSMTP(client string, line []byte) {
	g.Warn("non-SMTP command from %s: %s", client, Escape(line, 100))
}

// SMTPDLong tells of a command line above the limit.
func (g *Log) SMTPDLong(client string, limit int, line []byte) {
	g.Warn("%s: request longer than %d: %s...", client, limit, Escape(line, 30))
}

// SMTPDAddress tells of an address in MAIL, RCPT or VRFY that cannot be read.
func (g *Log) SMTPDAddress(client, where, arg string) {
	g.Warn("Illegal address syntax from %s in %s command: %s", client, where, arg)
}

// SMTPDSize tells that a message grew above message_size_limit.
func (g *Log) SMTPDSize(id string) { g.Warn("%s: queue file size limit exceeded", id) }

// SMTPDBadChunk tells of a BDAT that cannot be read; the session ends.
func (g *Log) SMTPDBadChunk(id, client string, line []byte) {
	g.Warn("%s: malformed BDAT command syntax from %s: %s", noQueue(id), client, Escape(line, 100))
}

// SMTPDNullChunk tells of BDAT 0 without LAST.
func (g *Log) SMTPDNullChunk(id, client string) {
	g.Warn("%s: null BDAT request from %s", noQueue(id), client)
}

// SMTPDLargeChunk tells of a BDAT above message_size_limit.
func (g *Log) SMTPDLargeChunk(id, client string) {
	g.Warn("%s: BDAT request from %s exceeds message size limit", noQueue(id), client)
}

func noQueue(id string) string {
	if id == "" {
		return "NOQUEUE"
	}
	return id
}

// SMTPDEtrn tells of a refused ETRN.
func (g *Log) SMTPDEtrn(site, client string) { g.Warn("reject: ETRN %.100s... from %s", site, client) }

// SMTPDAuthFailed tells of a refused AUTH; fail2ban counts it. user is empty
// when no name was given.
func (g *Log) SMTPDAuthFailed(client, mech, reason, user string) {
	if user == "" {
		user = "(unavailable)"
	}
	g.Warn("%s: SASL %s authentication failed: %s, sasl_username=%s", client, mech, reason, user)
}

// SMTPDAuthAborted tells that the client gave AUTH up.
func (g *Log) SMTPDAuthAborted(client, mech string) {
	g.Warn("%s: SASL %s authentication aborted", client, mech)
}

// SMTPDNoAuth tells that the authentication server could not be asked.
func (g *Log) SMTPDNoAuth(client string, err error) {
	g.Warn("%s: cannot ask the authentication server: %v", client, err)
}

// SMTPDTLS tells that TLS is set up; trust is Anonymous, Untrusted or Trusted.
func (g *Log) SMTPDTLS(trust, client, what string) {
	g.Info("%s TLS connection established from %s: %s", trust, client, what)
}

// SMTPDCert tells of a client's certificate; why says why it is not verified.
func (g *Log) SMTPDCert(client, subject, issuer, finger, pubkey, why string) {
	if why != "" {
		g.Info("certificate verification failed for %s: %s", client, why)
	}
	g.Info("%s: subject_CN=%s, issuer_CN=%s, fingerprint=%s, pkey_fingerprint=%s", client, subject, issuer, finger, pubkey)
}

// SMTPDNoCert tells that a client without a good certificate was sent away.
func (g *Log) SMTPDNoCert(client, why string) { g.Info("NOQUEUE: abort: TLS from %s: %s", client, why) }

// SMTPDNoTLS tells that a TLS handshake failed.
func (g *Log) SMTPDNoTLS(client string, why string) {
	g.Info("SSL_accept error from %s: %s", client, why)
}

// SMTPDHostname tells that a reverse name does not lead back to its address.
func (g *Log) SMTPDHostname(name, addr, why string) {
	if why != "" {
		why = ": " + why
	}
	g.Warn("hostname %s does not resolve to address %s%s", name, addr, why)
}

// SMTPDCrowd tells that a client has too many sessions.
func (g *Log) SMTPDCrowd(n int, client, service string) {
	g.Warn("Connection concurrency limit exceeded: %d from %s for service %s", n, client, service)
}

// SMTPDRate tells that a client does something too often; what is "Connection
// rate", "Message delivery request rate" and so on.
func (g *Log) SMTPDRate(what string, n int, client, service string) {
	g.Warn("%s limit exceeded: %d from %s for service %s", what, n, client, service)
}

// SMTPDRefuseTLS tells that a client made too many TLS sessions.
func (g *Log) SMTPDRefuseTLS(what, client, service string) {
	g.Warn("Refusing %s from %s for service %s", what, client, service)
}

// SMTPDUpstream tells that a load balancer did not say who the client is.
func (g *Log) SMTPDUpstream(err error) { g.Warn("haproxy read: %v", err) }

// SMTPDReplaced tells that smtpd_command_filter changed a command.
func (g *Log) SMTPDReplaced(client string, line []byte, by string) {
	g.Info("%s: replacing command \"%s\" with \"%.100s\"", client, Escape(line, 100), by)
}

// SMTPDDiscarding tells which EHLO keywords a client was not offered.
func (g *Log) SMTPDDiscarding(keywords string) { g.Info("discarding EHLO keywords: %s", keywords) }

// SMTPDFilter tells that a before-queue filter cannot be spoken to.
func (g *Log) SMTPDFilter(filter string, err error) { g.Warn("proxy filter %s: %v", filter, err) }

// SMTPDPanic tells of a fault of ours that ended one session.
func (g *Log) SMTPDPanic(client string, fault any, stack []byte) {
	g.Error("session of %s ended by a fault in this program: %v: %s", client, fault, Escape(stack, 1500))
}

// SMTPDQueue tells that a message could not be written; id may be empty.
func (g *Log) SMTPDQueue(id string, err error) { g.Warn("%s: %v", noQueue(id), err) }

// SMTPDSpace tells that the disk of the queue is all but full: free is in octets.
func (g *Log) SMTPDSpace(free int64, factor float64) {
	g.Warn("not enough free space in mail queue: %d bytes < %g*message size limit", free, factor)
}

// SMTPDConfig tells that something the administrator configured cannot be used
// at this moment: a table, a name server, a restriction's argument.
func (g *Log) SMTPDConfig(what string, err error) { g.Warn("%s: %v", what, err) }

// Escape writes at most limit bytes of s, with control and 8-bit bytes as
// Postfix's escape(3) writes them: \r, \n, \t, and \nnn in octal.
func Escape(s []byte, limit int) []byte {
	s = s[:min(len(s), limit)]
	out := make([]byte, 0, len(s)+16)
	for _, c := range s {
		switch {
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c == '\\':
			out = append(out, `\\`...)
		case c < ' ' || c >= 0x7f:
			out = fmt.Appendf(out, `\%03o`, c)
		default:
			out = append(out, c)
		}
	}
	return out
}
