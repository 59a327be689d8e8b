package format

import (
	"bytes"
	"fmt"
	"strconv"

	"packetboat/internal/store"
)

// padding is the blanks behind X-UID (Dovecot's MBOX_HEADER_PADDING): room
// for flags and keywords, so that most changes need not move the messages behind.
const padding = 50

// Wanted is what the own header lines of one message shall say.
type Wanted struct {
	Base     bool // first message: X-IMAPbase
	Validity uint32
	Last     uint32
	Names    []string // of keywords
	Uid      uint32   // 0 = no X-UID
	Flags    store.Flag
	Kw       uint64
	Old      bool
}

// Compose returns header hdr (From_ line to empty line) with own lines as w
// says. If they fit the room that the old ones take, blanks included, the
// length stays the same.
func Compose(hdr []byte, w Wanted) []byte { return ComposeInto(hdr, w, 0) }

// ComposeInto is Compose with more octets of room for own lines than the old ones
// take: the header grows by them, if they are enough.
func ComposeInto(hdr []byte, w Wanted, more int) []byte {
	out := make([]byte, 0, len(hdr)+256)
	at, room := -1, more // where own lines begin, and the octets they take
	for rest := hdr; len(rest) > 0; {
		n := fieldLen(rest, len(rest) == len(hdr))
		line := rest[:n]
		rest = rest[n:]
		if len(rest) == 0 && at < 0 {
			at = len(out) // before the empty line
		}
		if name := FieldName(line); name != nil && rewritten(name) {
			if at < 0 {
				at = len(out)
			}
			room += n
			continue
		}
		out = append(out, line...)
	}
	block := w.Block(room)
	out = append(out, block...)
	copy(out[at+len(block):], out[at:len(out)-len(block)])
	copy(out[at:], block)
	return out
}

// fieldLen returns the length of the header field at the begin of b with its
// continuation lines; the From_ line stands alone.
func fieldLen(b []byte, from bool) int {
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		n += i + 1
		if from || n == len(b) || (b[n] != ' ' && b[n] != '\t') {
			return n
		}
	}
}

// rewritten tells whether compose replaces a field. Content-Length stays as
// it is: the body does not change.
func rewritten(name []byte) bool { return IsOwn(name) && !equalFold(name, "content-length") }

// Block returns the own lines, room octets long where that is possible.
func (w Wanted) Block(room int) []byte {
	head, tail := w.lines()
	pad := room - len(head) - len(tail)
	if pad < 0 {
		pad = padding
	}
	if room == 0 && len(head)+len(tail) == 0 {
		return nil
	}
	if len(head) == 0 {
		head = []byte("X-UID:\n") // holds the blanks; without a number it counts for nobody
		if pad = room - len(head) - len(tail); pad < 0 {
			pad = padding
		}
	}
	out := append(make([]byte, 0, len(head)+len(tail)+pad), head[:len(head)-1]...)
	out = append(out, bytes.Repeat([]byte(" "), pad)...)
	out = append(out, '\n')
	return append(out, tail...)
}

// lines returns the own lines: head ends with the one that takes the blanks.
func (w Wanted) lines() (head, tail []byte) {
	if w.Base {
		head = fmt.Appendf(head, "X-IMAPbase: %d %010d", w.Validity, w.Last)
		for _, n := range w.Names {
			head = append(append(head, ' '), n...)
		}
		head = append(head, '\n')
	}
	if w.Uid != 0 {
		head = append(strconv.AppendUint(append(head, "X-UID: "...), uint64(w.Uid), 10), '\n')
	}
	if s := w.status(); s != "" {
		tail = append(append(append(tail, "Status: "...), s...), '\n')
	}
	if s := w.xstatus(); s != "" {
		tail = append(append(append(tail, "X-Status: "...), s...), '\n')
	}
	if w.Kw != 0 {
		tail = append(tail, "X-Keywords:"...)
		for i, n := range w.Names {
			if w.Kw&(1<<i) != 0 {
				tail = append(append(tail, ' '), n...)
			}
		}
		tail = append(tail, '\n')
	}
	if w.Uid == 0 && len(head) == 0 && len(tail) > 0 {
		head, tail = tail, nil // the blanks go behind the last line
	}
	return head, tail
}

func (w Wanted) status() string {
	s := ""
	if w.Flags&store.Seen != 0 {
		s = "R"
	}
	if w.Old {
		s += "O"
	}
	return s
}

// xstatus returns the letters in Dovecot's order.
func (w Wanted) xstatus() string {
	s := ""
	for _, l := range [...]struct {
		f store.Flag
		c string
	}{{store.Answered, "A"}, {store.Flagged, "F"}, {store.Draft, "T"}, {store.Deleted, "D"}} {
		if w.Flags&l.f != 0 {
			s += l.c
		}
	}
	return s
}
