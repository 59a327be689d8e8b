package convert

import (
	"bufio"
	"fmt"
	"io"
)

// Chunks writes a message with LF line ends in the chunks of RFC 3030 section 2: CRLF
// line ends as Dots makes them, but neither dots that are doubled nor one at the end.
type Chunks struct {
	W        *bufio.Writer
	Limit    int          // octets of a line
	Deadline func()       // renews the write deadline; called for each part
	Reply    func() error // reads the answer to a chunk that is not the last; an error ends it all

	buf []byte
	out int // chunks whose answers have not been read
}

// The figures of Chunks.
const (
	chunkSize = 256 << 10 // octets of a chunk
	chunkWait = 2         // chunks on their way whose answers may be missing
)

// Copy sends all of r. The answer to the last chunk is the caller's to read, when all
// has been flushed.
func (c *Chunks) Copy(r io.Reader) error {
	lines := bufio.NewWriterSize(c, 4<<10)
	d := Dots{W: lines, Limit: c.Limit, Deadline: c.Deadline, plain: true}
	if err := d.Copy(r); err != nil {
		return err
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	for ; c.out > 0; c.out-- {
		if err := c.Reply(); err != nil {
			return err
		}
	}
	return c.send(" LAST")
}

// Write takes text with CRLF line ends.
func (c *Chunks) Write(p []byte) (int, error) {
	c.buf = append(c.buf, p...)
	if len(c.buf) < chunkSize {
		return len(p), nil
	}
	if err := c.send(""); err != nil {
		return 0, err
	}
	for c.out++; c.out >= chunkWait; c.out-- {
		if err := c.Reply(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// send sends what there is as one chunk.
func (c *Chunks) send(last string) error {
	c.Deadline()
	fmt.Fprintf(c.W, "BDAT %d%s\r\n", len(c.buf), last)
	c.W.Write(c.buf)
	c.buf = c.buf[:0]
	if last != "" {
		return nil // the caller flushes it
	}
	return c.W.Flush()
}
