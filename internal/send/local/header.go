package local

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"packetboat/internal/mail"
)

// maxHeader is how much of a message is searched for Delivered-To: headers, in
// octets; a loop adds its headers at the top.
const maxHeader = 1 << 20

// delivered are the addresses that a message has been delivered to before, by
// its Delivered-To: headers (local(8), MAIL FORWARDING LOOPS).
type delivered struct{ addrs []mail.Address }

// has tells whether a is among them; a nil delivered has none.
func (d *delivered) has(a mail.Address) bool {
	if d == nil {
		return false
	}
	for _, b := range d.addrs {
		if b == a.Fold() {
			return true
		}
	}
	return false
}

var deliveredTo = []byte("delivered-to:")

// readDelivered reads the header of a message as far as needed.
func readDelivered(c mail.Content) (*delivered, error) {
	return scanDelivered(io.LimitReader(c.Reader(), maxHeader))
}

func scanDelivered(r io.Reader) (*delivered, error) {
	br := bufio.NewReaderSize(r, 4<<10)
	d := &delivered{}
	whole := true // the line does not continue one that was too long
	for {
		line, err := br.ReadSlice('\n')
		if whole && len(line) > len(deliveredTo) && bytes.EqualFold(line[:len(deliveredTo)], deliveredTo) {
			v := strings.TrimSpace(string(line[len(deliveredTo):]))
			d.addrs = append(d.addrs, mail.Address(v).Fold())
		}
		if whole && len(bytes.TrimRight(line, "\r\n")) == 0 {
			return d, nil
		}
		whole = err != bufio.ErrBufferFull
		if err == io.EOF {
			return d, nil
		}
		if err != nil && whole {
			return nil, err
		}
	}
}

// Looped tells whether a message has been delivered to a before, by its
// Delivered-To: headers. pipe(8) asks, too.
func Looped(c mail.Content, a mail.Address) (bool, error) {
	d, err := readDelivered(c)
	return d.has(a), err
}
