// Package render writes what FETCH answers about the structure of a message, as
// Dovecot writes it: BODY, BODYSTRUCTURE, ENVELOPE, and headers with only some
// of their fields. It knows no session, so that what it makes can be kept.
package render

import (
	"bytes"
	"strconv"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/syntax"
)

// Structure appends the BODYSTRUCTURE of a whole message, or its BODY without
// extended. A plain text without
// more to say has its words in lower case, because Dovecot keeps one bit for it.
func Structure(b []byte, p *message.Part, extended bool) []byte {
	if !isPlain7bit(p) {
		return appendBody(b, p, extended)
	}
	b = append(b, `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" `...)
	b = strconv.AppendInt(b, p.BodySize, 10)
	b = strconv.AppendInt(append(b, ' '), p.Lines, 10)
	if extended {
		b = append(b, ` NIL NIL NIL NIL`...)
	}
	return append(b, ')')
}

// isPlain7bit tells whether a text has no more to say. Without MIME-Version and
// Content-Type the other fields of MIME mean nothing.
func isPlain7bit(p *message.Part) bool {
	return !p.MIME || bytes.EqualFold(p.Type, []byte("text")) && bytes.EqualFold(p.Subtype, []byte("plain")) &&
		len(p.Params) == 1 && bytes.EqualFold(p.Params[0].Key, []byte("charset")) &&
		bytes.EqualFold(p.Params[0].Value, []byte("us-ascii")) &&
		(p.Encoding == nil || bytes.EqualFold(p.Encoding, []byte("7bit"))) &&
		p.ID == nil && p.Description == nil && p.MD5 == nil && p.Disposition == nil
}

// appendBody writes BODY, or BODYSTRUCTURE where extended is set (RFC 3501
// section 7.4.2), as Dovecot writes them.
func appendBody(b []byte, p *message.Part, extended bool) []byte {
	b = append(b, '(')
	if p.Multipart {
		b = appendMultipart(b, p, extended)
	} else {
		b = appendSingle(b, p, extended)
	}
	return append(b, ')')
}

func appendMultipart(b []byte, p *message.Part, extended bool) []byte {
	for _, child := range p.Children {
		b = appendBody(b, child, extended)
	}
	if len(p.Children) == 0 {
		// The grammar wants a part: an empty one stands for it.
		b = append(b, `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0`...)
		if extended {
			b = append(b, ` NIL NIL NIL NIL`...)
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	b = appendText(b, p.Subtype)
	if !extended {
		return b
	}
	b = append(b, ' ')
	b = appendParams(b, p.Params)
	return appendExtension(b, p)
}

// appendSingle writes a part that has no parts.
func appendSingle(b []byte, p *message.Part, extended bool) []byte {
	b = appendText(b, p.Type)
	b = append(b, ' ')
	b = appendText(b, p.Subtype)
	b = append(b, ' ')
	b = appendParams(b, p.Params)
	b = append(b, ' ')
	b = appendText(b, p.ID)
	b = append(b, ' ')
	b = appendText(b, p.Description)
	b = append(b, ' ')
	if p.Encoding == nil {
		b = append(b, `"7bit"`...)
	} else {
		b = appendText(b, p.Encoding)
	}
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.BodySize, 10)
	switch {
	case p.Message:
		inner := p.Children[0]
		b = append(b, ' ')
		b = Envelope(b, inner.Envelope)
		b = append(b, ' ')
		b = appendBody(b, inner, extended)
		b = strconv.AppendInt(append(b, ' '), p.Lines, 10)
	case p.IsText():
		b = strconv.AppendInt(append(b, ' '), p.Lines, 10)
	}
	if !extended {
		return b
	}
	b = append(b, ' ')
	b = appendText(b, p.MD5)
	return appendExtension(b, p)
}

// appendExtension writes disposition, language and location.
func appendExtension(b []byte, p *message.Part) []byte {
	b = append(b, ' ')
	if p.Disposition == nil {
		b = append(b, "NIL"...)
	} else {
		b = append(b, '(')
		b = appendText(b, p.Disposition)
		b = append(b, ' ')
		b = appendParams(b, p.DispParams)
		b = append(b, ')')
	}
	b = append(b, ' ')
	if len(p.Language) == 0 {
		b = append(b, "NIL"...)
	} else {
		b = append(b, '(')
		for i, tag := range p.Language {
			if i > 0 {
				b = append(b, ' ')
			}
			b = appendText(b, tag)
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	return appendText(b, p.Location)
}

func appendParams(b []byte, params []message.Param) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i, q := range params {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendText(b, q.Key)
		b = append(b, ' ')
		b = appendText(b, q.Value)
	}
	return append(b, ')')
}

// appendText writes the text of a field as it came, without line ends.
func appendText(b, text []byte) []byte {
	return syntax.AppendNString(b, Unfold(text))
}

// Unfold takes line ends out; the white space behind them stays.
func Unfold(text []byte) []byte {
	if bytes.IndexByte(text, '\n') < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for _, c := range text {
		if c != '\r' && c != '\n' {
			out = append(out, c)
		}
	}
	return out
}

// appendHuman writes text that people read. White space that they do not need
// is left out, and then, or when it holds a quote, the text is a literal, as in
// Dovecot.
func appendHuman(b, text []byte) []byte {
	tidy := true
	for i, c := range text {
		blank := c == ' ' && (i == 0 || i == len(text)-1 || text[i-1] == ' ')
		if blank || c != ' ' && isSpace(c) || c == '"' || c == '\\' {
			tidy = false
		}
	}
	if tidy {
		return syntax.AppendNString(b, text)
	}
	return syntax.AppendLiteral(b, bytes.Join(bytes.FieldsFunc(text, isSpaceRune), []byte(" ")))
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func isSpaceRune(r rune) bool { return r < 0x80 && isSpace(byte(r)) }

// Envelope writes ENVELOPE. Sender and Reply-To default to From.
func Envelope(b []byte, e *message.Envelope) []byte {
	b = append(b, '(')
	b = appendText(b, e.Date)
	b = append(b, ' ')
	b = appendHuman(b, e.Subject)
	b = append(b, ' ')
	from := len(b)
	b = appendAddresses(b, e.From)
	end := len(b)
	for _, field := range [...][]byte{e.Sender, e.ReplyTo} {
		b = append(b, ' ')
		start := len(b)
		if b = appendAddresses(b, field); string(b[start:]) == "NIL" {
			b = append(b[:start], b[from:end]...)
		}
	}
	for _, field := range [...][]byte{e.To, e.Cc, e.Bcc} {
		b = append(b, ' ')
		b = appendAddresses(b, field)
	}
	b = append(b, ' ')
	b = appendText(b, e.InReplyTo)
	b = append(b, ' ')
	b = appendText(b, e.MessageID)
	return append(b, ')')
}

func appendAddresses(b, field []byte) []byte {
	if len(field) == 0 {
		return append(b, "NIL"...)
	}
	start := len(b)
	b = append(b, '(')
	message.EachEnvAddress(field, func(a message.EnvAddress) bool {
		b = append(b, '(')
		b = appendHuman(b, a.Name)
		b = append(b, ' ')
		b = appendText(b, a.Route)
		b = append(b, ' ')
		b = appendText(b, a.Mailbox)
		b = append(b, ' ')
		b = appendText(b, a.Host)
		b = append(b, ')')
		return true
	})
	if len(b) == start+1 {
		return append(b[:start], "NIL"...)
	}
	return append(b, ')')
}
