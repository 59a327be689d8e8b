package deliver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// maildir delivers to a Maildir: every message is written and flushed below
// tmp, then all are renamed into new and that folder is flushed once.
func (g *Agent) maildir(msgs []Message) []*mail.Status {
	out := make([]*mail.Status, len(msgs))
	if err := makeMaildir(g.path); err != nil {
		return fill(out, g.maildirStatus(err))
	}
	moved := false
	for i := range msgs {
		if err := g.maildirOne(&msgs[i], i); err != nil {
			out[i] = g.maildirStatus(err)
			continue
		}
		moved = true
	}
	if moved {
		if err := disk.SyncDir(filepath.Join(g.path, "new")); err != nil {
			return fill(out, g.maildirStatus(err))
		}
	}
	return fill(out, mail.OK("2.0.0", "delivered to maildir"))
}

// fill gives st to all that have no answer.
func fill(out []*mail.Status, st *mail.Status) []*mail.Status {
	for i := range out {
		if out[i] == nil {
			out[i] = st
		}
	}
	return out
}

// makeMaildir makes what is missing of a Maildir. The usual case costs one
// system call.
func makeMaildir(path string) error {
	if fi, err := os.Lstat(filepath.Join(path, "new")); err == nil && fi.IsDir() {
		return nil
	}
	for _, d := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(path, d), 0o700); err != nil {
			return err
		}
	}
	return disk.SyncDir(path)
}

// maildirOne writes one message below tmp and moves it into new.
func (g *Agent) maildirOne(m *Message, n int) error {
	now := time.Now()
	tmp := filepath.Join(g.path, "tmp", fmt.Sprintf("%d.M%dP%dQ%d.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), n, g.hostname()))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	size, lines, err := writeMessage(f, m)
	st, serr := disk.StatFile(f)
	if err = errors.Join(err, serr); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		// The name of Postfix's maildir(5) with Dovecot's sizes; inode and
		// device make it unique.
		name := fmt.Sprintf("%d.V%xI%xM%d.%s,S=%d,W=%d", now.Unix(), st.Dev, st.Ino, now.Nanosecond()/1000, g.hostname(), size, size+lines)
		err = os.Rename(tmp, filepath.Join(g.path, "new", name))
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// writeMessage writes m with its envelope's header lines and returns its
// octets and the line ends that would be CRLF on the wire.
func writeMessage(f io.Writer, m *Message) (size, lines int64, err error) {
	w := &counter{w: bufio.NewWriterSize(f, 64<<10)}
	if m.ReturnPath {
		w.header("Return-Path", "<"+m.Sender.Quoted()+">")
	}
	if m.OrigTo != "" {
		w.header("X-Original-To", m.OrigTo)
	}
	if m.To != "" {
		w.header("Delivered-To", m.To)
	}
	if _, err := io.Copy(w, m.Body); err != nil {
		return 0, 0, err
	}
	return w.size, w.lines, w.w.Flush()
}

// counter counts what goes through it.
type counter struct {
	w           *bufio.Writer
	size, lines int64
	last        byte
}

func (c *counter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			c.lines++
		}
		c.last = b
	}
	c.size += int64(len(p))
	return c.w.Write(p)
}

// header writes one header line; octets that would end it become "_".
func (c *counter) header(name, value string) {
	b := []byte(value)
	for i := range b {
		if b[i] < ' ' || b[i] == 0x7f {
			b[i] = '_'
		}
	}
	c.Write(fmt.Appendf(nil, "%s: %s\n", name, b)) // a full disk shows at Flush
}

// maildirStatus makes an answer of an error. Everything may pass.
func (g *Agent) maildirStatus(err error) *mail.Status {
	code := "4.2.0"
	switch {
	case disk.OverQuota(err):
		code = "4.2.2"
	case disk.Full(err):
		code = "4.3.1"
	}
	return mail.Defer(code, "maildir delivery failed: %s", strconv.QuoteToGraphic(err.Error()))
}
