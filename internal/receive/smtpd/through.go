package smtpd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/smtpd/origin"
	"packetboat/internal/receive/smtpd/prefilter"
	"packetboat/internal/receive/smtpd/syntax"
	"packetboat/internal/sys/maillog"
)

// through is the Message of a service with a before-queue filter
// (smtpd_proxy_filter): nothing is queued here, the filter answers for it.
type through struct {
	c     *session
	conv  *prefilter.Conv
	reply string // the filter's last word
}

// openFilter begins the conversation with the filter, at the first recipient.
func (c *session) openFilter() bool {
	o := &c.s.opts
	conv, err := prefilter.Dial(c.ctx, prefilter.Options{Address: o.Filter, Helo: o.FilterHelo, Timeout: o.FilterTime}, c.peer, c.tx.command)
	if r, ok := errors.AsType[*prefilter.Refusal](err); ok {
		return c.filterSaid("reject", r.Reply)
	}
	if err != nil {
		c.s.deps.Log.SMTPDFilter(o.Filter, err)
		return c.fail("451 4.3.0 Error: queue file write error")
	}
	c.tx.msg = &through{c: c, conv: conv}
	c.s.deps.Log.SMTPDClient(maillog.SMTPDPeer{ID: "NOQUEUE", Client: c.st.Client(), Method: c.st.Mech, User: c.st.User,
		Sender: c.peer.SASLFrom, OrigID: c.fwd.Ident, OrigClient: origin.Client(&c.fwd.Origin, c.s.opts.LogPort)})
	return true
}

// passRcpt gives a recipient to the filter, if there is one.
func (c *session) passRcpt(to mail.Address, cmd *syntax.Command) bool {
	m, ok := c.tx.msg.(*through)
	if !ok {
		return true
	}
	err := m.conv.Rcpt(passOn("RCPT TO", to, cmd))
	return err == nil || c.unfiltered(err)
}

// passOn is the client's command in its clean form.
func passOn(verb string, a mail.Address, cmd *syntax.Command) string {
	text := verb + ":<" + a.Quoted() + ">"
	for _, arg := range cmd.Args[3:] {
		text += " " + printable(arg.Text)
	}
	return text
}

// unfiltered tells the client why the filter takes something not.
func (c *session) unfiltered(err error) bool {
	if r, ok := errors.AsType[*prefilter.Refusal](err); ok {
		return c.filterSaid("reject", r.Reply)
	}
	c.s.deps.Log.SMTPDFilter(c.s.opts.Filter, err)
	return c.fail("451 4.3.0 Error: queue file write error")
}

// filterSaid tells client and log what the filter said; what is accept or reject.
func (c *session) filterSaid(what, reply string) bool {
	lines := strings.Split(reply, "\n")
	c.told("proxy-"+what, "", lines[len(lines)-1])
	c.reply(strings.Join(lines, "\r\n"))
	return what == "accept"
}

// ID is empty: the log has NOQUEUE.
func (m *through) ID() string { return "" }

// Start sends the trace header that RFC 5321 section 4.4 asks of every server.
func (m *through) Start(env *mail.Envelope) error {
	p, o := &env.Peer, &m.c.s.opts
	helo := p.Helo
	if helo == "" {
		helo = p.Name
	}
	h := fmt.Sprintf("Received: from %s (%s [%s])\n", helo, p.Name, p.Addr.Unmap())
	if p.TLS != "" {
		h += fmt.Sprintf("\t(using %s)\n", p.TLS)
	}
	h += fmt.Sprintf("\tby %s (Postfix) with %s", o.Hostname, p.Proto)
	if len(env.Rcpts) == 1 {
		h += "\n\tfor <" + env.Rcpts[0].Addr.Quoted() + ">"
	}
	for _, line := range env.Actions.Prepend {
		h = line + "\n" + h
	}
	return m.conv.Start(h + "; " + env.Arrived.Format(time.RFC1123Z) + "\n")
}

// Write sends message bytes to the filter.
func (m *through) Write(p []byte) (int, error) { return m.conv.Write(p) }

// Commit ends the message; nil means that the filter has taken it.
func (m *through) Commit() (err error) {
	m.reply, err = m.conv.End()
	m.conv.Close()
	return err
}

// Abort leaves the filter without a message.
func (m *through) Abort() { m.conv.Close() }
