package pickup

import (
	"errors"
	"net"
	"strconv"
	"time"

	"packetboat/internal/queue/maildrop"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// Figures of a conversation on the submit socket.
const (
	serveTime = 10 * time.Second // for all of a message to come in: its sender has it in memory
	// maxServe is the largest message that is taken so, in octets of records. What
	// is larger comes through maildrop, where its size is checked as it is written.
	maxServe = 1 << 20
)

// errNoRoom says that queue_minfree octets would not be left.
var errNoRoom = errors.New("insufficient system storage")

// Serve takes one message from a local sendmail on c: records as in a file of
// maildrop, up to the one of type End. The sender's account is that of the
// process at the other end. The answer, in postdrop's form, has the status 0 when
// the message is on disk in the queue; with every other answer, and without one,
// nothing has been taken, and sendmail goes the way through maildrop.
func (p *Pickup) Serve(c net.Conn) {
	c.SetDeadline(time.Now().Add(serveTime))
	status, reason := 0, ""
	if err := p.serve(c); err != nil {
		status, reason = 1, err.Error()
	}
	c.SetDeadline(time.Now().Add(serveTime))
	c.Write([]byte("status\x00" + strconv.Itoa(status) + "\x00reason\x00" + reason + "\x00\x00"))
}

func (p *Pickup) serve(c net.Conn) error {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("no unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return err
	}
	uid, err := proc.PeerUID(raw)
	if err != nil {
		return err
	}
	if free, err := disk.Free(p.dir); err != nil || free < p.o.MinFree {
		return errors.Join(err, errNoRoom)
	}
	m, err := maildrop.Receive(c, maxServe, uid)
	if err != nil {
		return err
	}
	return p.submit(m)
}
