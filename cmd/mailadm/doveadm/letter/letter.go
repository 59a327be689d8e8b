// Package letter is one message of a mailbox as doveadm's queries and its fetch
// command look at it: header, tree and dates are read once, when they are asked
// for, and given up with the next message.
package letter

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"io"
	netmail "net/mail"
	"strings"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/textsearch"
	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// maxHeader is how much of a header is looked at, in octets.
const maxHeader = 1 << 20

// Letter is one message.
type Letter struct {
	Box     store.Mailbox
	Snap    *store.Snapshot
	Mailbox string // name
	M       *store.Msg
	Seq     int // number in the mailbox, from 1

	header []byte
	loaded bool
	root   *message.Part
	parser *message.Parser
	window textsearch.Window
}

// Set makes the letter message number seq of the mailbox.
func (l *Letter) Set(seq int) {
	l.Seq, l.M, l.loaded, l.root = seq, &l.Snap.Msgs[seq-1], false, nil
}

// BoxGUID returns the identifier of a mailbox as 32 hex digits. A store that
// keeps one tells it; for others it is made of the name and UIDVALIDITY, so that
// it lasts as long as both.
func BoxGUID(box store.Mailbox, snap *store.Snapshot, name string) string {
	if g, ok := box.(interface{ GUID() string }); ok {
		return g.GUID()
	}
	sum := md5.Sum(binary.BigEndian.AppendUint32([]byte(name+"\x00"), snap.UIDValidity))
	return hex.EncodeToString(sum[:])
}

// Open returns octets of the message with CRLF line ends.
func (l *Letter) Open(pos, n int64) (io.ReadCloser, error) { return l.Box.Read(l.M.UID, pos, n) }

// Header returns the header, or what of it is looked at.
func (l *Letter) Header() ([]byte, error) {
	if l.loaded {
		return l.header, nil
	}
	n := int64(maxHeader)
	if l.M.Header > 0 {
		n = min(n, l.M.Header)
	}
	b, err := l.read(l.header[:0], 0, n)
	if err != nil {
		return nil, err
	}
	if i := headerEnd(b); i >= 0 {
		b = b[:i]
	}
	l.header, l.loaded = b, true
	return b, nil
}

// headerEnd returns where the header ends, its empty line included; -1 = it goes on.
func headerEnd(b []byte) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2
	}
	if i := bytes.Index(b, []byte("\n\r\n")); i >= 0 {
		return i + 3
	}
	return -1
}

func (l *Letter) read(dst []byte, pos, n int64) ([]byte, error) {
	r, err := l.Open(pos, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	w := bytes.NewBuffer(dst)
	_, err = io.Copy(w, io.LimitReader(r, n))
	return w.Bytes(), err
}

// Tree returns the parts of the message.
func (l *Letter) Tree() (*message.Part, error) {
	if l.root != nil {
		return l.root, nil
	}
	r, err := l.Open(0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if l.parser == nil {
		l.parser = message.NewParser()
	}
	l.root, err = l.parser.Parse(r)
	return l.root, err
}

// EachField calls fn with the value of every field of that name, line ends
// included, until fn returns false.
func (l *Letter) EachField(name string, fn func(value []byte) bool) error {
	h, err := l.Header()
	if err != nil {
		return err
	}
	textsearch.EachField(h, func(n, value []byte) bool {
		return len(n) != len(name) || !strings.EqualFold(string(n), name) || fn(value)
	})
	return nil
}

// Sent returns the time of the Date field and its zone, in minutes east of
// UTC; ok is false where there is none that makes sense.
func (l *Letter) Sent() (t time.Time, zone int, ok bool) {
	l.EachField("Date", func(value []byte) bool {
		text := strings.TrimSpace(string(render.Unfold(value)))
		d, err := netmail.ParseDate(text)
		if err == nil {
			_, sec := d.Zone()
			t, zone, ok = d, sec/60, true
			return false
		}
		if d, found := textsearch.ParseDate(text); found {
			t, ok = d, true
		}
		return false
	})
	return t, zone, ok
}

// GUID returns the identifier of the message: what Dovecot's mbox driver makes of
// Received (the first), Message-ID, Date, Delivered-To and X-Delivery-ID.
func (l *Letter) GUID() (string, error) {
	h, err := l.Header()
	if err != nil {
		return "", err
	}
	sum := md5.New()
	received := false
	textsearch.EachField(h, func(name, value []byte) bool {
		switch strings.ToLower(string(name)) {
		case "received":
			if received {
				return true
			}
			received = true
		case "date", "message-id":
			if received {
				return true
			}
		case "delivered-to", "x-delivery-id":
		default:
			return true
		}
		for line := range bytes.Lines(value) {
			sum.Write(bytes.TrimRight(line, "\r\n"))
		}
		return true
	})
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// PhysicalSize returns the size of the message with LF line ends, as an mbox file
// keeps it.
func (l *Letter) PhysicalSize() (int64, error) {
	r, err := l.Open(0, -1)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n := l.M.Size
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadSlice('\n')
		if bytes.HasSuffix(line, []byte("\r\n")) {
			n--
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return 0, err
		}
	}
}

// Holds tells whether the text parts of the message hold folded text, and with
// headers set any header.
func (l *Letter) Holds(text string, headers bool) (bool, error) {
	root, err := l.Tree()
	if err != nil || text == "" {
		return err == nil, err
	}
	return l.partHolds(root, text, headers)
}

func (l *Letter) partHolds(p *message.Part, text string, headers bool) (bool, error) {
	if headers {
		h, err := l.read(nil, p.Pos, min(p.HeaderSize, maxHeader))
		if err != nil || l.window.HeaderHolds(h, text) {
			return err == nil, err
		}
	}
	for _, child := range p.Children {
		if ok, err := l.partHolds(child, text, headers); ok || err != nil {
			return ok, err
		}
	}
	if len(p.Children) > 0 || !p.IsText() && !bytes.EqualFold(p.Type, []byte("message")) || !textsearch.Decodable(p) {
		return false, nil
	}
	r, err := l.Open(p.BodyPos(), p.BodySize)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return l.window.Holds(textsearch.DecodeBody(io.LimitReader(r, p.BodySize), p), text), nil
}

// Saved returns when the message was saved to its mailbox; ok is false where the
// store does not keep it.
func (l *Letter) Saved() (t time.Time, ok bool) {
	ids := ident.Messages{Box: l.Box}
	if x, is := l.Box.(interface{ Index() *index.File }); is {
		ids.Index = x.Index()
	}
	if _, tells := l.Box.(ident.Saver); !tells && !ids.Kept(l.M) {
		return time.Time{}, false
	}
	t, err := ids.SaveDate(l.M)
	return t, err == nil
}
