package pipe

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// copyBuffer is how much of a message is in memory at once, in octets.
const copyBuffer = 16 << 10

// write writes a message as the command wants it: mail_copy(3) of Postfix.
// delivered is the recipient for Delivered-To:.
func (a *Attrs) write(w io.Writer, v *Values, delivered mail.Address, content mail.Content, now time.Time) error {
	out := bufio.NewWriterSize(w, copyBuffer)
	if head := a.head(v, delivered, now); head != "" {
		if _, err := out.WriteString(head); err != nil {
			return &unreadError{err}
		}
	}
	if err := a.body(out, content.Reader()); err != nil {
		return err
	}
	if a.Blank {
		out.WriteString(a.EOL)
	}
	if err := out.Flush(); err != nil {
		return &unreadError{err}
	}
	return nil
}

// unreadError is the end of a command that does not read its whole input. Its
// exit code says what became of the message.
type unreadError struct{ error }

// head makes what stands before the message.
func (a *Attrs) head(v *Values, delivered mail.Address, now time.Time) string {
	var b strings.Builder
	sender := oneLine(v.Sender.Quoted())
	if a.From {
		from := sender
		if from == "" {
			from = "MAILER-DAEMON"
		}
		b.WriteString("From " + strings.ReplaceAll(from, " ", "_") + "  " + now.Local().Format(time.ANSIC) + a.EOL)
	}
	if a.ReturnPath {
		b.WriteString("Return-Path: <" + sender + ">" + a.EOL)
	}
	if a.OrigTo && len(v.Rcpts) > 0 && v.Rcpts[0].Orig != "" {
		b.WriteString("X-Original-To: " + oneLine(v.Rcpts[0].Orig.Quoted()) + a.EOL)
	}
	if a.Delivered {
		b.WriteString("Delivered-To: " + oneLine(delivered.Quoted()) + a.EOL)
	}
	return b.String()
}

// oneLine takes control characters out of what becomes a header.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, s)
}

var fromLine = []byte("From ")

// body copies the message; line by line only where the flags change lines.
func (a *Attrs) body(out *bufio.Writer, r io.Reader) error {
	if !a.Dot && !a.Escape && a.EOL == "\n" {
		return a.plain(out, r)
	}
	in := bufio.NewReaderSize(r, copyBuffer)
	begin := true // of a line; a long one comes in pieces
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if werr := a.line(out, line, begin); werr != nil {
				return &unreadError{werr}
			}
			begin = line[len(line)-1] == '\n'
		}
		switch err {
		case nil, bufio.ErrBufferFull:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// line writes one line or a piece of one.
func (a *Attrs) line(out *bufio.Writer, line []byte, begin bool) error {
	if begin && a.Escape && bytes.HasPrefix(line, fromLine) {
		out.WriteByte('>')
	}
	if begin && a.Dot && line[0] == '.' {
		out.WriteByte('.')
	}
	if line[len(line)-1] != '\n' {
		_, err := out.Write(line)
		return err
	}
	out.Write(line[:len(line)-1])
	_, err := out.WriteString(a.EOL)
	return err
}

// plain copies without a look at the lines. An error of writing and one of reading
// are told apart: only the latter means that the command saw half a message.
func (a *Attrs) plain(out *bufio.Writer, r io.Reader) error {
	src := &source{r: r}
	_, err := io.Copy(out, src)
	if err != nil && src.err == nil {
		return &unreadError{err}
	}
	return err
}

// source remembers the error of reading.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
