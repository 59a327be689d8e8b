package maildrop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// MaxRecipients is the number of recipients that one file may name. A command
// line cannot hold as many.
const MaxRecipients = 100000

// Message is one file of maildrop, open for reading.
type Message struct {
	Env      *mail.Envelope // without the recipients of the extracted segment until WriteContent has returned
	FullName string         // for a missing From:
	Remote   bool           // sendmail -G: headers are a stranger's and are not rewritten

	f      *os.File // nil for one that is received
	rec    recordReader
	notify mail.Notify // of the recipient that follows
	orcpt  string      // of the recipient that follows
}

// ErrIncomplete says that a file is still being written, or was left by a
// postdrop that died.
var ErrIncomplete = errors.New("not yet complete")

// CorruptError says that a file is no maildrop file.
type CorruptError struct{ Reason string }

// Error returns the reason.
func (e *CorruptError) Error() string { return e.Reason }

// Ready tells whether a file of this mode is whole: postdrop sets the owner's
// execute bit last, after the bytes are on disk.
func Ready(mode os.FileMode) bool { return mode.IsRegular() && mode.Perm()&0o700 == 0o700 }

// Open opens the file and reads its envelope segment. The sender's account is
// the file's owner. Errors: *CorruptError, *disk.UntrustedError,
// ErrIncomplete, or those of os.
func Open(folder, name string) (*Message, error) {
	f, err := disk.OpenTrusted(filepath.Join(folder, name), os.O_RDONLY, -1)
	if err != nil {
		return nil, err
	}
	m, err := read(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return m, nil
}

func read(f *os.File) (*Message, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !Ready(fi.Mode()) {
		return nil, ErrIncomplete
	}
	m := &Message{Env: &mail.Envelope{}, f: f, rec: recordReader{r: bufio.NewReaderSize(f, 64<<10)}}
	if m.Env.UID, err = disk.Owner(f); err != nil {
		return nil, err
	}
	m.Env.Arrived = fi.ModTime()
	m.Env.Peer.Service = "pickup"
	return m, m.segment(Content)
}

// Receive reads the envelope segment of a message that comes from a program of
// the account uid, and not from a file. What is longer than limit octets ends
// early. When it arrived is for us to say, and is now.
func Receive(r io.Reader, limit int64, uid int) (*Message, error) {
	m := &Message{Env: &mail.Envelope{UID: uid, Arrived: time.Now()}}
	m.Env.Peer.Service = "pickup"
	m.rec.r = bufio.NewReaderSize(io.LimitReader(r, limit), 16<<10)
	return m, m.segment(Content)
}

// Close closes the file.
func (m *Message) Close() error {
	if m.f == nil {
		return nil
	}
	return m.f.Close()
}

// segment reads envelope records up to the one of type end.
func (m *Message) segment(end byte) error {
	for {
		kind, data, err := m.rec.next()
		if err != nil {
			return corrupt(err)
		}
		if kind == end {
			return nil
		}
		if err := m.envelope(kind, data); err != nil {
			return err
		}
	}
}

func corrupt(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return &CorruptError{"it ends early"}
	case errors.Is(err, errMalformed):
		return &CorruptError{err.Error()}
	}
	return err
}

// envelope takes one record of the first or last segment.
func (m *Message) envelope(kind byte, data []byte) error {
	switch kind {
	case Time:
		if m.f == nil {
			return &CorruptError{"a time stamp that is not postdrop's"}
		}
		m.arrived(string(data))
	case Attribute:
		name, value, _ := bytes.Cut(data, []byte("="))
		m.attribute(string(name), string(value))
	case FullName:
		m.FullName = string(data)
	case Sender:
		m.Env.Sender = address(data)
	case Verp:
		m.Env.Verp = string(data)
	case Recipient:
		return m.recipient(address(data))
	default:
		return &CorruptError{fmt.Sprintf("unexpected record type %d", kind)}
	}
	return nil
}

// address returns an address without control bytes, which could end a line of
// a header or of the log.
func address(data []byte) mail.Address {
	for i, c := range data {
		if c < ' ' || c == 0x7f {
			data[i] = '?'
		}
	}
	return mail.Address(data)
}

// arrived takes postdrop's time stamp, with microseconds.
func (m *Message) arrived(s string) {
	var sec, usec int64
	if n, _ := fmt.Sscanf(s, "%d %d", &sec, &usec); n > 0 && sec > 0 {
		m.Env.Arrived = time.Unix(sec, usec*1000)
	}
}

// recipient adds one recipient; a notify_flags attribute before it is used up.
func (m *Message) recipient(addr mail.Address) error {
	if len(m.Env.Rcpts) >= MaxRecipients {
		return &CorruptError{"too many recipients"}
	}
	m.Env.Rcpts = append(m.Env.Rcpts, mail.Rcpt{Addr: addr, Notify: m.notify, ORCPT: m.orcpt})
	m.notify, m.orcpt = 0, ""
	return nil
}

// The bits of trace_flags that sendmail -bv and -v set.
const (
	TraceVerifyOnly = 1 << 9  // sendmail -bv
	TraceReport     = 1 << 10 // sendmail -v
)

// attribute takes one named attribute; unknown ones are ignored.
func (m *Message) attribute(name, value string) {
	n, _ := strconv.Atoi(value)
	switch name {
	case "encoding":
		m.Env.Body = map[string]mail.Body{"7bit": mail.Body7Bit, "8bit": mail.Body8Bit}[value]
	case "rewrite_context":
		m.Remote = value == "remote"
	case "envelope_id":
		m.Env.EnvID = value
	case "ret_flags":
		m.Env.Ret = map[int]string{1: "FULL", 2: "HDRS"}[n]
	case "notify_flags":
		m.notify = mail.Notify(n & 15)
	case "dsn_orig_rcpt":
		m.orcpt = value
	case "trace_flags":
		m.Env.VerifyOnly = n&TraceVerifyOnly != 0
		m.Env.Verify = n&(TraceVerifyOnly|TraceReport) != 0
	}
}

// WriteContent writes the message's bytes with LF line ends to w and then
// reads the extracted segment. An error of w is returned as it is.
func (m *Message) WriteContent(w io.Writer) error {
	lf := []byte{'\n'}
	for {
		kind, data, err := m.rec.next()
		if err != nil {
			return corrupt(err)
		}
		switch kind {
		case Line, Part:
			if _, err = w.Write(data); err == nil && kind == Line {
				_, err = w.Write(lf)
			}
			if err != nil {
				return err
			}
		case Extracted:
			return m.segment(End)
		default:
			return &CorruptError{fmt.Sprintf("unexpected record type %d", kind)}
		}
	}
}
