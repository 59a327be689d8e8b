package wiring

import (
	"net"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// ForUsers serves only conversations of accounts that the list of users in the
// parameter list names (config.Main.MayUser); the others return at once, and the
// caller closes them. The commands that ask first tell users why. mtad calls it
// for its sockets, which everyone may open.
func ForUsers(m *config.Main, log *maillog.Log, list string, serve func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		uc, ok := c.(*net.UnixConn)
		if !ok {
			return
		}
		raw, err := uc.SyscallConn()
		if err != nil {
			return
		}
		uid, err := proc.PeerUID(raw)
		if err == nil {
			err = m.MayUser(list, uid)
		}
		if err != nil {
			log.Warn("connection to a control socket refused: %v", err)
			return
		}
		serve(c)
	}
}
