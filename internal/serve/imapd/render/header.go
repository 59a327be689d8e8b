package render

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// Fields copies the header that br gives to w, but only the fields that sec
// wants, with the empty line behind them. It works line by line, and holds one.
func Fields(br *bufio.Reader, sec *imap.FetchItemBodySection, w io.Writer) error {
	names, not := sec.HeaderFields, sec.HeaderFields == nil
	if not {
		names = sec.HeaderFieldsNot
	}
	begin, keep, any := true, false, false
	for {
		line, err := br.ReadSlice('\n')
		if begin && len(line) == 0 {
			if not || len(sec.Part) > 0 && !any {
				return nil // no empty line was there, and none is made up
			}
			break
		}
		if begin && (line[0] == '\n' || string(line) == "\r\n") {
			break
		}
		if begin && line[0] != ' ' && line[0] != '\t' {
			keep = named(line, names) != not
		}
		if keep {
			any = true
			NoNULs(line)
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		begin = err == nil
		if err == io.EOF {
			begin = true
			continue
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	_, err := w.Write([]byte("\r\n"))
	return err
}

// named tells whether a header line begins one of the fields named.
func named(line []byte, names []string) bool {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return false
	}
	name := bytes.TrimRight(line[:i], " \t")
	for _, n := range names {
		if len(n) == len(name) && strings.EqualFold(n, string(name)) {
			return true
		}
	}
	return false
}

// Held keeps the first octets written to it and counts them all.
type Held struct {
	Buf   []byte
	Limit int
	Total int64
}

// Write keeps what there is room for.
func (h *Held) Write(p []byte) (int, error) {
	room := min(h.Limit-len(h.Buf), len(p))
	h.Buf = append(h.Buf, p[:room]...)
	h.Total += int64(len(p))
	return len(p), nil
}

// Window passes on Left octets behind the first Skip ones.
type Window struct {
	W          io.Writer
	Skip, Left int64
}

// Write passes on what lies in the window.
func (w *Window) Write(p []byte) (int, error) {
	total := len(p)
	n := min(w.Skip, int64(len(p)))
	w.Skip -= n
	p = p[n:]
	p = p[:min(w.Left, int64(len(p)))]
	w.Left -= int64(len(p))
	if _, err := w.W.Write(p); err != nil {
		return 0, err
	}
	return total, nil
}

// NoNULs replaces NUL, which a literal must not hold (RFC 3501 section 4.3),
// by 0x80, as Dovecot does.
func NoNULs(b []byte) {
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return
		}
		b[i] = 0x80
		b = b[i+1:]
	}
}
