package smtpd

import (
	"packetboat/internal/receive/smtpd/peername"
)

// lookup begins to look for the client's name, so that the greeting need not
// wait for a slow name server.
func (c *session) lookup() {
	n := c.s.names
	if n == nil || !c.st.Addr.IsValid() || c.st.Addr.IsUnspecified() {
		return
	}
	if p, ok := n.Cached(c.st.Addr); ok {
		c.named(p)
		return
	}
	found := make(chan peername.Name, 1)
	c.looking = found
	go n.Search(c.ctx, c.st.Addr, found)
}

// identify waits for the name and writes the session's first line. It is
// called before anything that needs either.
func (c *session) identify() {
	if c.known {
		return
	}
	c.known = true
	if c.looking != nil {
		c.named(<-c.looking)
		c.looking = nil
	}
	c.s.deps.Log.SMTPDConnect(c.st.Client())
}

func (c *session) named(p peername.Name) {
	c.st.Name, c.st.NameState = p.Name, p.State
	c.st.Reverse, c.st.RevState = p.Reverse, p.RevState
	c.peer.Name = p.Name
	if p.Why != "" {
		c.s.deps.Log.SMTPDHostname(p.Reverse, c.st.Addr.Unmap().String(), trimBlank(p.Why))
	}
}

func trimBlank(s string) string {
	if s == " " {
		return ""
	}
	return s
}
