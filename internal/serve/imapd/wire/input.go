package wire

import (
	"io"
	"net"
	"time"
)

// Input reads from the client. Before it blocks it writes what waits, so that
// all answers to a batch of commands leave together.
type Input struct {
	Conn    net.Conn
	Out     *Output
	Timeout time.Duration
	Packed  io.Reader // what inflates conn, with COMPRESS; nil = off
	Pending []byte    // octets that the login process had read already
	Got     int64
	Waited  time.Duration
	News    func(read func() (int, error)) (int, error) // reads between commands while NOTIFY is on; nil = off
	Idle    bool                                        // IDLE reads from another goroutine: nothing is flushed here
}

// Read gives pending octets, then what the client sends.
func (in *Input) Read(b []byte) (int, error) {
	if len(in.Pending) > 0 {
		n := copy(b, in.Pending)
		in.Pending = in.Pending[n:]
		in.Got += int64(n)
		return n, nil
	}
	if !in.Idle {
		if err := in.Out.Flush(); err != nil {
			return 0, err
		}
		in.Conn.SetReadDeadline(time.Now().Add(in.Timeout))
	}
	begun := time.Now()
	var src io.Reader = in.Conn
	if in.Packed != nil {
		src = in.Packed
	}
	var n int
	var err error
	if in.News != nil {
		n, err = in.News(func() (int, error) { return src.Read(b) })
	} else {
		n, err = src.Read(b)
	}
	in.Waited += time.Since(begun)
	in.Got += int64(n)
	return n, err
}
