package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"packetboat/internal/auth"
	"packetboat/internal/sys/proc"
)

// serveAnvil answers doveadm who, ours and Dovecot's: VERSION, then
// CONNECT-DUMP, gets a line "service/ip/user PID COUNT" for each user and
// address, and an empty one. Ours may also ask to KICK the sessions of users
// that match a mask, from addresses of a network (both may be empty): one
// process serves many, so its end would be the end of others, too. The answer
// names the users. Only root may open the socket.
func (p *parent) serveAnvil() {
	for _, s := range p.sockets.open {
		if s.as.Service == "anvil" && !s.served {
			s.served = true
			go proc.Accept(s, nil, p.anvil)
		}
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
		args := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case args[0] == "CONNECT-DUMP":
			c.Write(p.mail.dump())
			return
		case args[0] == "KICK" && len(args) == 3:
			c.Write(p.mail.kick(args[1], args[2]))
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

// kick ends sessions, and returns the users they belonged to, each once, and an
// empty line.
func (t *mailTable) kick(mask, network string) []byte {
	var net netip.Prefix
	if network != "" {
		p, err := netip.ParsePrefix(network)
		if err != nil {
			return []byte("\n")
		}
		net = p
	}
	users := make(map[string]bool)
	t.mu.Lock()
	for _, m := range t.procs {
		for n, l := range m.sessions {
			if mask != "" && !auth.MatchMask(mask, l.user) || network != "" && !net.Contains(l.remote.Unmap()) {
				continue
			}
			users[l.user] = true
			go m.send(message{Op: opKick, Number: n})
		}
	}
	t.mu.Unlock()
	var b []byte
	for _, u := range slices.Sorted(maps.Keys(users)) {
		b = append(append(b, strings.NewReplacer("\t", "?", "\n", "?").Replace(u)...), '\n')
	}
	return append(b, '\n')
}
