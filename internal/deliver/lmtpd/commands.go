package lmtpd

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"packetboat/internal/mail"
)

// do does one command.
func (s *session) do(line string) error {
	verb, args, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	s.junk++
	if s.bdat != nil && verb != "BDAT" && verb != "RSET" && verb != "QUIT" && verb != "NOOP" {
		s.refuse("503 5.5.1 Error: %s after BDAT", printable(verb))
		return nil
	}
	switch verb {
	case "LHLO":
		s.hello(args)
	case "MAIL":
		s.mail(args)
	case "RCPT":
		s.rcpt(args)
	case "DATA":
		return s.data(args)
	case "BDAT":
		return s.chunk(args)
	case "RSET":
		s.reset()
		s.say("250 2.0.0 Ok")
	case "NOOP":
		s.say("250 2.0.0 Ok")
	case "VRFY":
		s.say("252 2.0.0 Cannot VRFY user")
	case "QUIT":
		s.put(item{text: "221 2.0.0 Bye\r\n", last: true})
		return errOver
	case "HELO", "EHLO":
		s.refuse("500 5.5.1 Error: this is LMTP: use LHLO")
	default:
		s.refuse("500 5.5.2 Error: command not recognized")
	}
	return nil
}

// printable returns a stranger's word for an answer.
func printable(word string) string {
	if len(word) > 40 {
		word = word[:40]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, word)
}

func (s *session) reset() {
	if s.bdat != nil {
		s.bdat.spool.Close()
	}
	s.sender, s.rcpts, s.bdat = nil, nil, nil
}

func (s *session) hello(args string) {
	if strings.TrimSpace(args) == "" {
		s.refuse("501 5.5.4 Syntax: LHLO hostname")
		return
	}
	s.reset()
	s.greeted, s.client = true, strings.TrimSpace(args)
	size := ""
	if s.o.Size > 0 {
		size = " " + strconv.FormatInt(s.o.Size, 10)
	}
	s.put(item{text: "250-" + s.o.Host + "\r\n250-PIPELINING\r\n250-SIZE" + size + "\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n" +
		"250-BINARYMIME\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n"})
}

// mail takes MAIL FROM. Our own engine pipelines from the first octet on and
// does not wait for LHLO's answer, but it says LHLO.
func (s *session) mail(args string) {
	switch {
	case !s.greeted:
		s.refuse("503 5.5.1 Error: send LHLO first")
		return
	case s.sender != nil:
		s.refuse("503 5.5.1 Error: nested MAIL command")
		return
	}
	addr, params, ok := parsePath(args, "FROM:")
	if !ok {
		s.refuse("501 5.5.4 Syntax: MAIL FROM:<address>")
		return
	}
	size := int64(0)
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		switch strings.ToUpper(name) {
		case "SIZE":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				s.refuse("501 5.5.4 Bad message size syntax")
				return
			}
			size = n
			if s.o.Size > 0 && n > s.o.Size {
				s.refuse("552 5.3.4 Message size exceeds fixed limit")
				return
			}
		case "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH": // nothing that a mailbox wants
		default:
			s.refuse("555 5.5.4 Unsupported option: %s", printable(name))
			return
		}
	}
	s.sender, s.rcpts, s.size, s.tried = &addr, nil, size, 0
	s.say("250 2.1.0 Ok")
}

func (s *session) rcpt(args string) {
	if s.sender == nil {
		s.refuse("503 5.5.1 Error: need MAIL command")
		return
	}
	if len(s.rcpts) >= s.o.Rcpts {
		s.refuse("452 4.5.3 Error: too many recipients")
		return
	}
	addr, params, ok := parsePath(args, "TO:")
	if !ok || addr == "" {
		s.refuse("501 5.1.3 Syntax: RCPT TO:<address>")
		return
	}
	s.tried++
	r := &Rcpt{Addr: addr, Size: s.size, N: s.tried}
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		if err := r.param(strings.ToUpper(name), value); err != nil {
			s.refuse("501 5.5.4 %s: %s", err.Error(), printable(name))
			return
		}
	}
	if st := s.b.Rcpt(r); st != nil {
		s.put(item{text: statusLine(st)})
		return
	}
	s.rcpts = append(s.rcpts, r)
	s.say("250 2.1.5 Ok")
}

// param takes one parameter of RCPT (doc/rooms.md, RFC 3461).
func (r *Rcpt) param(name, value string) (err error) {
	switch name {
	case "XORIG":
		r.Orig, err = mail.Unxtext(value)
	case "XDLVR":
		r.Delivered, err = mail.Unxtext(value)
	case "XFOLDER":
		r.Folder, err = mail.Unxtext(value)
	case "XQUOTA":
		r.Ask = true
	case "ORCPT":
		r.ORCPT = value
	case "NOTIFY":
	default:
		return errors.New("unsupported option")
	}
	if err != nil {
		return errors.New("bad xtext")
	}
	return nil
}

// parsePath reads "FROM:<path> params"; the path is unquoted into the
// address's internal form. A source route is passed over (RFC 5321 appendix C).
func parsePath(args, word string) (mail.Address, []string, bool) {
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return "", nil, false
	}
	rest := strings.TrimLeft(args[len(word):], " ")
	if rest == "" || rest[0] != '<' {
		return "", nil, false
	}
	var b strings.Builder
	quoted := false
	for i := 1; i < len(rest); i++ {
		c := rest[i]
		switch {
		case c < ' ' || c == 0x7f:
			return "", nil, false
		case c == '\\' && quoted && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			tail := rest[i+1:]
			if tail != "" && tail[0] != ' ' {
				return "", nil, false
			}
			return route(b.String()), strings.Fields(tail), true
		case c == ' ' && !quoted:
			return "", nil, false
		default:
			b.WriteByte(c)
		}
	}
	return "", nil, false
}

func route(s string) mail.Address {
	if strings.HasPrefix(s, "@") {
		if _, path, ok := strings.Cut(s, ":"); ok {
			s = path
		}
	}
	return mail.Address(s)
}

// take makes the message of the transaction and begins a new transaction.
func (s *session) take() *Message {
	m := &Message{Client: s.client, Sender: *s.sender, Rcpts: s.rcpts, conn: s.conn}
	m.spool.dir = s.o.Temp
	s.sender, s.rcpts = nil, nil
	s.junk = 0
	return m
}

// data takes DATA (RFC 2033 section 4.2).
func (s *session) data(args string) error {
	switch {
	case args != "":
		s.refuse("501 5.5.4 Syntax: DATA")
		return nil
	case s.sender == nil || len(s.rcpts) == 0:
		s.refuse("503 5.5.0 No valid recipients")
		return nil
	}
	s.say("354 End data with <CR><LF>.<CR><LF>")
	m := s.take()
	if err := s.dots(m); err != nil {
		m.spool.Close()
		return err
	}
	s.put(item{msg: m})
	return nil
}

// chunk takes BDAT (RFC 3030 section 2). The octets are taken whatever the
// answer is, or they would be commands.
func (s *session) chunk(args string) error {
	word, last, _ := strings.Cut(strings.TrimSpace(args), " ")
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil || n < 0 || (last != "" && !strings.EqualFold(last, "LAST")) {
		s.put(item{text: "501 5.5.4 Syntax: BDAT count [LAST]\r\n", last: true})
		return errOver // how many octets follow is not known
	}
	if s.bdat == nil && (s.sender == nil || len(s.rcpts) == 0) {
		if _, err := io.CopyN(io.Discard, s.r, n); err != nil {
			return err
		}
		s.refuse("503 5.5.0 No valid recipients")
		if last != "" {
			s.reset()
		}
		return nil
	}
	if s.bdat == nil {
		s.bdat = s.take()
		s.bdat.spool.bare = !s.o.Raw
	}
	m := s.bdat
	if err := s.octets(m, n); err != nil {
		return err
	}
	if last == "" {
		s.say("250 2.0.0 Ok: %d octets", n)
		return nil
	}
	m.spool.End()
	s.bdat = nil
	s.finish(m)
	s.put(item{msg: m})
	return nil
}
