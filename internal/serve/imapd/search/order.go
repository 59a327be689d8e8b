package search

import (
	"strings"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/order"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/textsearch"
)

// Value is what SORT compares of message i: order.Sort asks for all fields of
// one message before it goes on, so its header is read once.
func (sr *Searcher) Value(i int, f order.Field) order.Value {
	sr.seek(i)
	switch f {
	case order.Arrival:
		return order.Value{Num: sr.m.Date}
	case order.Size:
		return order.Value{Num: sr.m.Size}
	case order.Date:
		return order.Value{Num: sr.sentTime()}
	case order.Subject:
		base, _ := sr.subject()
		return order.Value{Text: base}
	case order.Cc:
		return order.Value{Text: sr.address("Cc", false)}
	case order.From:
		return order.Value{Text: sr.address("From", false)}
	case order.To:
		return order.Value{Text: sr.address("To", false)}
	case order.DisplayFrom:
		return order.Value{Text: sr.address("From", true)}
	}
	return order.Value{Text: sr.address("To", true)}
}

// Message is what THREAD knows of message i; num is written for it.
func (sr *Searcher) Message(i int, num uint32) order.Message {
	sr.seek(i)
	m := order.Message{Num: num, Date: sr.sentTime()}
	m.Subject, m.Reply = sr.subject()
	if ids := order.IDs(sr.first("Message-ID")); len(ids) > 0 {
		m.ID = ids[0]
	}
	m.Refs = order.IDs(sr.first("References"))
	if len(m.Refs) == 0 {
		// RFC 5256 section 3, step 1.A: only the first ID of In-Reply-To.
		m.Refs = order.IDs(sr.first("In-Reply-To"))
		m.Refs = m.Refs[:min(1, len(m.Refs))]
	}
	return m
}

// seek moves to message i and keeps the header of one that is looked at already.
func (sr *Searcher) seek(i int) {
	if m := &sr.View.Msgs[i]; m != sr.m {
		sr.m, sr.i, sr.loaded = m, i, false
	}
}

// first returns the first field of a name, unfolded.
func (sr *Searcher) first(name string) (value string) {
	sr.eachField(name, func(v []byte) bool {
		value = string(render.Unfold(v))
		return false
	})
	return value
}

func (sr *Searcher) subject() (base string, reply bool) {
	base, reply = order.BaseSubject(textsearch.Words(sr.first("Subject")))
	return collate(base), reply
}

// collate makes text comparable as i;unicode-casemap (RFC 5051): capitals, so
// that "_" stands behind the letters.
func collate(s string) string { return strings.ToUpper(textsearch.Fold(s)) }

// sentTime is the moment of the Date field; where it is missing or makes no sense
// INTERNALDATE (RFC 5256 section 2.2).
func (sr *Searcher) sentTime() int64 {
	if t, ok := textsearch.ParseDate(strings.TrimSpace(sr.first("Date"))); ok {
		return t.Unix()
	}
	return time.Unix(sr.m.Date, 0).Unix()
}

// address returns the first address of a field: its local part, or with display
// set the name, or the whole address where there is none.
func (sr *Searcher) address(field string, display bool) (text string) {
	sr.eachField(field, func(value []byte) bool {
		message.EachEnvAddress(value, func(a message.EnvAddress) bool {
			switch {
			case a.Mailbox == nil || a.Host == nil && display:
				return true // a group's mark
			case !display:
				text = string(a.Mailbox)
			case len(a.Name) > 0:
				text = textsearch.Words(string(a.Name))
			default:
				text = string(a.Mailbox) + "@" + string(a.Host)
			}
			return false
		})
		return text == ""
	})
	return collate(text)
}
