// Package postfix reads and writes the queue files of Postfix 3: at an upgrade
// what waits there moves into our queue (package queue calls it), and at a
// downgrade it moves back (mailadm export-queue).
//
// A file is a sequence of records: one byte of type, the length of the data in
// groups of seven bits (least significant first, the high bit says that more
// follow), the data. The envelope stands before the record M, the message
// between M and X, what cleanup(8) found in its header behind X; E ends the file.
// A record p says at which offset reading goes on: that is how milters change
// messages in place.
package postfix

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// The types of records (rec_type.h).
const (
	recSize     = 'C' // size, offset of the message, recipients, flags, octets, SMTPUTF8
	recTime     = 'T' // arrival, "seconds microseconds"
	recAttr     = 'A' // "name=value"
	recFullName = 'F'
	recFilter   = 'L' // in the envelope: content filter
	recSender   = 'S'
	recVerp     = 'V'
	recDone     = 'D' // a recipient that has been delivered
	recRcpt     = 'R'
	recOrig     = 'O' // the recipient as it was written; before R or D
	recContent  = 'M'
	recLine     = 'N'
	recPart     = 'L' // in the message: a part of a line
	recExtra    = 'X'
	recEnd      = 'E'
	recPointer  = 'p'
	recKilled   = 'K' // deleted by cleanup(8): never to be delivered
	recPadding  = 'w'
	recWarn     = 'W' // when the sender is to be warned
)

// Limits on what a file may hold.
const (
	maxRecord  = 1 << 20 // octets of one record
	maxJumps   = 1 << 20 // pointers that are followed
	maxRcpts   = 1 << 22
	bufferSize = 64 << 10
)

// ErrForeign says that a file is no whole queue file of Postfix.
var ErrForeign = errors.New("no whole Postfix queue file")

// Message is what a file says beside the message's bytes.
type Message struct {
	Env    *mail.Envelope
	Killed bool // it must not be delivered
}

// Is tells whether a file begins as Postfix's queue files do.
func Is(f io.ReaderAt) bool {
	var b [2]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == 2 && b[0] == recSize && b[1] >= 15
}

// reader reads records.
type reader struct {
	f     *os.File
	r     *bufio.Reader
	off   int64
	jumps int
	buf   []byte
}

// seek has reading go on at off.
func (r *reader) seek(off int64) error {
	if _, err := r.f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	r.off = off
	r.r.Reset(r.f)
	return nil
}

// next returns the next record; the data hold until the next call. Pointers are
// followed, padding is passed over.
func (r *reader) next() (typ byte, data []byte, err error) {
	for {
		if typ, data, err = r.record(); err != nil {
			return 0, nil, ErrForeign
		}
		switch typ {
		case recPadding:
		case recPointer:
			to, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
			if r.jumps++; err != nil || to < 0 || r.jumps > maxJumps {
				return 0, nil, ErrForeign
			}
			if to == 0 { // a place for a later change
				continue
			}
			if err := r.seek(to); err != nil {
				return 0, nil, err
			}
		default:
			return typ, data, nil
		}
	}
}

// record returns the record at the present place.
func (r *reader) record() (typ byte, data []byte, err error) {
	if typ, err = r.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, shift := 0, 0
	for more := true; more; shift += 7 {
		b, err := r.r.ReadByte()
		if err != nil || shift > 21 {
			return 0, nil, ErrForeign
		}
		n |= int(b&0x7f) << shift
		more = b&0x80 != 0
	}
	if n > maxRecord {
		return 0, nil, ErrForeign
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	_, err = io.ReadFull(r.r, r.buf)
	return typ, r.buf, err
}

// Read reads a file: the message's bytes go to w with LF line ends, the envelope is
// returned. The error is ErrForeign for a file that is not whole, or one of f or w.
func Read(f *os.File, w io.Writer) (*Message, error) {
	p := &parser{reader: reader{f: f, r: bufio.NewReaderSize(f, bufferSize)}, attrs: map[string]string{}}
	p.env.UID = -1
	if err := p.seek(0); err != nil {
		return nil, err
	}
	if err := p.segment(recContent); err != nil {
		return nil, err
	}
	if err := p.content(w); err != nil {
		return nil, err
	}
	if err := p.segment(recEnd); err != nil {
		return nil, err
	}
	p.attributes()
	if p.env.Arrived.IsZero() || len(p.env.Rcpts) == 0 && !p.killed {
		return nil, ErrForeign
	}
	return &Message{Env: &p.env, Killed: p.killed}, nil
}

// parser gathers an envelope.
type parser struct {
	reader
	env    mail.Envelope
	attrs  map[string]string
	orig   string // these three are of the recipient that follows
	orcpt  string
	notify mail.Notify
	killed bool
}

// segment reads records up to one of type end.
func (p *parser) segment(end byte) error {
	for {
		typ, data, err := p.next()
		if err != nil {
			return err
		}
		if typ == end {
			return nil
		}
		if err := p.envelope(typ, string(data)); err != nil {
			return err
		}
	}
}

// content copies the message.
func (p *parser) content(w io.Writer) error {
	out := bufio.NewWriterSize(w, bufferSize)
	for {
		typ, data, err := p.next()
		if err != nil {
			return err
		}
		switch typ {
		case recLine:
			out.Write(data)
			err = out.WriteByte('\n')
		case recPart:
			_, err = out.Write(data)
		case recExtra:
			return out.Flush()
		case recEnd, recContent:
			return ErrForeign
		}
		if err != nil {
			return err
		}
	}
}

// envelope takes one record of the first or last segment.
func (p *parser) envelope(typ byte, data string) error {
	e := &p.env
	switch typ {
	case recSize:
		if f := strings.Fields(data); len(f) > 5 && f[5] != "0" {
			n, _ := strconv.Atoi(f[5])
			e.SMTPUTF8 = n&1 != 0 // SMTPUTF8_FLAG_REQUESTED
		}
	case recTime:
		sec, usec, _ := strings.Cut(strings.TrimSpace(data), " ")
		s, err1 := strconv.ParseInt(sec, 10, 64)
		us, err2 := strconv.ParseInt("0"+strings.TrimSpace(usec), 10, 64)
		if err1 != nil || err2 != nil {
			return ErrForeign
		}
		e.Arrived = time.Unix(s, us*1000)
	case recSender:
		e.Sender = mail.Address(data)
	case recFilter:
		e.Filter = data
	case recVerp:
		e.Verp = data
	case recKilled:
		p.killed = true
	case recOrig:
		p.orig = data
	case recRcpt, recDone:
		return p.recipient(typ, data)
	case recAttr:
		p.attribute(data)
	case recContent, recLine, recExtra:
		return ErrForeign
	}
	return nil
}

// recipient adds a recipient with what was said of it before.
func (p *parser) recipient(typ byte, addr string) error {
	r := mail.Rcpt{Addr: mail.Address(addr), Orig: mail.Address(p.orig), ORCPT: p.orcpt, Notify: p.notify, State: mail.Pending}
	if typ == recDone {
		r.State = mail.Done
	}
	p.orig, p.orcpt, p.notify = "", "", 0
	if len(p.env.Rcpts) >= maxRcpts {
		return ErrForeign
	}
	p.env.Rcpts = append(p.env.Rcpts, r)
	return nil
}

// attribute notes "name=value". Those of a recipient count for the next one.
func (p *parser) attribute(data string) {
	name, value, _ := strings.Cut(data, "=")
	switch name {
	case "dsn_orig_rcpt":
		p.orcpt = unxtext(value)
	case "notify_flags":
		n, _ := strconv.Atoi(value)
		p.notify = mail.Notify(n & 15) // the bits are the same (dsn_mask.h)
	default:
		p.attrs[name] = value
	}
}

// unxtext decodes a value; what is no xtext stays.
func unxtext(s string) string {
	if d, err := mail.Unxtext(s); err == nil {
		return d
	}
	return s
}

// attributes turns the attributes into the envelope. What log_... says is the
// client before a content filter: the one that counts.
func (p *parser) attributes() {
	e, a := &p.env, p.attrs
	e.EnvID = unxtext(a["envelope_id"])
	e.Ret = map[string]string{"1": "FULL", "2": "HDRS"}[a["ret_flags"]]
	e.Body = map[string]mail.Body{"7bit": mail.Body7Bit, "8bit": mail.Body8Bit}[a["encoding"]]
	flags, _ := strconv.Atoi(a["trace_flags"])
	e.VerifyOnly = flags&1 != 0 // DEL_REQ_FLAG_USR_VRFY
	e.Verify = flags&3 != 0     // or DEL_REQ_FLAG_RECORD
	first := func(names ...string) string {
		for _, n := range names {
			if a[n] != "" {
				return a[n]
			}
		}
		return ""
	}
	c := &e.Peer
	c.Name, c.Helo = first("log_client_name", "client_name"), first("log_helo_name", "helo_name")
	c.Proto = first("log_protocol_name", "protocol_name")
	c.Addr, _ = netip.ParseAddr(strings.TrimPrefix(first("log_client_address", "client_address"), "IPv6:"))
	port, _ := strconv.ParseUint(first("log_client_port", "client_port"), 10, 16)
	c.Port = uint16(port)
	c.SASL, c.User, c.SASLFrom = a["sasl_method"], a["sasl_username"], a["sasl_sender"]
	if c.Service = "smtpd"; c.Proto == "" {
		*c = mail.Peer{Service: "pickup"}
	}
}

// String tells what was read, for tests.
func (m *Message) String() string { return fmt.Sprintf("%+v", *m.Env) }
