package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/sys/proc"
)

const postcatUsage = "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] " +
	"[-h (header text)] [-q (access queue)] [-v] [file(s)...]"

// cat is one run of postcat(1).
type cat struct {
	tool
	w                  *bufio.Writer
	env, header, body  bool
	inQueue, someParts bool
}

// runPostcat is postcat(1).
func runPostcat(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cat{tool: tool{name: "postcat", stdin: stdin, stdout: stdout, stderr: stderr}, w: bufio.NewWriter(stdout)}
	opts, names, err := getopt(args, "bc:dehoqrs:v")
	if err != nil {
		fmt.Fprintf(stderr, "postcat: %v\n", err)
		return c.fatal(1, postcatUsage)
	}
	for _, o := range opts {
		switch o.c {
		case 'b':
			c.body = true
		case 'h':
			c.header = true
		case 'e':
			c.env = true
		case 'q':
			c.inQueue = true
		case 'c':
			c.dir = o.value
		}
	}
	c.someParts = c.body || c.header || c.env
	if !c.someParts {
		c.env, c.header, c.body = true, true, true
	}
	if c.inQueue {
		if err := c.load(); err != nil {
			return c.fatal(1, "%v", err)
		}
	}
	defer c.w.Flush()
	for _, n := range names {
		if code := c.show(n); code != 0 {
			return code
		}
	}
	return 0
}

// show prints one message.
func (c *cat) show(name string) int {
	f, path, err := c.find(name)
	if err != nil {
		c.w.Flush()
		why := proc.ErrText(err)
		if errors.Is(err, fs.ErrNotExist) {
			why = "No such file or directory"
		}
		return c.fatal(1, "open queue file %s: %s", visible(name), why)
	}
	defer f.Close()
	m, content, err := queue.ReadFile(f)
	if err != nil {
		c.w.Flush()
		c.warn("%s: input is not a valid queue file", visible(path))
		return 0
	}
	if c.env {
		fmt.Fprintf(c.w, "*** ENVELOPE RECORDS %s ***\n", path)
		c.envelope(m)
		fmt.Fprintf(c.w, "*** MESSAGE CONTENTS %s ***\n", path)
	}
	if err := c.contents(content); err != nil {
		c.w.Flush()
		return c.fatal(1, "read %s: %v", path, err)
	}
	if c.env {
		fmt.Fprintf(c.w, "*** HEADER EXTRACTED %s ***\n*** MESSAGE FILE END %s ***\n", path, path)
	}
	return 0
}

// find opens a message by its id or by its path.
func (c *cat) find(name string) (f *os.File, path string, err error) {
	if !c.inQueue {
		f, err = os.Open(name)
		return f, name, err
	}
	q, err := queue.Use(c.root())
	if err != nil {
		return nil, "", err
	}
	defer q.Close()
	for _, folder := range []queue.Folder{queue.Incoming, queue.Active, queue.Deferred, queue.Hold, queue.Corrupt} {
		if !queue.ValidID(name) {
			break
		}
		p := q.Path(name, folder)
		if f, err = os.Open(p); err == nil {
			rel, _ := filepath.Rel(c.root(), p)
			return f, rel, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	return nil, "", fs.ErrNotExist
}

// ctime is the form of dates in the envelope.
func ctime(t time.Time) string { return t.Format("Mon Jan _2 15:04:05 2006") }

// envelope prints the envelope in the words of Postfix's records.
func (c *cat) envelope(m *queue.Message) {
	e := m.Env
	// The second figure is where the message begins; here it comes first.
	fmt.Fprintf(c.w, "message_size: %15d %15d %15d %15d %15d %15d\n", m.Size, 0, len(e.Rcpts), 0, m.Size, 0)
	fmt.Fprintf(c.w, "message_arrival_time: %s\ncreate_time: %s\n", ctime(e.Arrived), ctime(e.Arrived))
	for _, a := range attributes(m) {
		if a[1] != "" {
			fmt.Fprintf(c.w, "named_attribute: %s=%s\n", a[0], visible(a[1]))
		}
	}
	fmt.Fprintf(c.w, "sender: %s\n", visible(string(e.Sender)))
	for _, a := range peerAttributes(&e.Peer) {
		if a[1] != "" {
			fmt.Fprintf(c.w, "named_attribute: %s=%s\n", a[0], visible(a[1]))
		}
	}
	for i := range e.Rcpts {
		c.recipient(&e.Rcpts[i])
	}
}

// recipient prints the records of one recipient.
func (c *cat) recipient(r *mail.Rcpt) {
	if r.Notify != 0 {
		fmt.Fprintf(c.w, "named_attribute: notify_flags=%d\n", r.Notify)
	}
	orig := r.Orig
	if orig == "" {
		orig = r.Addr
	}
	orcpt := r.ORCPT
	if orcpt == "" {
		orcpt = "rfc822;" + orig.Quoted()
	}
	fmt.Fprintf(c.w, "named_attribute: dsn_orig_rcpt=%s\noriginal_recipient: %s\n", visible(orcpt), visible(string(orig)))
	word := "recipient"
	if r.State == mail.Done {
		word = "done_recipient"
	}
	fmt.Fprintf(c.w, "%s: %s\n", word, visible(string(r.Addr)))
}

// attributes are those before the sender.
func attributes(m *queue.Message) [][2]string {
	e := m.Env
	body := [...]string{mail.BodyUnknown: "", mail.Body7Bit: "7bit", mail.Body8Bit: "8bit", mail.BodyBinary: "8bit"}
	encoding := ""
	if int(e.Body) < len(body) {
		encoding = body[e.Body]
	}
	return [][2]string{
		{"log_ident", m.ID}, {"rewrite_context", "local"}, {"encoding", encoding},
		{"dsn_envid", e.EnvID}, {"dsn_ret_flags", map[string]string{"FULL": "1", "HDRS": "2"}[e.Ret]},
	}
}

// peerAttributes are those that tell whence the message came.
func peerAttributes(p *mail.Peer) [][2]string {
	if p.Proto == "" {
		return nil
	}
	addr, port, family := "", "", ""
	if p.Addr.IsValid() {
		addr, port, family = p.Addr.String(), strconv.Itoa(int(p.Port)), "2"
		if p.Addr.Is6() {
			family = "10"
		}
	}
	return [][2]string{
		{"log_client_name", p.Name}, {"log_client_address", addr}, {"log_client_port", port},
		{"log_message_origin", p.Name + "[" + addr + "]"}, {"log_helo_name", p.Helo}, {"log_protocol_name", p.Proto},
		{"client_name", p.Name}, {"client_address", addr}, {"client_port", port},
		{"helo_name", p.Helo}, {"protocol_name", p.Proto}, {"client_address_type", family},
		{"sasl_method", p.SASL}, {"sasl_username", p.User}, {"sasl_sender", p.SASLFrom},
	}
}

// contents prints header, body or both.
func (c *cat) contents(content mail.Content) error {
	if c.header && c.body {
		_, err := io.Copy(c.w, content.Reader())
		return err
	}
	if !c.header && !c.body {
		return nil
	}
	r := bufio.NewReader(content.Reader())
	inBody, fresh := false, true
	for {
		piece, err := r.ReadSlice('\n')
		if fresh && !inBody && bytes.Equal(piece, []byte("\n")) {
			inBody = true
		}
		if inBody == c.body {
			c.w.Write(piece)
		}
		fresh = err == nil
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
