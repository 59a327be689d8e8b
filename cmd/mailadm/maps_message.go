package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
)

// messageReader takes the keys of header_checks(5) and body_checks(5) out of a
// message: postmap -q - with -h, -b and -m.
type messageReader struct {
	m          *mapTool
	ask        func(string) bool
	field      []byte   // the header field so far, its lines joined by LF
	inHeader   bool     // of the message or, with -m, of a part
	boundaries []string // of the multiparts that are open, the innermost last
	kind       string   // content type of this header's entity
	stopped    bool
}

// maxBoundaries bounds nested multiparts (mime_nesting_limit of postconf(5)).
const maxBoundaries = 100

// messageKeys calls ask with each header field or body line that is wanted.
func (m *mapTool) messageKeys(ask func(string) bool) error {
	r := &messageReader{m: m, ask: ask, inHeader: true}
	br := bufio.NewReaderSize(m.stdin, maxKey)
	for !r.stopped {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.New("line longer than 1 MB on standard input")
		}
		if len(line) > 0 {
			r.line(bytes.TrimRight(line, "\r\n"))
		}
		if err == io.EOF {
			r.flush()
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *messageReader) line(line []byte) {
	switch {
	case !r.inHeader:
		r.bodyLine(line)
	case len(line) == 0:
		r.endHeader()
	case line[0] == ' ' || line[0] == '\t':
		r.field = append(append(r.field, '\n'), line...)
	default:
		r.flush()
		if bytes.IndexByte(line, ':') <= 0 {
			// What is no header field begins the body.
			r.endHeader()
			r.bodyLine(line)
			return
		}
		r.field = append(r.field[:0], line...)
	}
}

// flush ends a header field.
func (r *messageReader) flush() {
	if len(r.field) == 0 {
		return
	}
	field := string(r.field)
	r.field = r.field[:0]
	name, value, _ := strings.Cut(field, ":")
	if strings.EqualFold(strings.TrimSpace(name), "content-type") {
		r.kind = value
	}
	if r.m.headers {
		r.stopped = !r.ask(field)
	}
}

// endHeader looks at what follows a header: with -m parts have headers too.
func (r *messageReader) endHeader() {
	r.flush()
	r.inHeader = false
	kind, params, err := mime.ParseMediaType(strings.ReplaceAll(r.kind, "\n", " "))
	r.kind = ""
	if err != nil || !r.m.mime {
		return
	}
	switch b := params["boundary"]; {
	case strings.HasPrefix(kind, "multipart/") && b != "" && len(r.boundaries) < maxBoundaries:
		r.boundaries = append(r.boundaries, b)
	case kind == "message/rfc822":
		r.inHeader = true
	}
}

func (r *messageReader) bodyLine(line []byte) {
	if r.m.mime && bytes.HasPrefix(line, []byte("--")) && r.boundary(string(line[2:])) {
		return
	}
	if r.m.body {
		r.stopped = !r.ask(string(line))
	}
}

// boundary tells whether a line divides parts, and turns to what follows it.
func (r *messageReader) boundary(s string) bool {
	for i := len(r.boundaries) - 1; i >= 0; i-- {
		b := r.boundaries[i]
		if !strings.HasPrefix(s, b) {
			continue
		}
		if strings.HasPrefix(s[len(b):], "--") {
			r.boundaries = r.boundaries[:i]
			return true
		}
		r.boundaries = r.boundaries[:i+1]
		r.inHeader = true
		return true
	}
	return false
}
