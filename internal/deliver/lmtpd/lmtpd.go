// Package lmtpd is the LMTP server (RFC 2033) of package deliver's programs: on
// the socket that mtad's parent hands to `deliver -z`, and on mrad's LMTP
// ports. One goroutine reads and parses, another one delivers and answers:
// all transactions that have come in while one batch was written to disk make
// the next batch, which costs one lock and one flush.
//
// Messages are taken in completely before a mailbox is locked: small ones wait
// in memory, within a figure, larger ones in a temporary file that has no name.
// Appending them while they come in would hold the mailbox's locks for as long
// as the sender takes, and a sender that stalls would keep mutt out.
package lmtpd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

// Options says how a conversation is led. The zero value is good.
type Options struct {
	Host  string        // in the greeting; empty = "localhost"
	Size  int64         // largest message in octets; 0 = no limit of its own
	Rcpts int           // recipients of one message; 0 = 1000 (lmtp_... as smtpd_recipient_limit)
	Idle  time.Duration // longest wait for a command or for more of a message; 0 = none
	Temp  string        // folder of temporary files; empty = os.TempDir
	// Raw takes a BDAT's octets as they are: our own engine sends LF line ends.
	Raw bool
	// Gone, if not nil, is called once, by the reading goroutine, when the client
	// hung up before its end: a Deliver that waits for something can give up.
	Gone func()
}

// Figures of a conversation.
const (
	maxCommand   = 8 << 10  // octets of one command line, XORIG and XDLVR included
	maxErrors    = 20       // commands that were refused, before the conversation ends
	maxJunk      = 1000     // commands since the last message that moved nothing
	maxBatch     = 100      // messages that are delivered together
	maxWaiting   = 64       // messages that wait behind them
	maxMemory    = 64 << 10 // octets of a message that wait in memory
	defaultRcpts = 1000
)

// Rcpt is one recipient of a message.
type Rcpt struct {
	Addr      mail.Address
	Orig      string // XORIG: for X-Original-To
	Delivered string // XDLVR: for Delivered-To
	ORCPT     string // RFC 3461, as it came
	Folder    string // XFOLDER: of the mailbox, where it is not the inbox
	N         int    // its RCPT was the Nth of the transaction, from 1; refused ones count
	// Ask says that nothing will be delivered: XQUOTA asks whether a message of Size
	// octets would be taken.
	Ask  bool
	Size int64 // octets that MAIL has announced; 0 = not known
	// Status is the answer, filled by Backend.Deliver; nil counts as success.
	Status *mail.Status
	// Box is the backend's own.
	Box any
}

// Message is one message that came in complete.
type Message struct {
	Client string // as it called itself in LHLO
	Sender mail.Address
	Rcpts  []*Rcpt // those that Backend.Rcpt took, at least one
	Size   int64   // octets with LF line ends
	spool  Spool
	failed *mail.Status // why it could not be taken in
	conn   net.Conn     // that it came over
}

// Reader returns a new reader over the message's bytes, with LF line ends.
func (m *Message) Reader() io.Reader { return m.spool.Reader() }

// Unwanted tells whether the client is gone: it will send the message again, so
// that a Backend that takes its time over a batch need not deliver it.
func (m *Message) Unwanted() bool { return m.conn != nil && proc.HungUp(m.conn) }

// Backend knows the mailboxes.
type Backend interface {
	// Rcpt says whether mail for r is taken; nil = yes. It may set r.Box.
	Rcpt(r *Rcpt) *mail.Status
	// Deliver delivers a batch, in order, and sets every Rcpt's Status. What it
	// says is on disk when it returns.
	Deliver(batch []*Message)
}

// item is what the reading goroutine hands to the answering one, in order.
type item struct {
	text string   // an answer
	msg  *Message // a message, whose answers are not known yet
	last bool     // nothing comes behind it
}

// session is one conversation.
type session struct {
	o    Options
	b    Backend
	conn net.Conn
	r    *bufio.Reader
	out  chan item
	dead chan struct{} // the answering goroutine is gone

	greeted bool
	client  string
	sender  *mail.Address
	size    int64 // that MAIL announced
	tried   int   // RCPT commands since MAIL
	rcpts   []*Rcpt
	bdat    *Message // a message whose chunks come in
	errors  int
	junk    int
}

// errOver ends a conversation in order; errGone is a client that went without QUIT.
var (
	errOver = errors.New("conversation is over")
	errGone = errors.New("the client is gone")
)

// Serve leads one conversation on conn and closes it. It returns nil when the
// client said QUIT or closed its end.
func Serve(conn net.Conn, o Options, b Backend) error {
	if o.Host == "" {
		o.Host = "localhost"
	}
	if o.Rcpts <= 0 {
		o.Rcpts = defaultRcpts
	}
	defer conn.Close()
	s := &session{o: o, b: b, conn: conn, r: bufio.NewReaderSize(deadline{conn, o.Idle}, 32<<10),
		out: make(chan item, 4*maxWaiting), dead: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		defer close(s.dead)
		done <- s.answer()
	}()
	err := s.read()
	if o.Gone != nil && proc.HungUp(conn) {
		o.Gone()
	}
	close(s.out)
	werr := <-done
	if errors.Is(werr, errGone) {
		return nil
	}
	switch {
	case errors.Is(err, errOver), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), proc.IsReset(err):
		return werr
	case err != nil:
		return err
	}
	return werr
}

// deadline reads from a connection that must not stay silent for too long.
type deadline struct {
	conn net.Conn
	d    time.Duration
}

func (d deadline) Read(p []byte) (int, error) {
	if d.d > 0 {
		d.conn.SetReadDeadline(time.Now().Add(d.d))
	}
	return d.conn.Read(p)
}

// read is the reading half. A panic ends this conversation alone.
func (s *session) read() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("internal error: %v", v)
			s.put(item{text: "421 4.3.0 Internal error\r\n", last: true})
		}
		if s.bdat != nil {
			s.bdat.spool.Close()
		}
	}()
	s.say("220 %s LMTP", s.o.Host)
	for {
		line, err := s.command()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.put(item{text: "421 4.4.2 " + s.o.Host + " Error: timeout exceeded\r\n", last: true})
			}
			return err
		}
		if err := s.do(line); err != nil {
			return err
		}
		if s.errors > maxErrors || s.junk > maxJunk {
			s.put(item{text: "421 4.7.0 " + s.o.Host + " Error: too many errors\r\n", last: true})
			return errOver
		}
	}
}

// command reads one command line. A line that is too long is refused and read
// to its end.
func (s *session) command() (string, error) {
	var line []byte
	tooLong := false
	for {
		part, err := s.r.ReadSlice('\n')
		if len(line)+len(part) > maxCommand {
			tooLong = true
			line = line[:0]
		} else {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return "", err
		}
		if tooLong {
			s.refuse("500 5.5.2 Error: line too long")
			line, tooLong = line[:0], false
			continue
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}

// say queues one answer.
func (s *session) say(format string, args ...any) {
	s.put(item{text: fmt.Sprintf(format, args...) + "\r\n"})
}

// refuse queues the answer to a command that was in error.
func (s *session) refuse(format string, args ...any) {
	s.errors++
	s.say(format, args...)
}

// put hands it to the answering half, unless that is gone.
func (s *session) put(it item) {
	select {
	case s.out <- it:
	case <-s.dead:
		if it.msg != nil {
			it.msg.spool.Close()
		}
	}
}

// statusLine writes an answer of st.
func statusLine(st *mail.Status) string {
	code := st.Reply
	if code == 0 {
		code = map[mail.Outcome]int{mail.Sent: 250, mail.Deferred: 451, mail.Bounced: 550}[st.Outcome]
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, st.Text)
	if len(text) > 480 {
		text = text[:480] // RFC 5321 section 4.5.3.1.5: 512 octets a line
	}
	return fmt.Sprintf("%d %s %s\r\n", code, st.Code, text)
}
