package smtpd

import (
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/smtpd/stream"
	"packetboat/internal/receive/smtpd/syntax"
)

// data is RFC 5321 section 4.1.1.4.
func (c *session) data(cmd *syntax.Command) bool {
	switch {
	case c.tx.chunks != bdatNone:
		return c.fail("503 5.5.1 Error: DATA after BDAT")
	case len(c.tx.env.Rcpts) == 0 && !c.tx.active:
		return c.fail("503 5.5.1 Error: need RCPT command")
	case len(c.tx.env.Rcpts) == 0:
		return c.fail("554 5.5.1 Error: no valid recipients")
	case len(cmd.Args) != 1:
		return c.fail("501 5.5.4 Syntax: DATA")
	case c.tx.env.Body == mail.BodyBinary: // RFC 3030 section 3
		return c.fail("503 5.5.1 Error: DATA after BODY=BINARYMIME, use BDAT")
	}
	if !c.askData() || !c.start() {
		return false
	}
	c.reply("354 End data with <CR><LF>.<CR><LF>")
	d := stream.Decoder{W: c.tx.msg, Limit: c.s.opts.SizeLimit, Bare: c.tx.bare}
	if !c.receive(&d) {
		return false
	}
	return c.finish(&d, "")
}

// askData asks smtpd_data_restrictions; the one recipient is known to them if
// there is only one.
func (c *session) askData() bool {
	c.st.Rcpt = c.only()
	v := c.s.deps.Policy.Data(c.ctx, &c.st)
	if v != nil {
		c.st.Rcpt = nil
		return c.refused(v)
	}
	ok := c.filterData()
	c.st.Rcpt = nil
	return ok
}

func (c *session) only() *mail.Address {
	if len(c.tx.env.Rcpts) != 1 {
		return nil
	}
	return &c.tx.env.Rcpts[0].Addr
}

// start completes the envelope and begins the message's bytes.
func (c *session) start() bool {
	// The envelope goes its own way with the message: the scheduler keeps it when
	// this transaction is long forgotten.
	env := new(c.tx.env)
	env.Arrived = time.Now()
	env.UID = -1
	if env.Body == mail.BodyBinary {
		env.Body = mail.Body8Bit // package binary makes it that
	}
	env.Peer, env.Origin = c.peer, c.fwd.Origin
	env.Actions = c.st.Actions
	c.tx.sent = env
	c.filterMessage()
	if err := c.tx.msg.Start(env); err != nil {
		defer c.reset()
		return c.unqueued(err)
	}
	return true
}

// pace gives a client the session's timeout, and a second more for each
// smtpd_min_data_rate octets that have come: so a slow line may take its time,
// but nobody holds a session with a byte now and then.
func (c *session) pace(begun time.Time, got int64) {
	extra := time.Duration(got/int64(c.s.opts.MinRate)) * time.Second
	c.conn.SetReadDeadline(begun.Add(c.s.opts.Timeout + extra))
}

// receive reads a message's bytes up to its end; false when the connection
// broke, which ends the session.
func (c *session) receive(d *stream.Decoder) bool {
	c.in.Grow()
	c.received = 0
	begun := time.Now()
	var got int64
	for {
		used, done := d.Decode(c.in.Unread())
		c.in.Take(used)
		got += int64(used)
		c.received = d.Size
		if done {
			c.received = -1
			return true
		}
		c.pace(begun, got)
		if err := c.in.Fill(); err != nil {
			c.received += int64(len(c.in.Unread()))
			c.lost(err)
			return false
		}
	}
}

// lost ends a session within a message: what came is thrown away, and nothing
// of it ever runs as commands.
func (c *session) lost(err error) {
	c.broken(err)
	c.hangup = true
	if c.tx.msg != nil {
		c.tx.msg.Abort()
		c.tx.msg = nil
	}
}

// finish ends the transaction: it says 250 if, and only if, the message is on
// disk. size is what BDAT puts before "queued as".
func (c *session) finish(d *stream.Decoder, size string) bool {
	c.where, c.st.Where = "END-OF-MESSAGE", "END-OF-MESSAGE"
	defer c.reset()
	switch {
	case d.SawBare && c.forbidsBare():
		c.bareNewline()
		return false
	case d.TooBig:
		c.s.deps.Log.SMTPDSize(c.st.QueueID)
		return c.fail("552 5.3.4 Error: message file too big")
	}
	c.st.Rcpt, c.st.Size = c.only(), d.Size
	if v := c.s.deps.Policy.EndOfData(c.ctx, &c.st); v != nil {
		return c.refused(v)
	}
	err := d.Err
	c.tx.sent.Actions = c.st.Actions // END-OF-MESSAGE may have asked for more
	if err == nil {
		err = c.tx.msg.Commit()
	}
	if err != nil {
		return c.unqueued(err)
	}
	if m, ok := c.tx.msg.(*through); ok {
		c.tx.msg = nil
		c.errors, c.junk = 0, 0
		return c.filterSaid("accept", m.reply)
	}
	id := c.tx.msg.ID()
	c.tx.msg = nil // it belongs to the queue now
	c.errors, c.junk = 0, 0
	c.reply("250 2.0.0 Ok: " + size + "queued as " + id)
	return true
}
