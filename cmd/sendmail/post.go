package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"packetboat/internal/queue/maildrop"
	"packetboat/internal/sys/proc"
)

// maxAnswer bounds what postdrop may say, in octets.
const maxAnswer = 4096

// maxDirect is the longest message, in octets of records, that is given straight
// to mtad; what is longer streams through postdrop.
const maxDirect = 128 << 10

// submitSocket is where mtad takes messages, below the queue directory.
const submitSocket = "public/submit"

// directTime is how long mtad may take for one step of the conversation.
const directTime = 30 * time.Second

// post is a message on its way out: records go in, a status comes out. While it
// is short it is kept here; then either mtad has it, with one question and one
// answer, or a postdrop, which works while mtad is down.
type post struct {
	*maildrop.Writer
	p      *program
	kept   []byte // records, as long as no postdrop runs
	id     string // in maildrop
	in     *os.File
	answer *bufio.Reader
	out    *os.File
	proc   *proc.Process
}

// post begins a message.
func (p *program) post() *post {
	d := &post{p: p}
	d.Writer = maildrop.NewWriter(d)
	return d
}

// Write takes whole and half records from the Writer.
func (d *post) Write(b []byte) (int, error) {
	if d.proc == nil && len(d.kept)+len(b) <= maxDirect {
		d.kept = append(d.kept, b...)
		return len(b), nil
	}
	if err := d.fallBack(); err != nil {
		return 0, err
	}
	return d.in.Write(b)
}

// fallBack starts postdrop, if none runs, and gives it what was kept.
func (d *post) fallBack() error {
	if d.proc != nil {
		return nil
	}
	path := d.p.find("postdrop")
	if err := d.begin(path); err != nil {
		d.p.fatal("%s(%d): unable to execute %s -r: %s", d.p.from, os.Getuid(), path, reason(err))
	}
	kept := d.kept
	d.kept = nil
	_, err := d.in.Write(kept)
	return err
}

// direct gives the message to mtad and tells whether it is on disk in the queue.
// Every failure leaves it to postdrop: if mtad took it and died before it could
// say so the message goes twice, as in SMTP, and is never lost. A message that
// message_size_limit forbids is left for postdrop to refuse.
func (d *post) direct() bool {
	limit, err := strconv.ParseInt(d.p.conf.Get("message_size_limit"), 10, 64)
	if d.proc != nil || err != nil || limit > 0 && int64(len(d.kept)) > limit {
		return false
	}
	answer, err := proc.Ask(submitSocket, d.kept, maxAnswer, directTime)
	if err != nil {
		return false
	}
	d.answer = bufio.NewReader(bytes.NewReader(answer))
	return d.attributes()["status"] == "0"
}

// start returns a message that goes through postdrop and knows its id there.
func (p *program) start() (*post, error) {
	d := p.post()
	return d, d.begin(p.find("postdrop"))
}

// begin starts postdrop and reads the id that the message will have in maildrop.
func (d *post) begin(path string) error {
	inR, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		inR.Close()
		inW.Close()
		return err
	}
	// One processor is enough for what postdrop does, and cheaper to start.
	env := append(d.p.environment(), "GOMAXPROCS=1")
	role := proc.Role{Path: path, Args: []string{"postdrop", "-r"}, Env: env, Stdin: inR, Stdout: outW, Stderr: d.p.stderr}
	child, err := proc.Start(role)
	inR.Close()
	outW.Close()
	if err != nil {
		inW.Close()
		outR.Close()
		return err
	}
	d.in, d.out, d.proc = inW, outR, child
	d.answer = bufio.NewReader(io.LimitReader(outR, maxAnswer))
	d.id = d.attributes()["queue_id"]
	return nil
}

// attributes reads one list of "name\0value\0" that ends with an empty name.
func (d *post) attributes() map[string]string {
	attrs := map[string]string{}
	for {
		name, err := d.answer.ReadString(0)
		if err != nil || name == "\x00" {
			return attrs
		}
		value, err := d.answer.ReadString(0)
		if err != nil {
			return attrs
		}
		attrs[name[:len(name)-1]] = value[:len(value)-1]
	}
}

// errTooBig says that the message is over message_size_limit.
var errTooBig = errors.New("message file too big")

// errNoAnswer says that postdrop died.
var errNoAnswer = errors.New("queue file write error")

// finish ends the message and returns why postdrop did not take it, in
// Postfix's words. On nil the message is on disk.
func (d *post) finish() error {
	d.PutString(maildrop.End, "")
	d.Flush() // a failure: postdrop tells why
	if d.direct() {
		return nil
	}
	d.fallBack()
	d.in.Close()
	attrs := d.attributes()
	d.out.Close()
	code := d.proc.Wait()
	if code != 0 {
		d.p.warn("mail_stream_cleanup: close error")
	}
	status, err := strconv.Atoi(attrs["status"])
	switch {
	case err != nil:
		return errNoAnswer
	case status == 0 && code == 0:
		return nil
	case status&1 != 0:
		return errors.New("internal protocol error")
	case status&4 != 0:
		return errTooBig
	}
	return errNoAnswer
}

// cancel lets postdrop forget the message.
func (d *post) cancel() {
	if d.proc == nil {
		return
	}
	d.in.Close()
	d.out.Close()
	d.proc.Wait()
}
