package imapd

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"packetboat/internal/serve/imapd/syntax"
)

// past is a deadline that wakes a reader.
var past = time.Unix(1, 0)

// idle: RFC 2177. The client is told what changes as it happens, and every two
// minutes that the server is there, so that middle boxes keep the connection.
func (s *session) idle([]syntax.Arg) error {
	if s.box != nil {
		if err := s.sync(true); err != nil {
			return err
		}
	}
	var changed <-chan struct{}
	if s.box != nil {
		var cancel func()
		changed, cancel = s.box.Watch()
		defer cancel()
		if err := s.sync(true); err != nil { // what came before the watch began
			return err
		}
	}
	s.out.Text("+ idling")
	s.out.Line()
	if err := s.out.Flush(); err != nil {
		return err
	}
	line, err := s.wait(changed)
	if err != nil || s.bye != "" {
		return err
	}
	if !strings.EqualFold(line, "DONE") {
		return s.refuse2("BAD Expected DONE")
	}
	return s.done("OK Idle completed")
}

// refuse2 answers a wrong line that has been read to its end.
func (s *session) refuse2(text string) error {
	s.reply(text)
	s.bad++
	return nil
}

// wait tells news until the client sends a line. Only the reading is done by
// another goroutine; it has ended when wait returns.
func (s *session) wait(changed <-chan struct{}) (line string, err error) {
	s.in.Idle = true
	s.in.Conn.SetReadDeadline(time.Now().Add(s.in.Timeout))
	read := make(chan error, 1)
	go func() {
		var err error
		line, err = s.readLine()
		read <- err
	}()
	defer func() { s.in.Idle = false }()
	tick := time.NewTicker(s.opts.IdleNotify)
	defer tick.Stop()
	for {
		select {
		case err := <-read:
			return line, err
		case <-changed:
			s.sync(true)
		case <-s.woken():
			s.tellNews()
		case <-tick.C:
			s.out.Text("* OK Still here")
			s.out.Line()
		}
		if err := s.out.Flush(); err != nil || s.bye != "" {
			s.in.Conn.SetReadDeadline(past) // wakes the reader
			if e := <-read; err == nil && !errors.Is(e, os.ErrDeadlineExceeded) {
				err = e
			}
			return "", err
		}
	}
}

// readLine reads one short line: DONE.
func (s *session) readLine() (string, error) {
	var b []byte
	for {
		c, err := s.p.R.ReadByte()
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		if c == '\n' {
			return strings.TrimSuffix(string(b), "\r"), nil
		}
		if len(b) < 256 { // more is no DONE, and not kept
			b = append(b, c)
		}
	}
}
