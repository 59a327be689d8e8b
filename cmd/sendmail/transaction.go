package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/queue/maildrop"
)

// maxRcpts is the number of recipients of one message (smtpd_recipient_limit).
const maxRcpts = 1000

// transaction is what MAIL and RCPT said.
type transaction struct {
	sender   string
	encoding string
	envID    string
	ret      int
	rcpts    []rcpt
}

type rcpt struct {
	addr   string
	orcpt  string
	notify mail.Notify
}

// mail takes MAIL FROM:<path> [parameters].
func (s *session) mail(arg string) {
	if s.tx != nil {
		s.reply("503 5.5.1 Error: nested MAIL command")
		return
	}
	addr, params, ok := path(arg, "FROM:")
	if !ok {
		s.reply("501 5.5.4 Syntax: MAIL FROM:<address>")
		return
	}
	tx := &transaction{sender: addr}
	for _, param := range params {
		if text := tx.param(s, param); text != "" {
			s.reply("%s", text)
			return
		}
	}
	s.tx = tx
	s.reply("250 2.1.0 Ok")
}

// param takes one parameter of MAIL and returns the refusal, if it is one.
func (tx *transaction) param(s *session, param string) (refusal string) {
	name, value, _ := strings.Cut(param, "=")
	switch up := strings.ToUpper(value); strings.ToUpper(name) {
	case "SIZE":
		n, err := strconv.ParseInt(value, 10, 64)
		limit, _ := strconv.ParseInt(s.p.conf.Get("message_size_limit"), 10, 64)
		if err != nil || n < 0 {
			return "501 5.5.4 Bad message size syntax"
		}
		if limit > 0 && n > limit {
			return "552 5.3.4 Message size exceeds fixed limit"
		}
	case "BODY":
		if tx.encoding = map[string]string{"8BITMIME": "8bit", "7BIT": "7bit"}[up]; tx.encoding == "" {
			return "501 5.5.4 Unknown body type: " + oneLine(value)
		}
	case "RET": // RFC 3461 section 4.3
		if tx.ret = map[string]int{"FULL": 1, "HDRS": 2}[up]; tx.ret == 0 {
			return "501 5.5.4 Bad RET parameter syntax"
		}
	case "ENVID": // RFC 3461 section 4.4
		id, ok := xtext(value)
		if !ok || len(id) > 100 {
			return "501 5.5.4 Bad ENVID parameter syntax"
		}
		tx.envID = id
	case "SMTPUTF8":
	default:
		return "555 5.5.4 Unsupported option: " + oneLine(param)
	}
	return ""
}

// rcpt takes RCPT TO:<path> [parameters].
func (s *session) rcpt(arg string) {
	if s.tx == nil {
		s.reply("503 5.5.1 Error: need MAIL command")
		return
	}
	addr, params, ok := path(arg, "TO:")
	switch {
	case !ok:
		s.reply("501 5.5.4 Syntax: RCPT TO:<address>")
		return
	case addr == "":
		s.reply("501 5.1.3 Bad recipient address syntax")
		return
	case len(s.tx.rcpts) >= maxRcpts:
		s.reply("452 4.5.3 Error: too many recipients")
		return
	}
	r := rcpt{addr: addr}
	for _, param := range params {
		if text := r.param(param); text != "" {
			s.reply("%s", text)
			return
		}
	}
	s.tx.rcpts = append(s.tx.rcpts, r)
	s.reply("250 2.1.5 Ok")
}

// param takes one parameter of RCPT and returns the refusal, if it is one.
func (r *rcpt) param(param string) (refusal string) {
	name, value, _ := strings.Cut(param, "=")
	switch strings.ToUpper(name) {
	case "NOTIFY": // RFC 3461 section 4.1
		set, bad := notifySet(value)
		if bad != "" || set == 0 || set&mail.NotifyNever != 0 && set != mail.NotifyNever {
			return "501 5.5.4 Error: Bad NOTIFY parameter syntax"
		}
		r.notify = set
	case "ORCPT": // RFC 3461 section 4.2
		kind, rest, ok := strings.Cut(value, ";")
		text, good := xtext(rest)
		if !ok || !good || kind == "" || len(text) > 500 {
			return "501 5.5.4 Error: Bad ORCPT parameter syntax"
		}
		r.orcpt = oneLine(kind + ";" + text)
	default:
		return "555 5.5.4 Unsupported option: " + oneLine(param)
	}
	return ""
}

// path reads "FROM:<address> PARAM=VALUE ..."; without angle brackets the
// address is the first word.
func path(arg, keyword string) (addr string, params []string, ok bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", nil, false
	}
	arg = strings.TrimLeft(arg[len(keyword):], " ")
	text, rest, _ := strings.Cut(arg, " ")
	if strings.HasPrefix(arg, "<") {
		end := closing(arg)
		if end < 0 {
			return "", nil, false
		}
		text, rest = arg[:end+1], arg[end+1:]
	}
	list := message.ParseAddressList(text)
	if len(list) != 1 || list[0].Kind != message.Single {
		return "", nil, false
	}
	return oneLine(string(list[0].Address())), strings.Fields(rest), true
}

// closing returns the index of the ">" that ends the path, outside of quotes.
func closing(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '>':
			if !quoted {
				return i
			}
		}
	}
	return -1
}

// xtext decodes RFC 3461 section 4: "+" and two hex digits stand for a byte.
// Control bytes are refused in either form.
func xtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(n), i+2
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// write writes the records before the content, and the Received: header that
// smtpd(8) would write.
func (tx *transaction) write(d *post, s *session) {
	d.PutString(maildrop.Attribute, "rewrite_context=local")
	d.PutString(maildrop.Sender, tx.sender)
	for name, value := range map[string]string{"encoding": tx.encoding, "envelope_id": tx.envID} {
		if value != "" {
			d.PutString(maildrop.Attribute, name+"="+value)
		}
	}
	if tx.ret != 0 {
		d.PutString(maildrop.Attribute, "ret_flags="+strconv.Itoa(tx.ret))
	}
	for _, r := range tx.rcpts {
		if r.notify != 0 {
			d.PutString(maildrop.Attribute, "notify_flags="+strconv.Itoa(int(r.notify)))
		}
		if r.orcpt != "" {
			d.PutString(maildrop.Attribute, "dsn_orig_rcpt="+r.orcpt)
		}
		d.PutString(maildrop.Recipient, r.addr)
	}
	d.PutString(maildrop.Content, "")
	tx.received(d, s)
}

func (tx *transaction) received(d *post, s *session) {
	proto, helo := "ESMTP", s.helo
	if helo == "" {
		proto, helo = "SMTP", "localhost"
	}
	date := time.Now().Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)")
	d.PutString(maildrop.Line, fmt.Sprintf("Received: from %s (localhost [127.0.0.1])", helo))
	by := fmt.Sprintf("\tby %s (%s) with %s id %s", s.p.conf.Get("myhostname"), s.p.conf.Get("mail_name"), proto, d.id)
	if len(tx.rcpts) != 1 {
		d.PutString(maildrop.Line, by+";")
		d.PutString(maildrop.Line, "\t"+date)
		return
	}
	d.PutString(maildrop.Line, by)
	d.PutString(maildrop.Line, "\tfor <"+mail.Address(tx.rcpts[0].addr).Quoted()+">; "+date)
}
