package smtpd

import (
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/smtpd/binary"
	"packetboat/internal/receive/smtpd/stream"
	"packetboat/internal/receive/smtpd/syntax"
)

// bdatState says what BDAT (RFC 3030) has done in a transaction.
type bdatState uint8

const (
	bdatNone  bdatState = iota
	bdatOpen            // chunks have come
	bdatError           // one was refused: those that follow are thrown away
)

// bdat is RFC 3030 section 2. What it announces is always read before anything
// else is looked at, so that a chunk never runs as commands; a size that cannot
// be read ends the session, since nobody knows where the next command begins.
func (c *session) bdat(cmd *syntax.Command) bool {
	if !c.offer.Has("CHUNKING") {
		c.hangup = true                                           // the chunk behind it must not run as commands
		return c.fail("521 5.5.1 Error: command not implemented") // smtpd(8)'s words where CHUNKING is not offered
	}
	size, last, ok := syntax.BDATArgs(cmd)
	if !ok {
		c.hangup = true
		c.s.deps.Log.SMTPDBadChunk(c.st.QueueID, c.st.Client(), []byte(cmd.Rest(0)))
		return c.fail("521 5.5.4 Syntax: BDAT count [LAST]")
	}
	if size == 0 && !last {
		c.tx.chunks = bdatError
		c.s.deps.Log.SMTPDNullChunk(c.st.QueueID, c.st.Client())
		return c.fail("551 5.7.1 Null BDAT request")
	}
	if c.tx.chunks == bdatNone && c.noRcpt() == "" && !c.beginChunks(size) {
		return false
	}
	if refusal := c.badChunk(size); refusal != "" {
		c.tx.chunks = bdatError
		return c.skip(size) && c.fail(refusal)
	}
	if !c.chunk(size) {
		return false
	}
	return c.endChunk(size, last)
}

// noRcpt is the refusal of a message without recipients.
func (c *session) noRcpt() string {
	switch {
	case !c.tx.active:
		return "503 5.5.1 Error: need RCPT command"
	case len(c.tx.env.Rcpts) == 0:
		return "554 5.5.1 Error: no valid recipients"
	}
	return ""
}

// badChunk returns the reply to a chunk that is not wanted.
func (c *session) badChunk(size int64) string {
	limit := c.s.opts.SizeLimit
	switch {
	case c.tx.chunks == bdatError:
		return "551 5.0.0 Discarded " + itoa(size) + " bytes after earlier error"
	case c.noRcpt() != "":
		return c.noRcpt()
	case limit > 0 && size > limit-c.tx.dec.Size:
		c.s.deps.Log.SMTPDLargeChunk(c.st.QueueID, c.st.Client())
		return "552 5.3.4 Chunk exceeds message size limit"
	}
	return ""
}

// beginChunks does at the first chunk what DATA does; a refusal comes after the
// chunk has been read.
func (c *session) beginChunks(size int64) bool {
	n := len(c.out)
	if !c.askData() || !c.start() {
		refusal := string(c.out[n:])
		c.out = c.out[:n]
		c.tx.chunks = bdatError
		if c.skip(size) {
			c.out = append(c.out, refusal...)
		}
		return false
	}
	c.tx.chunks = bdatOpen
	c.tx.dec = stream.Decoder{W: c.tx.msg, Limit: c.s.opts.SizeLimit, Chunked: true}
	if c.tx.env.Body == mail.BodyBinary {
		c.tx.binary = binary.NewWriter(c.tx.msg)
	}
	return true
}

// chunk reads size octets into the message; false when the connection broke.
func (c *session) chunk(size int64) bool {
	c.in.Grow()
	d := &c.tx.dec
	begun := time.Now()
	for left := size; ; {
		p := c.in.Unread()
		whole := int64(len(p)) >= left
		if whole {
			p = p[:left]
		}
		used := c.decode(p, whole)
		c.in.Take(used)
		if whole {
			c.received = -1
			return true
		}
		left -= int64(used)
		c.received = d.Size
		c.pace(begun, size-left)
		if err := c.in.Fill(); err != nil {
			c.lost(err)
			return false
		}
	}
}

// decode takes what has come of a chunk into the message, and all of it at the
// chunk's end; it returns how many octets it took.
func (c *session) decode(p []byte, whole bool) int {
	d := &c.tx.dec
	if c.tx.binary == nil {
		used, _ := d.Decode(p)
		if whole {
			d.Piece(p[used:])
			used = len(p)
		}
		return used
	}
	d.Size += int64(len(p))
	if d.TooBig = d.TooBig || d.Limit > 0 && d.Size > d.Limit; !d.TooBig && d.Err == nil {
		_, d.Err = c.tx.binary.Write(p)
	}
	return len(p)
}

// endChunk answers a chunk, and ends the message after the last.
func (c *session) endChunk(size int64, last bool) bool {
	if !last {
		c.reply("250 2.0.0 Ok: " + itoa(size) + " bytes")
		return true
	}
	d := c.tx.dec
	if b := c.tx.binary; b != nil {
		if err := b.Close(); d.Err == nil {
			d.Err = err
		}
		d.SawBare = b.SawBare
	} else {
		d.Last()
	}
	return c.finish(&d, itoa(d.Size)+" bytes ")
}

// skip throws a refused chunk away; false when the connection broke.
func (c *session) skip(size int64) bool {
	begun := time.Now()
	var got int64
	for {
		n := min(int64(len(c.in.Unread())), size-got)
		c.in.Take(int(n))
		if got += n; got == size {
			return true
		}
		c.pace(begun, got)
		if err := c.in.Fill(); err != nil {
			c.lost(err)
			return false
		}
	}
}
