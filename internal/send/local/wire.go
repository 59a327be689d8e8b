package local

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"packetboat/internal/mail"
)

// maxReply is the longest reply line taken from a deliver process, in bytes:
// it runs as a user and may say anything.
const maxReply = 4096

// maxReplyLines bounds one reply.
const maxReplyLines = 100

// reply is one LMTP reply.
type reply struct {
	code int
	text string // without code; of several lines the last one
}

var errReply = errors.New("malformed reply")

// readReply reads one reply of one or more lines (RFC 5321 section 4.2.1).
func readReply(r *bufio.Reader) (reply, error) {
	for range maxReplyLines {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			return reply{}, errReply
		}
		if err != nil {
			return reply{}, err
		}
		s := strings.TrimRight(string(line), "\r\n")
		if len(s) < 3 || strings.Trim(s[:3], "0123456789") != "" || s[0] < '2' || s[0] > '5' {
			return reply{}, errReply
		}
		code := int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
		if len(s) > 3 && s[3] == '-' {
			continue
		}
		return reply{code, strings.TrimSpace(s[3:])}, nil
	}
	return reply{}, errReply
}

// status makes a status of the reply to a message. Its enhanced code and text
// are deliver's; where it says nothing, delivered stands for a success.
func (p reply) status(delivered string) *mail.Status {
	code, text := splitCode(p.text)
	// "<alice> text": an LMTP server may name the recipient it speaks of.
	if strings.HasPrefix(text, "<") {
		if _, rest, ok := strings.Cut(text, "> "); ok {
			text = strings.TrimSpace(rest)
		}
	}
	class := byte('0' + p.code/100)
	if class == '3' {
		class = '4' // no message is finished with a 3yz reply
	}
	if code == "" || code[0] != class {
		code = string(class) + ".0.0"
	}
	switch {
	case p.code < 300 && (text == "" || strings.EqualFold(text, "ok")):
		return mail.OK(code, "%s", delivered).WithReply(p.code)
	case p.code < 300:
		return mail.OK(code, "%s", text).WithReply(p.code)
	case p.code < 500:
		return mail.Defer(code, "%s", text).WithReply(p.code)
	}
	return mail.Bounce(code, "%s", text).WithReply(p.code)
}

// splitCode takes the enhanced status code from the beginning of a text.
func splitCode(s string) (code, text string) {
	word, rest, _ := strings.Cut(s, " ")
	if len(word) >= 5 && (word[0] == '2' || isCode(word)) && strings.Count(word, ".") == 2 && onlyOf(word, "0123456789.") {
		return word, strings.TrimSpace(rest)
	}
	return "", s
}

// appendXtext writes s as xtext (RFC 3461 section 4).
func appendXtext(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b = fmt.Appendf(b, "+%02X", c)
		} else {
			b = append(b, c)
		}
	}
	return b
}

// errAddress says that an address cannot stand in a command.
var errAddress = errors.New("address holds a control character")

// head writes the commands of one transaction up to the message's bytes:
//
//	MAIL FROM:<sender>
//	RCPT TO:<recipient> XORIG=xtext XDLVR=xtext
//	BDAT octets LAST
func (t *task) head(b []byte) ([]byte, error) {
	sender, rcpt := t.sender.Quoted(), t.rcpt.Quoted()
	for _, s := range []string{sender, rcpt} {
		for i := 0; i < len(s); i++ {
			if s[i] < ' ' || s[i] == 0x7f {
				return nil, errAddress
			}
		}
	}
	b = append(append(append(b, "MAIL FROM:<"...), sender...), ">\r\n"...)
	b = append(append(append(b, "RCPT TO:<"...), rcpt...), "> XORIG="...)
	b = appendXtext(b, t.orig.Quoted())
	b = appendXtext(append(b, " XDLVR="...), t.delivered.Quoted())
	return fmt.Appendf(b, "\r\nBDAT %d LAST\r\n", t.content.Len), nil
}
