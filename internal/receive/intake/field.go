package intake

import (
	"bytes"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
)

// headerKind is what intake does with a header field of a certain name.
type headerKind uint16

const (
	addresses headerKind = 1 << iota // an address list, rewritten for local users
	dropped                          // never passed on (message_drop_headers)
	received
	messageID
	resentMessageID
	date
	resentDate
	from
	resentFrom
	destination // To, Cc or their Resent- forms
	resent      // makes missing headers Resent- ones
)

// seen is the set of header kinds that a message has.
type seen = headerKind

// headerKinds returns the known names in lower case.
func headerKinds(drop []string) map[string]headerKind {
	kinds := map[string]headerKind{
		"received":                    received,
		"message-id":                  messageID,
		"date":                        date,
		"from":                        from | addresses,
		"sender":                      addresses,
		"reply-to":                    addresses,
		"errors-to":                   addresses,
		"return-receipt-to":           addresses,
		"disposition-notification-to": addresses,
		"mail-followup-to":            addresses,
		"apparently-to":               addresses,
		"to":                          addresses | destination,
		"cc":                          addresses | destination,
		"bcc":                         addresses,
		"resent-message-id":           resentMessageID | resent,
		"resent-date":                 resentDate | resent,
		"resent-from":                 resentFrom | resent | addresses,
		"resent-sender":               resent | addresses,
		"resent-reply-to":             resent | addresses,
		"resent-to":                   resent | addresses | destination,
		"resent-cc":                   resent | addresses | destination,
		"resent-bcc":                  resent | addresses,
	}
	for _, name := range drop {
		name = strings.ToLower(strings.TrimSuffix(name, ":"))
		kinds[name] |= dropped
	}
	return kinds
}

// kind looks a field's name up without allocating.
func (in *Intake) kind(name []byte) headerKind {
	var lower [64]byte
	if len(name) > len(lower) {
		return 0
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return in.kinds[string(lower[:len(name)])]
}

// flushField writes the gathered field, rewritten or not, or drops it.
func (m *Message) flushField() {
	f, ok := message.ParseField(m.field)
	if !ok {
		return
	}
	kind := m.in.kind(f.Name)
	m.header |= kind
	switch {
	case kind&received != 0:
		m.hops++
	case kind&messageID != 0:
		m.env.MessageID = f.Value()
		m.in.log.MessageID(m.id, m.env.MessageID)
	case kind&resentMessageID != 0:
		m.in.log.ResentMessageID(m.id, f.Value())
	}
	switch {
	case kind&dropped != 0:
	case kind&addresses != 0 && m.domain != "":
		m.writeAddresses(f)
	default:
		m.writeField(f)
	}
	m.field = m.field[:0]
}

// writeField writes a field as it came, but for blanks between name and
// colon (RFC 5322 section 4.5), which some readers take for the end of the header.
func (m *Message) writeField(f message.Field) {
	if f.Raw[len(f.Name)] == ':' {
		m.write(f.Raw)
		return
	}
	m.write(f.Name)
	m.write([]byte{':'})
	m.write(f.Body)
}

// writeAddresses writes an address field with bare addresses completed.
func (m *Message) writeAddresses(f message.Field) {
	text, changed := message.RewriteAddresses(string(f.Body), func(a mail.Address) mail.Address {
		return m.in.rewrite(a, m.domain)
	})
	if !changed {
		m.writeField(f)
		return
	}
	m.out = append(append(m.out[:0], f.Name...), ": "...)
	m.out = append(append(m.out, text...), '\n')
	m.out = fold(m.out)
	m.write(m.out)
}

// fold joins a list of one address a line into lines of up to 70 octets, as
// Postfix does; continuation lines begin with a tab.
func fold(b []byte) []byte {
	start := 0 // of the line being filled
	out := b[:0:0]
	for i, piece := range bytes.SplitAfter(b, []byte{'\n'}) {
		piece = bytes.TrimSuffix(piece, []byte{'\n'})
		switch {
		case i == 0:
		case len(piece) == 0:
			continue
		case len(out)-start+1+len(piece) < 70:
			out = append(out, ' ')
		default:
			out = append(out, "\n\t"...)
			start = len(out)
		}
		out = append(out, piece...)
	}
	return append(out, '\n')
}

// endHeader ends the header: what is missing is added behind it.
func (m *Message) endHeader() {
	if len(m.field) > 0 {
		m.flushField()
	}
	if m.local || m.in.o.AlwaysAddMissing {
		m.addMissing(time.Now())
	}
	if m.header&messageID == 0 {
		m.in.log.MessageID(m.id, "<>")
	}
	m.state = inBody
	m.last = '\n'
}

// addMissing adds the headers that cleanup(8) adds, in its order. In a resent
// message they are the Resent- ones (RFC 5322 section 3.6.6).
func (m *Message) addMissing(now time.Time) {
	prefix, want := "", [3]headerKind{messageID, date, from}
	if m.header&resent != 0 {
		prefix, want = "Resent-", [3]headerKind{resentMessageID, resentDate, resentFrom}
	}
	if m.header&want[0] == 0 {
		id := m.in.messageID(m.id, now)
		m.writeString(prefix + "Message-Id: " + id + "\n")
		if prefix == "" {
			m.header |= messageID
			m.env.MessageID = id
			m.in.log.MessageID(m.id, id)
		} else {
			m.in.log.ResentMessageID(m.id, id)
		}
	}
	if m.header&want[1] == 0 {
		m.writeString(prefix + "Date: " + m.env.Arrived.Format(dateLayout) + "\n")
	}
	if m.header&want[2] == 0 {
		m.writeString(prefix + "From: " + m.author() + "\n")
	}
	if m.header&destination == 0 && m.in.o.Undisclosed != "" {
		m.writeString(m.in.o.Undisclosed + "\n")
	}
}

// author returns the value of a missing From: header.
func (m *Message) author() string {
	sender := clean(m.env.Sender.Quoted())
	switch {
	case m.env.Sender == "":
		return "MAILER-DAEMON"
	case m.fullName == "":
		return sender
	}
	return message.QuotePhrase(m.fullName) + " <" + sender + ">"
}

func (m *Message) writeString(s string) { m.write([]byte(s)) }
