package intake

import (
	"bytes"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
)

// headerKind is what intake does with a header field of a certain name.
type headerKind uint32

const (
	senders    headerKind = 1 << iota // a list of senders' addresses, rewritten for local users
	recipients                        // a list of recipients'
	dropped                           // never passed on (message_drop_headers)
	received
	messageID
	resentMessageID
	date
	resentDate
	from
	resentFrom
	destination // To, Cc or their Resent- forms
	resent      // makes missing headers Resent- ones
	mime        // says something of the body's structure
	encoding    // Content-Transfer-Encoding
	unnamed     // none of the above
)

// seen is the set of header kinds that a message has.
type seen = headerKind

// headerKinds returns the known names in lower case.
func headerKinds(drop []string) map[string]headerKind {
	kinds := map[string]headerKind{
		"received":                    received,
		"message-id":                  messageID,
		"date":                        date,
		"from":                        from | senders,
		"sender":                      senders,
		"reply-to":                    senders,
		"errors-to":                   senders,
		"return-path":                 senders,
		"return-receipt-to":           senders,
		"disposition-notification-to": senders,
		"mail-followup-to":            senders,
		"apparently-to":               recipients,
		"to":                          recipients | destination,
		"cc":                          recipients | destination,
		"bcc":                         recipients,
		"resent-message-id":           resentMessageID | resent,
		"resent-date":                 resentDate | resent,
		"resent-from":                 resentFrom | resent | senders,
		"resent-sender":               resent | senders,
		"resent-reply-to":             resent | recipients,
		"resent-to":                   resent | recipients | destination,
		"resent-cc":                   resent | recipients | destination,
		"resent-bcc":                  resent | recipients,
		"content-description":         mime,
		"content-disposition":         mime,
		"content-id":                  mime,
		"content-transfer-encoding":   mime | encoding,
		"content-type":                mime,
		"mime-version":                mime,
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

// flushField judges the gathered field and writes it, rewritten or not, or drops it.
func (m *Message) flushField() {
	f, ok := message.ParseField(m.field)
	if !ok {
		return
	}
	if m.walker != nil {
		m.walker.Primary(bytes.TrimSuffix(m.field, []byte{'\n'}))
	}
	kind := m.in.kind(f.Name)
	if kind&received != 0 {
		m.hops++
	}
	keep := true
	if m.judges(kind) {
		if f, keep = m.checkField(f, kind); keep {
			kind = m.in.kind(f.Name)
		}
	}
	if keep {
		m.takeField(f, kind)
	}
	m.field = m.field[:0]
}

// takeField notes what a field says, and writes it.
func (m *Message) takeField(f message.Field, kind headerKind) {
	m.header |= kind
	switch {
	case kind&messageID != 0:
		m.env.MessageID = f.Value()
		m.in.log.MessageID(m.id, m.env.MessageID)
	case kind&resentMessageID != 0:
		m.in.log.ResentMessageID(m.id, f.Value())
	case kind&received != 0:
		m.noteHop(f)
	case kind&encoding != 0:
		m.detectEncoding(f.Value())
	}
	switch {
	case m.stopped():
	case kind&dropped != 0:
	case kind&(senders|recipients) != 0 && m.domain != "":
		m.writeAddresses(f, kind)
	default:
		m.writeField(f)
	}
}

// noteHop refuses a message that has gone through too many hands, and keeps our
// own Received:, the first, for milters do not get to see it.
func (m *Message) noteHop(f message.Field) {
	if m.hops >= m.in.o.HopcountLimit && m.errs&statHops == 0 {
		m.in.log.HopsExceeded(m.id)
		m.errs |= statHops
	}
	if m.hops == 1 {
		m.own = string(bytes.TrimSuffix(f.Raw, []byte{'\n'}))
	}
}

// detectEncoding corrects a client that declared a body to be 7-bit which a
// header says it is not (detect_8bit_encoding_header).
func (m *Message) detectEncoding(value string) {
	if m.in.o.Content.Detect8Bit && m.env.Body == mail.Body7Bit &&
		(strings.EqualFold(value, "8bit") || strings.EqualFold(value, "binary")) {
		m.env.Body = mail.Body8Bit
	}
}

// writeField writes a field as it came, but for blanks between name and
// colon (RFC 5322 section 4.5), which some readers take for the end of the header.
func (m *Message) writeField(f message.Field) {
	if len(f.Raw) > m.limit {
		f, _ = message.ParseField(cutField(f.Raw, m.limit))
	}
	if f.Raw[len(f.Name)] == ':' {
		m.write(f.Raw)
		return
	}
	m.write(f.Name)
	m.write([]byte{':'})
	m.write(f.Body)
}

// cutField cuts a field down to limit octets and a line end: behind its last line
// that fits, if that leaves nine tenths of them, else in the middle of a line.
func cutField(raw []byte, limit int) []byte {
	if len(raw) <= limit+1 {
		return raw
	}
	end := limit
	if i := bytes.LastIndexByte(raw[:limit+1], '\n'); i >= 0 && 10*(i+1) > 9*limit {
		end = i
	}
	return append(raw[:end:end], '\n')
}

// writeAddresses writes an address field with bare addresses completed and all
// changed as the tables say.
func (m *Message) writeAddresses(f message.Field, kind headerKind) {
	at := headerSender
	if kind&recipients != 0 {
		at = headerRecipient
	}
	text, changed := message.RewriteAddresses(string(f.Body), func(a mail.Address) mail.Address {
		return m.mapAddress(m.in.rewrite(a, m.domain), at)
	})
	if !changed {
		m.writeField(f)
		return
	}
	m.out = append(append(m.out[:0], f.Name...), ": "...)
	m.out = append(append(m.out, text...), '\n')
	m.out = cutField(fold(m.out), m.limit)
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

// endHeader ends the header: what is missing is added behind it. blank tells that
// an empty line ended it.
func (m *Message) endHeader(blank bool) {
	if len(m.field) > 0 {
		m.flushField()
	}
	if m.stopped() {
		m.state = inBody
		return
	}
	if m.local || m.in.o.AlwaysAddMissing {
		m.addMissing(time.Now())
	}
	if m.header&messageID == 0 {
		m.in.log.MessageID(m.id, "<>")
	}
	m.state = inBody
	m.last = '\n'
	m.headerEnd = m.size
	if m.walker != nil {
		m.walker.EndPrimary(blank)
	}
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
	case strings.EqualFold(m.in.o.FromFormat, "obsolete"):
		return sender + " (" + strings.Map(noParens, clean(m.fullName)) + ")"
	}
	// The old operators of addresses are quoted, too.
	name := message.QuotePhrase(m.fullName)
	if name[0] != '"' && strings.ContainsAny(name, "%!") {
		name = `"` + name + `"`
	}
	return name + " <" + sender + ">"
}

// noParens keeps a name from ending the comment that it stands in.
func noParens(r rune) rune {
	if r == '(' || r == ')' || r == '\\' {
		return ' '
	}
	return r
}

func (m *Message) writeString(s string) { m.write([]byte(s)) }
