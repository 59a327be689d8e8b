package fetch

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strconv"
	"strings"

	"packetboat/cmd/mailadm/doveadm/letter"
	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/textsearch"
)

// pieces prints what r gives, a line a piece while header is set (as Dovecot reads
// a header) and in large pieces behind it; CRLF becomes LF unless raw is set.
type pieces struct {
	out    show.Formatter
	header bool
	raw    bool
}

func (p *pieces) copy(r io.Reader) error {
	in := bufio.NewReaderSize(r, 8<<10)
	var hold []byte
	for {
		line, err := in.ReadSlice('\n')
		if !p.raw && bytes.HasSuffix(line, []byte("\r\n")) {
			hold = append(append(hold, line[:len(line)-2]...), '\n')
		} else {
			hold = append(hold, line...)
		}
		if len(hold) > 0 && (p.header || len(hold) >= 8<<10 || err == io.EOF) {
			p.header = p.header && string(hold) != "\n"
			if err := p.out.Piece(hold); err != nil {
				return err
			}
			hold = hold[:0]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
}

// stream prints octets of the message.
func stream(l *letter.Letter, pos, n int64, p pieces) error {
	if n == 0 {
		p.out.Done()
		return nil
	}
	r, err := l.Open(pos, n)
	if err != nil {
		return err
	}
	defer r.Close()
	if n > 0 {
		err = p.copy(io.LimitReader(r, n))
	} else {
		err = p.copy(r)
	}
	p.out.Done()
	return err
}

// headerSize is the length of the header in octets.
func headerSize(l *letter.Letter) (int64, error) {
	if l.M.Header > 0 {
		return l.M.Header, nil
	}
	root, err := l.Tree()
	if err != nil {
		return 0, err
	}
	return root.HeaderSize, nil
}

func header(_ *Field, l *letter.Letter, _ Context, out show.Formatter) error {
	n, err := headerSize(l)
	if err != nil {
		return err
	}
	return stream(l, 0, n, pieces{out: out, header: true})
}

func body(_ *Field, l *letter.Letter, _ Context, out show.Formatter) error {
	n, err := headerSize(l)
	if err != nil {
		return err
	}
	return stream(l, n, l.M.Size-n, pieces{out: out})
}

func whole(_ *Field, l *letter.Letter, _ Context, out show.Formatter) error {
	return stream(l, 0, l.M.Size, pieces{out: out, header: true})
}

// filters are what may stand behind hdr.NAME.
var filters = map[string]func(value []byte) string{
	"":                  func(v []byte) string { return string(v) },
	"utf8":              func(v []byte) string { return textsearch.Words(string(render.Unfold(v))) },
	"address":           func(v []byte) string { return addresses(v) },
	"address_name":      func(v []byte) string { return names(v) },
	"address_name.utf8": func(v []byte) string { return textsearch.Words(names(v)) },
}

// headerField prints every field of the name, a line each.
func headerField(f *Field, l *letter.Letter, _ Context, out show.Formatter) error {
	var values []string
	err := l.EachField(f.arg, func(value []byte) bool {
		v := bytes.ReplaceAll(value, []byte("\r\n"), []byte("\n"))
		values = append(values, filters[f.how](v))
		return true
	})
	out.Value(strings.Join(values, "\n"))
	return err
}

// addresses writes the addresses of a field alone, a line each.
func addresses(value []byte) string {
	return eachAddress(value, func(a message.EnvAddress) string { return string(a.Mailbox) + "@" + string(a.Host) })
}

// names writes the names of a field's addresses, a line each; some are empty.
func names(value []byte) string {
	return eachAddress(value, func(a message.EnvAddress) string { return string(a.Name) })
}

func eachAddress(value []byte, text func(message.EnvAddress) string) string {
	var list []string
	message.EachEnvAddress(value, func(a message.EnvAddress) bool {
		if a.Host != nil {
			list = append(list, text(a))
		}
		return true
	})
	return strings.Join(list, "\n")
}

// validSection reads "1.2.mime", "header", "text" and the like.
func validSection(s string) bool {
	_, what, ok := splitSection(s)
	return ok && (what == "" || what == "header" || what == "text" || what == "mime")
}

// splitSection takes part numbers and the word behind them apart.
func splitSection(s string) (nums []int, what string, ok bool) {
	for s != "" {
		word, rest, more := strings.Cut(s, ".")
		n, err := strconv.Atoi(word)
		if err != nil {
			return nums, s, !more && (word != "mime" || len(nums) > 0)
		}
		if n <= 0 || len(nums) >= message.MaxNesting {
			return nil, "", false
		}
		nums, s = append(nums, n), rest
	}
	return nums, "", true
}

// section prints body.SECTION as it stands, and binary.SECTION with its transfer
// encoding undone.
func section(f *Field, l *letter.Letter, _ Context, out show.Formatter) error {
	nums, what, _ := splitSection(f.arg)
	root, err := l.Tree()
	if err != nil {
		return err
	}
	p := part(root, nums)
	if p == nil {
		out.Done()
		return nil
	}
	pos, n := place(p, what, len(nums) == 0)
	if f.how == "binary" && what == "" && len(p.Children) == 0 {
		return decoded(l, p, out)
	}
	return stream(l, pos, n, pieces{out: out, raw: true})
}

// part follows part numbers. A part that is no multipart has only number 1.
func part(p *message.Part, nums []int) *message.Part {
	for i, n := range nums {
		if i > 0 && p.Message {
			p = p.Children[0]
		}
		switch {
		case p.Multipart && n <= len(p.Children):
			p = p.Children[n-1]
		case p.Multipart || n != 1 || i+1 < len(nums) && !p.Message:
			return nil
		}
	}
	return p
}

// place returns where a piece of a part stands. HEADER and TEXT of a part are
// those of the message in it (RFC 3501 section 6.4.5).
func place(p *message.Part, what string, top bool) (pos, n int64) {
	if what == "mime" {
		return p.Pos, p.HeaderSize
	}
	if what != "" && !top {
		if !p.Message {
			return 0, 0
		}
		p = p.Children[0]
	}
	switch {
	case what == "header":
		return p.Pos, p.HeaderSize
	case what == "" && top:
		return 0, p.HeaderSize + p.BodySize
	}
	return p.BodyPos(), p.BodySize
}

// decoded prints the body of a part with its transfer encoding undone.
func decoded(l *letter.Letter, p *message.Part, out show.Formatter) error {
	r, err := l.Open(p.BodyPos(), p.BodySize)
	if err != nil {
		return err
	}
	defer r.Close()
	var in io.Reader = io.LimitReader(r, p.BodySize)
	switch strings.ToLower(string(p.Encoding)) {
	case "base64":
		in = base64.NewDecoder(base64.StdEncoding, in)
	case "quoted-printable":
		in = quotedprintable.NewReader(in)
	}
	err = (&pieces{out: out, raw: true}).copy(in)
	out.Done()
	return err
}
