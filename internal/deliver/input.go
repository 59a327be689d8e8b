package deliver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/store/mbox/format"
)

// maxFromLine is the longest From_ line that Input reads, in octets.
const maxFromLine = 8 << 10

// Input takes a leading From_ line off a message on standard input, as
// Postfix's mailbox_command and procmail's callers put it there. It returns
// the sender and time that it names; the message begins behind it.
func Input(r *bufio.Reader) (sender string, date time.Time, found bool) {
	b, _ := r.Peek(min(maxFromLine, r.Size()))
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if !whole || !bytes.HasPrefix(line, []byte("From ")) {
		return "", time.Time{}, false
	}
	n := len(line) + 1
	if sender, at, ok := format.ParseFrom(line); ok {
		found := string(sender)
		r.Discard(n)
		return found, time.Unix(at, 0), true
	}
	word, _, _ := strings.Cut(string(line[len("From "):]), " ")
	r.Discard(n)
	return word, time.Time{}, true
}

// EnvelopeSender makes an envelope sender of what stands in a From_ line.
func EnvelopeSender(s string) mail.Address {
	if strings.EqualFold(s, "MAILER-DAEMON") || s == "<>" {
		return ""
	}
	return mail.Address(s)
}

// maxHeaderLook bounds the search for Message-ID, in octets.
const maxHeaderLook = 256 << 10

// MessageID returns the value of the message's Message-ID header, for the log;
// empty when there is none.
func MessageID(r io.Reader) string {
	br := bufio.NewReaderSize(io.LimitReader(r, maxHeaderLook), 4096)
	for {
		line, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return ""
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return ""
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(name, []byte("message-id")) {
			return string(bytes.TrimSpace(value))
		}
	}
}
