package textsearch

import (
	"bytes"
	"io"
	"strings"

	"packetboat/internal/mail/message"
)

// decoders are made when they are wanted, and used again for the next body.
type decoders struct {
	base64 *base64Reader
	quoted *quotedReader
}

// transfer undoes the part's transfer encoding.
func (d *decoders) transfer(r io.Reader, p *message.Part) io.Reader {
	switch strings.ToLower(string(p.Encoding)) {
	case "base64":
		if d.base64 == nil {
			d.base64 = new(base64Reader)
		}
		d.base64.reset(r)
		return d.base64
	case "quoted-printable":
		if d.quoted == nil {
			d.quoted = new(quotedReader)
		}
		d.quoted.reset(r)
		return d.quoted
	}
	return r
}

// base64Reader decodes base64 and passes over all that is none of its letters,
// as mail readers do; encoding/base64 gives up at the first.
type base64Reader struct {
	r    io.Reader
	bits uint32
	n    uint // sextets in bits
	raw  [4 << 10]byte
	dec  [3<<10 + 3]byte
	out  []byte
	err  error
}

func (d *base64Reader) reset(r io.Reader) { d.r, d.bits, d.n, d.out, d.err = r, 0, 0, nil, nil }

// Read gives decoded octets.
func (d *base64Reader) Read(p []byte) (int, error) {
	for len(d.out) == 0 && d.err == nil {
		var n int
		n, d.err = d.r.Read(d.raw[:])
		d.decode(d.raw[:n])
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	if n > 0 {
		return n, nil
	}
	return 0, d.err
}

// decode makes three octets of four letters.
func (d *base64Reader) decode(raw []byte) {
	out := d.dec[:0]
	for _, c := range raw {
		v := sextet(c)
		if v < 0 {
			if c == '=' && d.n >= 2 {
				out = append(out, byte(d.bits>>(6*d.n-8)))
				if d.n == 3 {
					out = append(out, byte(d.bits>>2))
				}
				d.bits, d.n = 0, 0
			}
			continue
		}
		d.bits = d.bits<<6 | uint32(v)
		if d.n++; d.n == 4 {
			out = append(out, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
			d.bits, d.n = 0, 0
		}
	}
	d.out = out
}

func sextet(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}

// quotedReader decodes quoted-printable. What is no escape passes as it is.
type quotedReader struct {
	r    io.Reader
	raw  [4 << 10]byte
	dec  [4 << 10]byte
	held int // octets at the front of raw that wait for more
	out  []byte
	err  error
}

func (d *quotedReader) reset(r io.Reader) { d.r, d.held, d.out, d.err = r, 0, nil, nil }

// Read gives decoded octets.
func (d *quotedReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 && (d.err == nil || d.held > 0) {
		n := 0
		if d.err == nil {
			n, d.err = d.r.Read(d.raw[d.held:])
		}
		d.decode(d.raw[:d.held+n])
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	if n > 0 {
		return n, nil
	}
	return 0, d.err
}

// decode works in a copy, because what is held moves to the front of raw.
func (d *quotedReader) decode(raw []byte) {
	out := d.dec[:0]
	i := 0
	for i < len(raw) {
		n := bytes.IndexByte(raw[i:], '=')
		if n < 0 {
			n = len(raw) - i
		}
		out = append(out, raw[i:i+n]...)
		if i += n; i == len(raw) || i+2 >= len(raw) && d.err == nil {
			break
		}
		c, n := quotedEscape(raw[i:])
		if c >= 0 {
			out = append(out, byte(c))
		}
		i += n
	}
	d.held = copy(d.raw[:], raw[i:])
	d.out = out
}

// quotedEscape reads "=XX" or a soft line break (-1), and returns how long it is.
func quotedEscape(b []byte) (c, n int) {
	if len(b) >= 2 && b[1] == '\n' {
		return -1, 2
	}
	if len(b) >= 3 && b[1] == '\r' && b[2] == '\n' {
		return -1, 3
	}
	if len(b) >= 3 {
		hi, lo := hex(b[1]), hex(b[2])
		if hi >= 0 && lo >= 0 {
			return hi<<4 | lo, 3
		}
	}
	return '=', 1
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
