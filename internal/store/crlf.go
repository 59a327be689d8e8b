package store

import "bytes"

// CRLF turns text with either kind of line ends into text with CRLF, piece by
// piece: mailboxes keep LF, and IMAP speaks CRLF. Where Out has room nothing is
// allocated.
type CRLF struct {
	Out []byte
	CR  bool // the last octet was CR
}

// Add adds b to c.Out, with CRLF for every LF that has no CR.
func (c *CRLF) Add(b []byte) {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			c.Out = append(c.Out, b...)
			c.CR = b[len(b)-1] == '\r'
			return
		}
		c.Out = append(c.Out, b[:i]...)
		if i > 0 {
			c.CR = b[i-1] == '\r'
		}
		if !c.CR {
			c.Out = append(c.Out, '\r')
		}
		c.Out = append(c.Out, '\n')
		c.CR = false
		b = b[i+1:]
	}
}
