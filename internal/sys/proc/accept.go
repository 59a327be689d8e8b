package proc

import (
	"errors"
	"net"
	"time"
)

// acceptPause is how long Accept waits after a failure.
const acceptPause = 50 * time.Millisecond

// Accept gives each connection of l to serve, in a goroutine of its own, until l
// is closed. Another failure passes: descriptors ran out and others must end
// first, or a client left at once. failed, if not nil, is told of it.
func Accept(l net.Listener, failed func(error), serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if failed != nil {
				failed(err)
			}
			time.Sleep(acceptPause)
			continue
		}
		go serve(c)
	}
}
