package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"

	"packetboat/internal/queue/maildrop"
	"packetboat/internal/sys/proc"
)

// maxAnswer bounds what postdrop may say, in octets.
const maxAnswer = 4096

// post is a running postdrop: records go in, a status comes out.
type post struct {
	*maildrop.Writer
	p      *program
	id     string
	in     *os.File
	answer *bufio.Reader
	out    *os.File
	proc   *proc.Process
}

// post starts postdrop and reads the id that the message will have in maildrop.
func (p *program) post(sender string) *post {
	path := p.find("postdrop")
	d, err := p.start(path)
	if err != nil {
		p.fatal("%s(%d): unable to execute %s -r: %s", sender, os.Getuid(), path, reason(err))
	}
	return d
}

func (p *program) start(path string) (*post, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		inR.Close()
		inW.Close()
		return nil, err
	}
	role := proc.Role{Path: path, Args: []string{"postdrop", "-r"}, Env: p.environment(), Stdin: inR, Stdout: outW, Stderr: p.stderr}
	child, err := proc.Start(role)
	inR.Close()
	outW.Close()
	if err != nil {
		inW.Close()
		outR.Close()
		return nil, err
	}
	d := &post{Writer: maildrop.NewWriter(inW), p: p, in: inW, out: outR, proc: child,
		answer: bufio.NewReader(io.LimitReader(outR, maxAnswer))}
	attrs := d.attributes()
	d.id = attrs["queue_id"]
	return d, nil
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
	d.in.Close()
	d.out.Close()
	d.proc.Wait()
}
