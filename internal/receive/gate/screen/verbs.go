package screen

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/smtpd/syntax"
)

// run answers a command as postscreen does: nothing is ever accepted.
func (d *dialogue) run(verb string, args string) {
	switch verb {
	case "HELO", "EHLO":
		d.greet(verb, args)
	case "STARTTLS":
		d.startTLS(args)
	case "MAIL":
		d.mail(args)
	case "RCPT":
		d.rcpt(args)
	case "DATA", "BDAT":
		d.data(verb, args)
	case "RSET", "NOOP":
		if verb == "RSET" {
			d.sender = nil
		}
		d.send("250 2.0.0 Ok")
	case "VRFY":
		d.vrfy(args)
	case "ETRN":
		if args == "" {
			d.send("500 Syntax: ETRN domain")
			return
		}
		d.send("458 Unable to queue messages")
	case "QUIT":
		d.cut("221 2.0.0 Bye")
	default: // AUTH and XCLIENT too: nobody needs them here
		d.send("502 5.5.2 Error: command not recognized")
	}
}

// greet answers HELO and EHLO.
func (d *dialogue) greet(verb string, args string) {
	if args == "" {
		d.send("501 Syntax: " + verb + " hostname")
		return
	}
	d.helo, d.sender = printable(args), nil
	if verb == "HELO" {
		d.proto = "SMTP"
		d.send("250 " + d.s.o.Hostname)
		return
	}
	d.proto = "ESMTP"
	if d.own && !d.hidden.Silent && d.hidden.List() != "" {
		_, port, _ := net.SplitHostPort(d.end)
		d.s.d.Log.ScreenDiscarding(d.addr.String(), port, d.hidden.List())
	}
	lines := []string{d.s.o.Hostname}
	// PIPELINING is not offered: who uses it all the same does not listen.
	size := "SIZE"
	if d.s.o.Size > 0 {
		size = fmt.Sprintf("SIZE %d", d.s.o.Size)
	}
	for _, k := range []string{size, "VRFY", "ETRN", "STARTTLS", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"} {
		word, _, _ := strings.Cut(k, " ")
		if word == "VRFY" && d.s.o.NoVRFY || word == "STARTTLS" && (d.tls || d.s.d.TLS == nil) || !d.hidden.Has(word) {
			continue
		}
		lines = append(lines, k)
	}
	d.send("250-" + strings.Join(lines[:len(lines)-1], "\r\n250-") + "\r\n250 " + lines[len(lines)-1])
}

// startTLS turns the connection into TLS. What came with the command in the
// clear is thrown away (RFC 3207 section 6).
func (d *dialogue) startTLS(args string) {
	switch {
	case args != "":
		d.send("501 Syntax: EHLO hostname") // the words of postscreen(8), which has them from EHLO
		return
	case d.tls:
		d.send("554 5.5.1 Error: TLS already active")
		return
	case d.s.d.TLS == nil || !d.hidden.Has("STARTTLS"):
		d.send("502 5.5.1 Error: command not implemented") // postscreen(8)'s words where TLS is not offered
		return
	}
	d.send("220 2.0.0 Ready to start TLS")
	ctx, cancel := context.WithTimeout(context.Background(), d.s.limits().timeout)
	defer cancel()
	t := tls.Server(d.client.conn, d.s.d.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		d.gone = true
		return
	}
	d.conn, d.tls, d.sender, d.helo = t, true, nil, ""
	d.r.Reset(t)
}

func (d *dialogue) mail(args string) {
	from, named := cutFold(args, "FROM:")
	switch {
	case d.s.o.HeloNeed && d.helo == "":
		d.send("503 5.5.1 Error: send HELO/EHLO first")
	case d.sender != nil:
		d.send("503 5.5.1 Error: nested MAIL command")
	case !named:
		d.send("501 5.5.4 Syntax: MAIL FROM:<address>")
	default:
		a := address(from)
		d.sender = &a
		d.send("250 2.1.0 Ok")
	}
}

// cutFold takes a prefix off, whatever its case.
func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// address finds the address of MAIL or RCPT, as the log has it. As no mail is taken
// here nothing is wrong, as in postscreen(8); smtpd looks more closely.
func address(arg string) string {
	arg = strings.TrimLeft(arg, blanks)
	s, bracket := strings.CutPrefix(arg, "<")
	stop := byte(' ')
	if bracket {
		stop = '>'
	}
	quoted, end := false, -1
	for i := 0; i < len(s) && end < 0; i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == stop && !quoted:
			end = i
		}
	}
	if end >= 0 {
		s = s[:end]
	}
	if _, rest, ok := strings.Cut(s, ":"); ok && s[0] == '@' {
		s = rest // a source route
	}
	s = strings.ToValidUTF8(s, "?")
	if i := strings.LastIndexByte(s, '@'); i > 0 && s[0] == '"' || !strings.ContainsAny(s, blanks+"\"") || i == 0 {
		return printable(s) // nothing to quote, or quoted already
	}
	return printable(mail.Address(s).Quoted())
}

// rcpt refuses a recipient: for good after a test that failed, for now while
// the tests last, so that a mail server comes again and is let in then.
func (d *dialogue) rcpt(args string) {
	to, named := cutFold(args, "TO:")
	switch {
	case d.sender == nil:
		d.send("503 5.5.1 Error: need MAIL command")
		return
	case !named:
		d.send("501 5.5.4 Syntax: RCPT TO:<address>")
		return
	}
	reply := d.fail
	if reply == "" {
		reply = "450 4.3.2 Service currently unavailable"
	}
	reply = d.s.soft(reply)
	d.s.d.Log.ScreenReject(d.end, reply, *d.sender, address(to), d.proto, d.helo)
	d.send(reply)
	d.passDeep()
}

// vrfy says as little as RCPT.
func (d *dialogue) vrfy(args string) {
	switch {
	case d.s.o.NoVRFY:
		d.send("502 5.5.1 VRFY command is disabled")
	case args == "":
		d.send("501 5.5.4 Syntax: VRFY address")
	case d.fail != "":
		d.send(d.fail)
	default:
		d.send("450 4.3.2 Service currently unavailable")
	}
}

// data has never a recipient. What follows must not run as commands, so the
// session ends.
func (d *dialogue) data(verb, args string) {
	reply := "554 5.5.1 Error: no valid recipients"
	switch {
	case verb == "DATA" && args != "":
		reply = "501 5.5.4 Syntax: DATA"
	case verb == "BDAT" && args == "":
		reply = "501 5.5.4 Syntax: BDAT count [LAST]"
	case d.sender == nil && verb == "BDAT":
		reply = "554 5.5.1 Error: need MAIL command"
	case d.sender == nil:
		reply = "503 5.5.1 Error: need RCPT command"
	}
	d.s.d.Log.ScreenNoRcpt(verb, d.end)
	d.cut(reply)
}

// passDeep notes the tests that no command so far has failed: the client got as
// far as a mail server has to.
func (d *dialogue) passDeep() {
	if d.fail != "" {
		return
	}
	for t, ttl := range map[int]time.Duration{tPipelining: d.s.o.PipeTTL, tNonSMTP: d.s.o.NonTTL, tBare: d.s.o.BareTTL} {
		if d.s.enabled(t) && d.fresh[t] == 0 {
			d.pass(t, ttl)
		}
	}
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if syntax.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}
