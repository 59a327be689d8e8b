package stream

import (
	"bytes"
	"io"
)

// Decoder turns what a client sends after DATA or BDAT into the lines that the
// queue stores: CRLF becomes LF, the dots of RFC 5321 section 4.5.2 go, a CR
// that ends no line becomes a blank (cleanup_replace_stray_cr_lf), NUL stays.
//
// Only CRLF "." CRLF ends a message. A line that ends in a bare LF counts as a
// line (smtpd_forbid_bare_newline = normalize), but a lone dot with a bare LF
// before or behind it is neither the end nor content: it vanishes. So no two
// servers can disagree about where a message ends (CVE-2023-51764 and its kin).
type Decoder struct {
	W     io.Writer
	Limit int64 // of size; 0 = none

	Size    int64 // octets as they came on the wire, line ends counted as two
	Chunked bool  // BDAT: no dots, no end
	begun   bool  // past the first line that is no "From " line
	cont    bool  // in the middle of a line
	mid     bool  // what line() was given last continues a line
	cr      bool  // BDAT: a chunk ended in CR, whose LF may begin the next
	Bare    bool  // the last line ended in a bare LF
	SawBare bool  // any line did
	TooBig  bool
	Err     error // of w; then the rest is read and thrown away
}

// maxPiece is how much of a line without an end is held before it is passed on.
const maxPiece = LargeBuffer / 2

// Decode works off the lines in p, overwriting p's beginning with what it
// writes. It returns how many bytes it used, which is less than len(p) when a
// line is not complete, and whether the message has ended.
func (d *Decoder) Decode(p []byte) (used int, done bool) {
	out := 0
	if d.cr && len(p) > 0 {
		used = d.afterCR(p)
	}
	for used < len(p) {
		i := bytes.IndexByte(p[used:], '\n')
		if i < 0 && len(p)-used <= maxPiece {
			break
		}
		line, full := p[used:], i >= 0
		if full {
			line = line[:i+1]
		} else if line[len(line)-1] == '\r' {
			line = line[:len(line)-1] // its LF may be the next byte
		}
		used += len(line)
		text, keep, end := d.line(line, full)
		if end {
			d.write(p[:out])
			return used, true
		}
		if keep {
			if !d.begun && !d.mid && d.first(p[:out], text) {
				out = 0
			}
			out += copy(p[out:], text)
			if full {
				p[out] = '\n' // behind text: line end and dot left room
				out++
			}
		}
	}
	d.write(p[:out])
	return used, false
}

// line strips a line of end and dot. keep is false for what is no content, end
// is true for the end of the message.
func (d *Decoder) line(line []byte, full bool) (text []byte, keep, end bool) {
	text, before := line, d.Bare
	d.mid, d.cont = d.cont, !full
	if full {
		text = text[:len(text)-1]
		n := len(text)
		text = bytes.TrimSuffix(text, []byte{'\r'})
		d.Bare = len(text) == n
		d.SawBare = d.SawBare || d.Bare
	}
	if !d.mid && !d.Chunked && len(text) > 0 && text[0] == '.' {
		text = text[1:]
		if full && len(text) == 0 {
			return nil, false, !d.Bare && !before
		}
	}
	d.count(len(text), full)
	clean(text)
	return text, !d.TooBig, false
}

// count adds a line to the size, as message_size_limit counts it.
func (d *Decoder) count(n int, full bool) {
	if full {
		n += 2
	}
	if d.Limit > 0 && d.Limit-d.Size < int64(n) {
		d.TooBig = true
		return
	}
	d.Size += int64(n)
}

// clean makes blanks of CRs that end no line.
func clean(text []byte) {
	for {
		i := bytes.IndexByte(text, '\r')
		if i < 0 {
			return
		}
		text[i] = ' '
		text = text[i+1:]
	}
}

// first looks at lines before the first header: mbox "From " lines become
// headers of another name, and a message that begins with a blank gets the empty
// line it lacks, as smtpd(8) does. It tells whether it wrote what was gathered.
func (d *Decoder) first(gathered, text []byte) bool {
	if bytes.HasPrefix(bytes.TrimLeft(text, ">"), []byte("From ")) {
		d.write(gathered)
		d.write([]byte("X-Mailbox-Line: "))
		return true
	}
	d.begun = true
	if len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
		d.write(gathered)
		d.write([]byte{'\n'})
		return true
	}
	return false
}

func (d *Decoder) write(p []byte) {
	if len(p) == 0 || d.Err != nil || d.TooBig {
		return
	}
	_, d.Err = d.W.Write(p)
}

// Piece takes the end of a chunk that ends within a line.
func (d *Decoder) Piece(p []byte) {
	if len(p) == 0 {
		return
	}
	if p[len(p)-1] == '\r' {
		d.cr, p = true, p[:len(p)-1]
	}
	text, keep, _ := d.line(p, false)
	if !keep || len(text) == 0 {
		return
	}
	if !d.begun && !d.mid {
		d.first(nil, text)
	}
	d.write(text)
}

// afterCR takes the byte behind a CR that ended a chunk: a LF makes both a line
// end, before anything else the CR becomes a blank.
func (d *Decoder) afterCR(p []byte) (used int) {
	d.cr = false
	if p[0] != '\n' {
		d.count(1, false)
		d.write([]byte{' '})
		return 0
	}
	d.count(0, true)
	d.cont = false
	d.write([]byte{'\n'})
	return 1
}

// Last ends BDAT's last line if it has no end of its own.
func (d *Decoder) Last() {
	if d.cr {
		d.count(1, false)
		d.write([]byte{' '})
	}
	if !d.cont {
		return
	}
	d.count(0, true)
	d.cont, d.cr = false, false
	d.write([]byte{'\n'})
}
