package query

import (
	"errors"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/letter"
	"packetboat/internal/serve/imapd/textsearch"
)

// Where is a mailbox as a query may ask for it.
type Where struct{ Name, GUID string }

// May tells whether a message of the mailbox can match at all: other mailboxes
// are not opened. Of GUID it is asked only when it is known.
func (q *Query) May(w Where) bool { return q.may(w) != no }

type maybe int8

const (
	no maybe = iota - 1
	unknown
	yes
)

func known(b bool) maybe {
	if b {
		return yes
	}
	return no
}

func (q *Query) may(w Where) maybe {
	r := unknown
	switch q.op {
	case opMailbox:
		r = known(MatchMailbox(q.text, w.Name))
	case opBoxGUID:
		if w.GUID != "" {
			r = known(q.text == w.GUID)
		}
	case opAnd:
		r = yes
		for i := range q.keys {
			r = min(r, q.keys[i].may(w))
		}
	case opOr:
		r = no
		for i := range q.keys {
			r = max(r, q.keys[i].may(w))
		}
	}
	if q.not {
		return -r
	}
	return r
}

// ErrSaved says that a query asks for the time when a message was saved, and the
// mailbox does not keep it: nothing may be guessed from which mail is deleted.
var ErrSaved = errors.New("this mailbox does not keep the time when mail was saved")

// Match holds a message against the query. What cannot be read is an error.
func (q *Query) Match(l *letter.Letter, w Where, now time.Time) (bool, error) {
	ok, err := q.test(l, w, now)
	return ok != q.not, err
}

func (q *Query) test(l *letter.Letter, w Where, now time.Time) (bool, error) {
	m := l.M
	switch q.op {
	case opAnd, opOr:
		return q.testList(l, w, now)
	case opAll:
		return true, nil
	case opNone:
		return false, nil
	case opSeq:
		return holds(q.set, uint32(l.Seq), uint32(len(l.Snap.Msgs))), nil
	case opUID:
		return holdsUID(q.set, m.UID), nil
	case opFlag:
		return m.Flags&q.flag != 0, nil
	case opRecent:
		return m.UID >= l.Snap.FirstRecent, nil
	case opKeyword:
		return q.keyword(l), nil
	case opLarger:
		return m.Size > q.num, nil
	case opSmaller:
		return m.Size < q.num, nil
	case opOlder:
		return m.Date <= now.Unix()-q.num, nil
	case opYounger:
		return m.Date > now.Unix()-q.num, nil
	case opModSeq:
		return m.ModSeq >= uint64(q.num), nil
	case opMailbox:
		return MatchMailbox(q.text, w.Name), nil
	case opBoxGUID:
		return q.text == w.GUID, nil
	case opGUID:
		g, err := l.GUID()
		return g == q.text, err
	}
	return q.testContent(l)
}

// testList stops at the first key that decides.
func (q *Query) testList(l *letter.Letter, w Where, now time.Time) (bool, error) {
	for i := range q.keys {
		ok, err := q.keys[i].Match(l, w, now)
		if err != nil || ok == (q.op == opOr) {
			return ok, err
		}
	}
	return q.op == opAnd, nil
}

func (q *Query) keyword(l *letter.Letter) bool {
	for _, k := range l.Snap.Words(l.M.Keywords) {
		if strings.EqualFold(k, q.text) {
			return true
		}
	}
	return false
}

// testContent evaluates the keys for which dates or texts are looked at.
func (q *Query) testContent(l *letter.Letter) (bool, error) {
	switch q.op {
	case opHeader:
		return q.header(l)
	case opBody:
		return l.Holds(q.text, false)
	case opText:
		return l.Holds(q.text, true)
	}
	t, err := q.dateOf(l)
	switch q.op {
	case opBefore:
		return t < q.date, err
	case opSince:
		return t >= q.date, err
	}
	return t >= q.date && t < q.date+86400, err
}

func (q *Query) header(l *letter.Letter) (found bool, err error) {
	err = l.EachField(q.field, func(value []byte) bool {
		found = q.text == "" || strings.Contains(textsearch.FieldText(q.field, q.address, value), q.text)
		return !found
	})
	return found, err
}

// dateOf returns the date that the key compares; where the key names a day the
// date is what the clock on the wall showed, as RFC 3501 section 6.4.4 wants.
func (q *Query) dateOf(l *letter.Letter) (int64, error) {
	var t time.Time
	switch q.which {
	case received:
		t = time.Unix(l.M.Date, 0)
	case sent:
		t, _, _ = l.Sent()
		if t.IsZero() {
			t = time.Unix(0, 0).UTC()
		}
	case saved:
		var ok bool
		if t, ok = l.Saved(); !ok {
			return 0, ErrSaved
		}
	}
	sec := t.Unix()
	if !q.exact {
		_, zone := t.Zone()
		sec += int64(zone)
	}
	return sec, nil
}
