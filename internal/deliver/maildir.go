package deliver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// maildir delivers to a Maildir: all messages are written below tmp, their flushes
// go to the disk side by side, then they are renamed into new one after the other,
// and that folder is flushed once.
func (g *Agent) maildir(msgs []Message, wanted func() bool) []*mail.Status {
	out := make([]*mail.Status, len(msgs))
	m, err := g.openMaildir()
	if err != nil {
		return fill(out, g.maildirStatus(err))
	}
	defer m.close()
	list := make([]*maildirFile, len(msgs))
	for i := range msgs {
		list[i] = m.write(&msgs[i], i)
	}
	flushAll(list)
	gone := wanted != nil && !wanted()
	moved := false
	for i, f := range list {
		if gone && f.err == nil {
			f.err = errUnwanted
		}
		if err := m.move(f); err != nil {
			out[i] = g.maildirStatus(err)
			continue
		}
		moved = true
	}
	if moved {
		if err := m.new.Sync(); err != nil {
			return fill(out, g.maildirStatus(err))
		}
	}
	return fill(out, mail.OK("2.0.0", "delivered to maildir"))
}

// errUnwanted says that the sender went while its mail was written.
var errUnwanted = errors.New("the client is gone")

// maildir is an open Maildir.
type maildir struct {
	tmp, new *disk.Dir
	host     string
	buf      *bufio.Writer
}

// openMaildir opens the folders of a Maildir, which are made if need be.
func (g *Agent) openMaildir() (*maildir, error) {
	if err := makeMaildir(g.path); err != nil {
		return nil, err
	}
	tmp, err := disk.OpenDir(filepath.Join(g.path, "tmp"))
	if err != nil {
		return nil, err
	}
	dest, err := disk.OpenDir(filepath.Join(g.path, "new"))
	if err != nil {
		tmp.Close()
		return nil, err
	}
	if g.buf == nil {
		g.buf = bufio.NewWriterSize(nil, 16<<10)
	}
	return &maildir{tmp, dest, g.hostname(), g.buf}, nil
}

func (m *maildir) close() {
	m.tmp.Close()
	m.new.Close()
}

// maildirFile is a message on its way through a Maildir.
type maildirFile struct {
	f          *disk.File
	tmp, final string // names
	err        error
}

// write writes one message below tmp.
func (m *maildir) write(msg *Message, n int) *maildirFile {
	now := time.Now()
	t := &maildirFile{tmp: fmt.Sprintf("%d.M%dP%dQ%d.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), n, m.host)}
	if t.f, t.err = m.tmp.Create(t.tmp, 0o600); t.err != nil {
		return t
	}
	m.buf.Reset(t.f)
	size, lines, err := writeMessage(m.buf, msg)
	st, serr := t.f.Stat()
	t.err = errors.Join(err, serr)
	// The name of Postfix's maildir(5) with Dovecot's sizes; inode and device make
	// it unique.
	t.final = fmt.Sprintf("%d.V%xI%xM%d.%s,S=%d,W=%d", now.Unix(), st.Dev, st.Ino, now.Nanosecond()/1000, m.host, size, size+lines)
	return t
}

// maxFlushes is how many files of a batch are flushed at once.
const maxFlushes = 8

// flushAll flushes and closes the files. Flushes that wait at the same time share
// the file system's journal.
func flushAll(list []*maildirFile) {
	slots := make(chan struct{}, maxFlushes)
	var wg sync.WaitGroup
	for _, t := range list {
		switch {
		case t.f == nil:
		case t.err != nil:
			t.f.Close()
		case len(list) == 1:
			t.err = errors.Join(t.f.Sync(), t.f.Close())
		default:
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				t.err = errors.Join(t.f.Sync(), t.f.Close())
			})
		}
	}
	wg.Wait()
}

// move moves a message into new, or removes what there is of it.
func (m *maildir) move(t *maildirFile) error {
	if t.err == nil {
		t.err = m.tmp.Rename(t.tmp, m.new, t.final)
	}
	if t.err != nil && t.f != nil {
		m.tmp.Remove(t.tmp)
	}
	return t.err
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

// writeMessage writes m with its envelope's header lines and returns its
// octets and the line ends that would be CRLF on the wire.
func writeMessage(to *bufio.Writer, m *Message) (size, lines int64, err error) {
	w := &counter{w: to}
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
	return w.size, w.lines, to.Flush()
}

// counter counts what goes through it.
type counter struct {
	w           *bufio.Writer
	size, lines int64
	cr          bool // the last octet was a CR
}

func (c *counter) Write(p []byte) (int, error) {
	if len(p) > 0 {
		c.lines += int64(bytes.Count(p, []byte{'\n'}) - bytes.Count(p, []byte("\r\n")))
		if c.cr && p[0] == '\n' {
			c.lines--
		}
		c.cr = p[len(p)-1] == '\r'
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
