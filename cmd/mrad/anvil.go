package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// serveAnvil answers doveadm who, ours and Dovecot's: VERSION, then
// CONNECT-DUMP, gets a line "service/ip/user PID COUNT" for each user and
// address, and an empty one. Only root may open the socket.
func (p *parent) serveAnvil() {
	for _, s := range p.sockets.open {
		if s.as.Service == "anvil" && !s.served {
			s.served = true
			go p.acceptAnvil(s)
		}
	}
}

func (p *parent) acceptAnvil(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go p.anvil(c)
	}
}

func (p *parent) anvil(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(io.LimitReader(c, 4096))
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSuffix(line, "\n") == "CONNECT-DUMP" {
			c.Write(p.mail.dump())
			return
		}
	}
}

// dump writes the sessions. Tabs and slashes cannot be in a user's name that
// auth let in unless the administrator allows every byte; then they are "?".
func (t *mailTable) dump() []byte {
	type key struct {
		l   live
		pid int
	}
	count := make(map[key]int)
	t.mu.Lock()
	for _, m := range t.procs {
		for _, l := range m.sessions {
			count[key{l, m.pid}]++
		}
	}
	t.mu.Unlock()
	var b []byte
	for k, n := range count {
		user := strings.NewReplacer("\t", "?", "\n", "?", "/", "?").Replace(k.l.user)
		b = fmt.Appendf(b, "%s/%s/%s\t%d\t%d\n", k.l.proto, k.l.remote, user, k.pid, n)
	}
	return append(b, '\n')
}
