package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"packetboat/internal/queue/maildrop"
)

// maxCommand is the longest SMTP command line in octets (line_length_limit).
const maxCommand = 2048

// dialogue speaks SMTP on standard input and output (sendmail -bs). The other
// side is the user who called: there is no access check, no AUTH and no TLS,
// and each message is posted as one of that user.
func (p *program) dialogue() int {
	s := &session{p: p, in: bufio.NewReaderSize(p.stdin, 32<<10), out: bufio.NewWriter(p.stdout)}
	defer s.out.Flush()
	s.reply("220 %s", p.conf.Get("smtpd_banner"))
	for !s.quit {
		line, err := s.command()
		if err != nil {
			return 0
		}
		s.do(line)
	}
	return 0
}

// session is one SMTP dialogue.
type session struct {
	p    *program
	in   *bufio.Reader
	out  *bufio.Writer
	helo string
	quit bool
	tx   *transaction
	bdat *chunks // a message that comes in BDAT chunks
}

func (s *session) reply(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\r\n", args...)
}

// command reads one command. Replies leave when nothing more waits to be read,
// so that a pipelined batch is answered in one write.
func (s *session) command() (string, error) {
	for {
		if s.in.Buffered() == 0 {
			s.out.Flush()
		}
		line, err := s.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line) > maxCommand {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = s.in.ReadSlice('\n')
			}
			s.reply("500 5.5.2 Error: command line too long")
			continue
		}
		return strings.TrimRight(string(line), "\r\n"), err
	}
}

// do obeys one command.
func (s *session) do(line string) {
	verb, arg, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
	arg = strings.TrimSpace(arg)
	verb = strings.ToUpper(verb)
	if s.bdat != nil && verb != "BDAT" && verb != "RSET" && verb != "QUIT" && verb != "NOOP" {
		s.reply("503 5.5.1 Error: %s after BDAT", verb)
		return
	}
	switch verb {
	case "EHLO", "HELO":
		s.hello(verb, arg)
	case "MAIL":
		s.mail(arg)
	case "RCPT":
		s.rcpt(arg)
	case "DATA":
		s.data(arg)
	case "BDAT":
		s.chunk(arg)
	case "RSET":
		s.reset()
		s.reply("250 2.0.0 Ok")
	case "NOOP":
		s.reply("250 2.0.0 Ok")
	case "VRFY":
		s.verify(arg)
	case "ETRN":
		s.etrn(arg)
	case "QUIT":
		s.reset()
		s.quit = true
		s.reply("221 2.0.0 Bye")
	default:
		s.reply("500 5.5.2 Error: command not recognized")
	}
}

// reset forgets the transaction.
func (s *session) reset() {
	if s.bdat != nil {
		s.bdat.post.cancel()
		s.bdat = nil
	}
	s.tx = nil
}

func (s *session) hello(verb, arg string) {
	if arg == "" {
		s.reply("501 Syntax: %s hostname", verb)
		return
	}
	s.reset()
	s.helo = oneLine(arg)
	host := s.p.conf.Get("myhostname")
	if verb == "HELO" {
		s.reply("250 %s", host)
		return
	}
	size := "SIZE"
	if limit := s.p.conf.Get("message_size_limit"); limit != "0" {
		size += " " + limit
	}
	s.reply("250-%s", host)
	for _, word := range []string{"PIPELINING", size, "VRFY", "ETRN", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"} {
		s.reply("250-%s", word)
	}
	s.reply("250 CHUNKING")
}

func (s *session) verify(arg string) {
	if arg == "" {
		s.reply("501 5.5.4 Syntax: VRFY address")
		return
	}
	s.reply("252 2.0.0 %s", oneLine(arg))
}

// etrn answers as Postfix does for a destination without a fast flush queue.
func (s *session) etrn(arg string) {
	if arg == "" {
		s.reply("500 Syntax: ETRN domain")
		return
	}
	s.reply("459 <%s>: service unavailable", oneLine(arg))
}

// data takes a message that ends with a lone dot (RFC 5321 section 4.1.1.4).
func (s *session) data(arg string) {
	switch {
	case arg != "":
		s.reply("501 5.5.4 Syntax: DATA")
		return
	case s.tx == nil || len(s.tx.rcpts) == 0:
		s.reply("503 5.5.1 Error: need RCPT command")
		return
	}
	d := s.begin()
	if d == nil {
		return
	}
	s.reply("354 End data with <CR><LF>.<CR><LF>")
	s.out.Flush()
	if err := s.copyLines(d); err != nil {
		d.cancel() // the caller went away in the middle
		s.quit = true
		return
	}
	s.end(d)
}

// copyLines copies lines up to the lone dot; dots that the client doubled are
// halved.
func (s *session) copyLines(d *post) error {
	middle := false
	for {
		line, err := s.in.ReadSlice('\n')
		whole := err == nil
		if !whole && !errors.Is(err, bufio.ErrBufferFull) {
			return io.ErrUnexpectedEOF
		}
		if whole {
			line = bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
		}
		if !middle && len(line) > 0 && line[0] == '.' {
			if line = line[1:]; len(line) == 0 && whole {
				return nil
			}
		}
		middle = !whole
		put(d, line, whole)
	}
}

// begin starts postdrop for the transaction; on failure it replies.
func (s *session) begin() *post {
	d, err := s.p.start()
	if err != nil || d.id == "" {
		if err == nil {
			d.cancel()
		}
		s.tx = nil
		s.reply("451 4.3.0 Error: queue file write error")
		return nil
	}
	s.tx.write(d, s)
	return d
}

// end posts the message and tells the client what became of it.
func (s *session) end(d *post) {
	s.tx = nil
	d.PutString(maildrop.Extracted, "")
	err := d.finish()
	switch {
	case err == nil:
		s.reply("250 2.0.0 Ok: queued as %s", d.id)
	case errors.Is(err, errTooBig):
		s.reply("552 5.3.4 Error: %s", err)
	default:
		s.reply("451 4.3.0 Error: %s", err)
	}
}

// chunk takes BDAT (RFC 3030 section 2).
func (s *session) chunk(arg string) {
	count, rest, _ := strings.Cut(arg, " ")
	n, err := strconv.ParseInt(count, 10, 63)
	if err != nil || n < 0 || rest != "" && !strings.EqualFold(rest, "LAST") {
		s.reply("501 5.5.4 Syntax: BDAT count [LAST]")
		s.quit = true // what follows cannot be told from commands
		return
	}
	body := io.LimitReader(s.in, n)
	if s.bdat == nil {
		if s.tx == nil || len(s.tx.rcpts) == 0 {
			io.Copy(io.Discard, body)
			s.reply("503 5.5.1 Error: need RCPT command")
			return
		}
		d := s.begin()
		if d == nil {
			io.Copy(io.Discard, body)
			return
		}
		s.bdat = &chunks{post: d}
	}
	if got, _ := io.Copy(s.bdat, body); got < n {
		s.reset()
		s.quit = true
		return
	}
	if rest == "" {
		s.reply("250 2.0.0 Ok: %d bytes", n)
		return
	}
	s.bdat.close()
	d := s.bdat.post
	s.bdat = nil
	s.end(d)
}

// chunks turns the bytes of BDAT chunks into lines, wherever they are cut.
type chunks struct {
	post *post
	open bool // a line has begun and not ended
	cr   bool // a carriage return waits for what follows it
}

// Write takes bytes with CRLF or LF line ends.
func (c *chunks) Write(b []byte) (int, error) {
	total := len(b)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		text := b[:max(i, 0)]
		if i < 0 {
			text, b = b, nil
		} else {
			b = b[i+1:]
		}
		if c.cr && len(text) > 0 {
			c.post.Put(maildrop.Part, []byte{'\r'})
		}
		if c.cr = c.cr && len(text) == 0; len(text) > 0 && text[len(text)-1] == '\r' {
			c.cr, text = true, text[:len(text)-1]
		}
		if i >= 0 {
			c.cr, c.open = false, false
			c.post.PutLine(text)
			continue
		}
		c.open = true
		put(c.post, text, false)
	}
	return total, nil
}

// close ends a last line that has no line end.
func (c *chunks) close() {
	if c.open {
		c.post.PutString(maildrop.Line, "")
	}
}
