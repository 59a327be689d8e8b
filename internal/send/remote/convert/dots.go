package convert

import (
	"bufio"
	"bytes"
	"io"
)

// Dots writes a message with LF line ends as the DATA of RFC 5321 section
// 4.5.2: CRLF line ends, a dot before each dot that begins a line, ".CRLF" at
// the end. No bare CR or LF leaves this machine, whatever the message holds: a
// CR before LF belongs to the line end, any other becomes a space (the far side
// of the smuggling tricks of CVE-2023-51764). Lines longer than limit octets are
// broken as smtp_line_length_limit does, with CRLF and a space.
type Dots struct {
	W        *bufio.Writer
	Limit    int    // octets of a line
	Deadline func() // renews the write deadline; called for each chunk

	plain  bool // no dots: the end is told in another way
	column int
	held   bool // a CR was read whose successor is not known yet
}

// chunk is the number of octets read at once.
const chunk = 64 << 10

// Copy sends all of r and the final dot.
func (d *Dots) Copy(r io.Reader) error {
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			d.Deadline()
			if werr := d.write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return d.end()
		}
		if err != nil {
			return err
		}
	}
}

// write sends one chunk, a line or a part of a line at a time.
func (d *Dots) write(b []byte) error {
	for len(b) > 0 {
		if d.held {
			d.held = false
			if b[0] != '\n' {
				d.text([]byte{' '})
			}
		}
		i := bytes.IndexAny(b, "\r\n")
		if i < 0 {
			return d.text(b)
		}
		d.text(b[:i])
		if b[i] == '\r' {
			d.held = true
		} else {
			d.newline()
		}
		b = b[i+1:]
	}
	return nil
}

// text sends octets that hold no line end. Errors of the buffered writer stay
// with it and come out at the last call.
func (d *Dots) text(b []byte) error {
	if len(b) > 0 && d.column == 0 && b[0] == '.' && !d.plain {
		d.W.WriteByte('.')
	}
	for len(b) > 0 {
		if d.column >= d.Limit {
			d.W.WriteString("\r\n ")
			d.column = 1
		}
		n := min(len(b), d.Limit-d.column)
		if _, err := d.W.Write(b[:n]); err != nil {
			return err
		}
		d.column += n
		b = b[n:]
	}
	return nil
}

func (d *Dots) newline() {
	d.W.WriteString("\r\n")
	d.column = 0
}

// end completes the last line and sends the final dot.
func (d *Dots) end() error {
	if d.held {
		d.text([]byte{' '})
	}
	if d.column > 0 {
		d.newline()
	}
	if d.plain {
		return nil
	}
	_, err := d.W.WriteString(".\r\n")
	return err
}
