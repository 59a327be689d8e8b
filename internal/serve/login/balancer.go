package login

import (
	"net"
	"net/netip"
	"slices"

	"packetboat/internal/sys/haproxy"
	"packetboat/internal/sys/proc"
)

// ServeBalanced is Serve for a port behind a load balancer that says with the
// PROXY protocol whose connection it hands on (inet_listener { haproxy = yes }). A
// connection from outside haproxy_trusted_networks is closed: anybody could claim
// to come from a trusted network otherwise.
func (s *Server) ServeBalanced(l net.Listener, p Proto, immediate bool) {
	proc.Accept(l, nil, func(c net.Conn) {
		local, remote, ok := s.header(c)
		if !ok {
			c.Close()
			return
		}
		s.meet(c, p, immediate, local, remote)
	})
}

// header reads what the balancer tells before the client's first byte. The clients
// under way here are bounded by the balancers' own number and the short time.
func (s *Server) header(c net.Conn) (local, remote netip.AddrPort, ok bool) {
	local, remote = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	if !slices.ContainsFunc(s.o.Balancers, func(p netip.Prefix) bool { return p.Contains(remote.Addr()) }) {
		s.o.Log.HAProxyFailed("Client not trusted", addrText(remote))
		return local, remote, false
	}
	h, err := haproxy.Read(c, s.o.BalancerTimeout)
	if err != nil {
		s.o.Log.HAProxyFailed("Client disconnected: "+err.Error(), addrText(remote))
		return local, remote, false
	}
	if !h.Local {
		local, remote = h.Server, h.Client
	}
	return local, remote, true
}
