package fetch

import (
	"bytes"
	"io"
	"strings"
	"unicode"

	"packetboat/cmd/mailadm/doveadm/letter"
	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/textsearch"
)

// readable prints the message in UTF-8: headers with their encoded words decoded,
// bodies with transfer encodings and charsets undone.
func readable(_ *Field, l *letter.Letter, _ Context, out show.Formatter) error {
	root, err := l.Tree()
	if err == nil {
		err = readablePart(l, root, out)
	}
	out.Done()
	return err
}

func readablePart(l *letter.Letter, p *message.Part, out show.Formatter) error {
	if err := readableHeader(l, p, out); err != nil {
		return err
	}
	for _, child := range p.Children {
		if err := readablePart(l, child, out); err != nil {
			return err
		}
	}
	if len(p.Children) > 0 || p.BodySize == 0 {
		return nil
	}
	r, err := l.Open(p.BodyPos(), p.BodySize)
	if err != nil {
		return err
	}
	defer r.Close()
	raw := strings.EqualFold(string(p.Encoding), "quoted-printable") || strings.EqualFold(string(p.Encoding), "base64")
	return (&pieces{out: out, raw: raw}).copy(textsearch.DecodeBody(io.LimitReader(r, p.BodySize), p))
}

// maxPartHeader bounds how much of a part's header is shown, in octets.
const maxPartHeader = 1 << 20

func readableHeader(l *letter.Letter, p *message.Part, out show.Formatter) error {
	if p.HeaderSize == 0 {
		return nil
	}
	r, err := l.Open(p.Pos, min(p.HeaderSize, maxPartHeader))
	if err != nil {
		return err
	}
	defer r.Close()
	h, err := io.ReadAll(io.LimitReader(r, min(p.HeaderSize, maxPartHeader)))
	if err != nil {
		return err
	}
	textsearch.EachField(h, func(name, value []byte) bool {
		line := textsearch.Words(string(render.Unfold(value))) + "\n"
		if name != nil {
			line = string(name) + ": " + line
		}
		err = out.Piece([]byte(line))
		return err == nil
	})
	if err == nil && (bytes.HasSuffix(h, []byte("\n\r\n")) || bytes.Equal(h, []byte("\r\n"))) {
		err = out.Piece([]byte("\n"))
	}
	return err
}

// The measures of a snippet: how many characters it has at most, and how much of
// a text is looked at for them, in octets.
const (
	snippetChars = 200
	snippetInput = 64 << 10
)

// snippet is the beginning of the message's text on one line, without what is
// quoted; of HTML the words.
func snippet(l *letter.Letter, _ Context) (string, error) {
	root, err := l.Tree()
	if err != nil {
		return "", err
	}
	p := firstText(root)
	if p == nil {
		return "", nil
	}
	r, err := l.Open(p.BodyPos(), p.BodySize)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(textsearch.DecodeBody(io.LimitReader(r, p.BodySize), p), snippetInput))
	if err != nil {
		return "", err
	}
	s := strings.ToValidUTF8(string(b), "\uFFFD")
	if strings.EqualFold(string(p.Subtype), "html") || strings.EqualFold(string(p.Subtype), "xhtml+xml") {
		s = textOfHTML(s)
	} else {
		s = unquoted(s)
	}
	return shorten(s), nil
}

// firstText is the part that a snippet is made of.
func firstText(p *message.Part) *message.Part {
	if len(p.Children) == 0 {
		if p.IsText() {
			return p
		}
		return nil
	}
	for _, c := range p.Children {
		if t := firstText(c); t != nil {
			return t
		}
	}
	return nil
}

// unquoted leaves lines out that begin with ">", unless there is nothing else.
func unquoted(s string) string {
	var own strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, ">") {
			own.WriteString(line)
		}
	}
	if strings.TrimSpace(own.String()) == "" {
		return strings.TrimLeft(s, "> \t\r\n")
	}
	return own.String()
}

// shorten puts one space for white space, and cuts.
func shorten(s string) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) || r == 0xfeff {
			space = n > 0
			continue
		}
		if space {
			if n++; n >= snippetChars {
				break
			}
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		if n++; n >= snippetChars {
			break
		}
	}
	return b.String()
}
