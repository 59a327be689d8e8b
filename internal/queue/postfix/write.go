package postfix

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"packetboat/internal/mail"
)

// lineLimit is the length in octets at which a line is cut into parts
// (line_length_limit).
const lineLimit = 2048

// sizeForm is the form of the first record, which is written again at the end.
const sizeForm = "%15d %15d %15d %15d %15d %15d"

// writer writes records and counts.
type writer struct {
	w   *bufio.Writer
	off int64
}

func (w *writer) record(typ byte, data string) {
	w.w.WriteByte(typ)
	w.off++
	n := len(data)
	for {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			b |= 0x80
		}
		w.w.WriteByte(b)
		w.off++
		if n == 0 {
			break
		}
	}
	w.w.WriteString(data)
	w.off += int64(len(data))
}

func (w *writer) attr(name, value string) {
	if value != "" {
		w.record(recAttr, name+"="+value)
	}
}

// Write writes a queue file for qmgr(8) into f, which is empty: env, with the
// states of its recipients, and the message that content reads. It neither
// flushes f nor sets its mode, whose execute bit makes a file whole for Postfix.
func Write(f *os.File, env *mail.Envelope, content io.Reader) error {
	w := &writer{w: bufio.NewWriterSize(f, bufferSize)}
	w.record(recSize, fmt.Sprintf(sizeForm, 0, 0, 0, 0, 0, 0))
	w.record(recTime, fmt.Sprintf("%d %6d", env.Arrived.Unix(), env.Arrived.Nanosecond()/1000))
	w.head(env)
	for i := range env.Rcpts {
		w.recipient(&env.Rcpts[i])
	}
	w.record(recContent, "")
	start := w.off
	if err := w.content(content); err != nil {
		return err
	}
	size := w.off - start
	w.record(recExtra, "")
	w.attr("encoding", map[mail.Body]string{mail.Body7Bit: "7bit", mail.Body8Bit: "8bit"}[env.Body])
	w.record(recEnd, "")
	if err := w.w.Flush(); err != nil {
		return err
	}
	utf8 := 0
	if env.SMTPUTF8 {
		utf8 = 1
	}
	first := fmt.Sprintf(sizeForm, size, start, len(env.Rcpts), 0, size, utf8)
	_, err := f.WriteAt([]byte(first), 2)
	return err
}

// head writes all but the recipients.
func (w *writer) head(e *mail.Envelope) {
	w.attr("create_time", strconv.FormatInt(e.Arrived.Unix(), 10))
	if e.EnvID != "" {
		w.attr("envelope_id", mail.Xtext(e.EnvID))
	}
	w.attr("ret_flags", map[string]string{"FULL": "1", "HDRS": "2"}[e.Ret])
	switch {
	case e.VerifyOnly:
		w.attr("trace_flags", "1")
	case e.Verify:
		w.attr("trace_flags", "2")
	}
	if e.Filter != "" {
		w.record(recFilter, e.Filter)
	}
	w.attr("rewrite_context", "local")
	w.record(recSender, string(e.Sender))
	if e.Verp != "" {
		w.record(recVerp, e.Verp)
	}
	p := &e.Peer
	if p.Proto == "" {
		return
	}
	addr, origin := "", ""
	if p.Addr.IsValid() {
		addr = p.Addr.Unmap().String()
		origin = p.Name + "[" + addr + "]"
		if p.Addr.Unmap().Is6() {
			addr = "IPv6:" + addr
		}
	}
	port := ""
	if p.Port != 0 {
		port = strconv.Itoa(int(p.Port))
	}
	for _, a := range [][2]string{{"log_client_name", p.Name}, {"log_client_address", addr}, {"log_client_port", port},
		{"log_message_origin", origin}, {"log_helo_name", p.Helo}, {"log_protocol_name", p.Proto}, {"client_name", p.Name},
		{"client_address", strings.TrimPrefix(addr, "IPv6:")}, {"client_port", port}, {"helo_name", p.Helo}, {"protocol_name", p.Proto},
		{"sasl_method", p.SASL}, {"sasl_username", p.User}, {"sasl_sender", p.SASLFrom}} {
		w.attr(a[0], a[1])
	}
}

// recipient writes one recipient and what is to be known of it.
func (w *writer) recipient(r *mail.Rcpt) {
	if r.ORCPT != "" {
		kind, addr, _ := strings.Cut(r.ORCPT, ";")
		w.attr("dsn_orig_rcpt", kind+";"+mail.Xtext(addr))
	}
	if r.Notify != 0 {
		w.attr("notify_flags", strconv.Itoa(int(r.Notify)))
	}
	orig := r.Orig
	if orig == "" {
		orig = r.Addr
	}
	w.record(recOrig, string(orig))
	typ := byte(recRcpt)
	if r.State == mail.Done {
		typ = recDone
	}
	w.record(typ, string(r.Addr))
}

// content writes the message, a line a record; a last line without end gets one,
// which Postfix gives it too.
func (w *writer) content(r io.Reader) error {
	in := bufio.NewReaderSize(r, lineLimit)
	for part := false; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			w.record(recLine, string(line[:len(line)-1]))
			part = false
		case errors.Is(err, bufio.ErrBufferFull):
			w.record(recPart, string(line))
			part = true
		case errors.Is(err, io.EOF):
			if len(line) > 0 || part {
				w.record(recLine, string(line))
			}
			return nil
		default:
			return err
		}
	}
}
