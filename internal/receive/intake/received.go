package intake

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// dateLayout is RFC 5322 section 3.3 as Postfix writes it, the day padded
// with a blank and the zone's name as a comment.
const dateLayout = "Mon, _2 Jan 2006 15:04:05 -0700 (MST)"

// received appends the Received: header (RFC 5321 section 4.4) to b: the
// form of smtpd(8) for network clients, that of pickup(8) for local users,
// and the short one for mail that this system makes itself.
func (in *Intake) received(b []byte, id string, env *mail.Envelope) []byte {
	if env.Peer.Proto == "" {
		b = append(append(b, "Received: by "...), in.o.Hostname...)
		b = append(append(b, " ("...), in.o.MailName...)
		if env.UID >= 0 {
			b = append(b, ", from userid "...)
			b = strconv.AppendInt(b, int64(env.UID), 10)
		}
		b = append(append(append(b, ")\n\tid "...), id...), "; "...)
		return append(env.Arrived.AppendFormat(b, dateLayout), '\n')
	}
	b = in.receivedFrom(b, env.Peer)
	b = append(append(b, "\tby "...), in.o.Hostname...)
	b = append(append(append(b, " ("...), in.o.MailName...), ") with "...)
	b = append(append(append(b, protocol(env)...), " id "...), id...)
	// With several recipients none is named: a Bcc must not show.
	if len(env.Rcpts) == 1 {
		b = append(append(append(b, "\n\tfor <"...), clean(env.Rcpts[0].Addr.Quoted())...), ">; "...)
	} else {
		b = append(b, ";\n\t"...)
	}
	return append(env.Arrived.AppendFormat(b, dateLayout), '\n')
}

// receivedFrom appends the lines that say who the client was.
func (in *Intake) receivedFrom(b []byte, p mail.Peer) []byte {
	b = append(append(b, "Received: from "...), clean(orElse(p.Helo, orElse(p.Name, "unknown")))...)
	b = append(append(b, " ("...), clean(orElse(p.Name, "unknown"))...)
	b = append(append(append(b, " ["...), literal(p.Addr)...), "])\n"...)
	if in.o.TLSHeader && p.TLS != "" {
		b = append(append(append(b, "\t(using "...), clean(p.TLS)...), ")\n"...)
		b = append(b, "\t(No client certificate requested)\n"...)
	}
	if in.o.SASLHeader && p.User != "" {
		b = append(append(append(b, "\t(Authenticated sender: "...), clean(p.User)...), ")\n"...)
	}
	return b
}

// literal returns the address as RFC 5321 section 4.1.3 wants it in brackets.
func literal(a netip.Addr) string {
	switch a = a.Unmap(); {
	case !a.IsValid():
		return "unknown"
	case a.Is6():
		return "IPv6:" + a.WithZone("").String()
	}
	return a.String()
}

// protocol returns the keyword behind "with" (RFC 3848, RFC 6531 section 4.3).
func protocol(env *mail.Envelope) string {
	p := env.Peer.Proto
	if p == "SMTP" {
		return p
	}
	if env.SMTPUTF8 {
		p = "UTF8" + strings.TrimPrefix(p, "E")
	}
	if env.Peer.TLS != "" {
		p += "S"
	}
	if env.Peer.SASL != "" {
		p += "A"
	}
	return p
}

// clean replaces what could break a header line or its comments: control
// bytes. Text of strangers passes through it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// messageID returns a Message-Id of this system: time in UTC, queue id, host.
func (in *Intake) messageID(id string, now time.Time) string {
	return "<" + now.UTC().Format("20060102150405") + "." + id + "@" + in.o.Hostname + ">"
}
