package local

import (
	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
)

// leaves tells whether forwarded mail wants another sender: it goes from a stranger
// to another host, which would hold the stranger's SPF record against our address
// (RFC 7208 section 2.4).
func (d *delivery) leaves(sender, to mail.Address) bool {
	if d.l.o.SRS == nil || sender == "" {
		return false
	}
	for _, a := range []mail.Address{sender, to} {
		if _, local, err := d.l.o.Expander.Resolve(a); err != nil || local {
			return false
		}
	}
	return true
}

// bounced sends mail for an address that SRS has made on to the sender that it
// stands for.
func (d *delivery) bounced() mail.Result {
	to, err := d.l.o.SRS.Reverse(d.rcpt.Addr)
	if err != nil {
		return d.result(mail.Bounce("5.1.1", "unknown user: \"%s\" (%v)", d.rcpt.Addr.Local(), err))
	}
	if d.seen.has(d.rcpt.Addr) {
		return d.result(mail.Bounce("5.4.6", "mail forwarding loop for %s", d.rcpt.Addr))
	}
	return d.forward([]*alias.Dest{{Kind: alias.Forward, Addr: to, Delivered: d.rcpt.Addr}})[0].res
}
