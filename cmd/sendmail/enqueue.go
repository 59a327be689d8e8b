package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/queue/maildrop"
)

// enqueue posts the message on standard input for the recipients of the
// command line and, with -t, those of its header.
func (p *program) enqueue(operands []string) {
	sender := p.sender()
	p.from = sender
	d := p.post()
	ended := false
	defer func() {
		if !ended { // by a fatal error
			d.cancel()
		}
	}()
	p.envelope(d, sender)
	n := p.recipients(d, operands)
	d.PutString(maildrop.Content, "")
	var found []mail.Address
	if p.opts.verifyOnly {
		p.probe(d, sender, operands)
	} else {
		found = p.content(d, sender)
	}
	d.PutString(maildrop.Extracted, "")
	for _, a := range found {
		p.recipient(d, string(a))
	}
	if n+len(found) == 0 {
		if p.opts.extract {
			p.fatal("%s(%d): No recipient addresses found in message header", sender, os.Getuid())
		}
		p.fatal("%s(%d): Recipient addresses must be specified on the command line or via the -t option", sender, os.Getuid())
	}
	ended = true
	if err := d.finish(); err != nil {
		p.fatal("%s(%d): %s", sender, os.Getuid(), err)
	}
	if p.opts.report || p.opts.verifyOnly {
		fmt.Fprintf(p.stdout, "Mail Delivery Status Report will be mailed to <%s>.\n", sender)
	}
}

// sender returns the envelope sender: of -f, which may be "Name <addr>", or the
// login name. The environment has no say in it.
func (p *program) sender() string {
	if p.opts.sender == nil {
		return p.user.Name
	}
	list := message.Addresses(*p.opts.sender)
	if len(list) > 1 {
		p.warn("-f option specified malformed sender: %s", *p.opts.sender)
	}
	if len(list) == 0 {
		return ""
	}
	return oneLine(string(list[0]))
}

// oneLine replaces control bytes, line ends above all, by blanks.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// envelope writes the records before the recipients, in Postfix's order.
func (p *program) envelope(d *post, sender string) {
	o := &p.opts
	if o.envID != "" {
		d.PutString(maildrop.Attribute, "envelope_id="+o.envID)
	}
	if o.ret != 0 {
		d.PutString(maildrop.Attribute, "ret_flags="+strconv.Itoa(o.ret))
	}
	context := "local"
	if o.gateway {
		context = "remote"
	}
	d.PutString(maildrop.Attribute, "rewrite_context="+context)
	d.PutString(maildrop.FullName, p.fullName())
	d.PutString(maildrop.Sender, sender)
	if o.verp != nil && sender == "" {
		p.fatal("%s(%d): -V option requires non-null sender address", sender, os.Getuid())
	}
	if o.encoding != "" {
		d.PutString(maildrop.Attribute, "encoding="+o.encoding)
	}
	trace := 0
	if o.verifyOnly {
		trace |= maildrop.TraceVerifyOnly
	}
	if o.report {
		trace |= maildrop.TraceReport
	}
	if trace != 0 {
		d.PutString(maildrop.Attribute, "trace_flags="+strconv.Itoa(trace))
	}
	if o.verp != nil {
		d.PutString(maildrop.Verp, *o.verp)
	}
}

// fullName returns the display name: -F, $NAME, or the account's, where "&"
// stands for the login name (passwd(5)).
func (p *program) fullName() string {
	if p.opts.fullName != nil {
		return oneLine(*p.opts.fullName)
	}
	if name := os.Getenv("NAME"); name != "" {
		return oneLine(name)
	}
	name, _, _ := strings.Cut(p.user.Gecos, ",")
	login := p.user.Name
	if strings.Contains(name, "&") && login != "" {
		name = strings.ReplaceAll(name, "&", strings.ToUpper(login[:1])+login[1:])
	}
	return oneLine(name)
}

// recipients writes those of the command line. Each word is read as an
// address header: "a@b, c@d" or "Name <a@b>".
func (p *program) recipients(d *post, operands []string) int {
	n := 0
	for _, word := range operands {
		list := message.Addresses(word)
		if len(list) == 0 {
			list = []mail.Address{""}
		}
		for _, a := range list {
			p.recipient(d, string(a))
			n++
		}
	}
	return n
}

func (p *program) recipient(d *post, addr string) {
	if p.opts.notify != 0 {
		d.PutString(maildrop.Attribute, "notify_flags="+strconv.Itoa(int(p.opts.notify)))
	}
	d.PutString(maildrop.Recipient, oneLine(addr))
}

// probe writes the message of sendmail -bv.
func (p *program) probe(d *post, sender string, operands []string) {
	if sender != "" {
		d.PutString(maildrop.Line, "From: "+sender)
	}
	d.PutString(maildrop.Line, "Subject: probe")
	for i, word := range operands {
		line := "\t" + oneLine(word)
		if i == 0 {
			d.PutString(maildrop.Part, "To:")
		}
		if i < len(operands)-1 {
			line += ","
		}
		d.PutString(maildrop.Line, line)
	}
}
