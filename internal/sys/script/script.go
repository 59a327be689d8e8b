// Package script speaks the protocol of Dovecot's service "script": a process asks
// a socket to run the command of the service with more arguments. quota_warning and
// quota_over_script use it; cmd/mrad serves such sockets.
package script

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Figures of the protocol.
const (
	dialTime = 10 * time.Second
	maxLine  = 8 << 10 // octets of one argument
	maxArgs  = 1000
)

// version is the first line of a client.
const version = "VERSION\tscript\t4\t0"

// Call asks the service at a socket to run its command with args. It does not wait
// for the command.
func Call(path string, args []string) error {
	c, err := net.DialTimeout("unix", path, dialTime)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(dialTime))
	var b strings.Builder
	b.WriteString(version + "\nnoreply\n")
	for _, a := range args {
		b.WriteString(escape(a) + "\n")
	}
	b.WriteString("\n")
	_, err = io.WriteString(c, b.String())
	return err
}

// escape keeps an argument on its line and above the empty line, as Dovecot does
// with str_tabescape.
func escape(s string) string {
	if s == "" {
		return "\x010" // nothing else stands for no octets; a service of Dovecot's sees a NUL
	}
	return strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n").Replace(s)
}

// unescape is escape backwards.
func unescape(s string) string {
	return strings.NewReplacer("\x010", "", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n").Replace(s)
}

// Request is what a client asks for.
type Request struct {
	Args    []string
	NoReply bool          // the client does not wait for the exit code
	Alarm   time.Duration // after which the command is ended; 0 = never
	Input   io.Reader     // what the client sends as standard input
}

// Read reads a request. Octets of strangers: its error ends the connection.
func Read(r io.Reader) (*Request, error) {
	in := bufio.NewReaderSize(r, maxLine)
	line, err := readLine(in)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(line, "VERSION\tscript\t") {
		return nil, errors.New("no client of a script service")
	}
	q := &Request{Input: in}
	for {
		if line, err = readLine(in); err != nil {
			return nil, err
		}
		var secs int
		if n, _ := fmt.Sscanf(line, "alarm=%d", &secs); n != 1 {
			break
		}
		q.Alarm = time.Duration(secs) * time.Second
	}
	switch line {
	case "noreply":
		q.NoReply = true
	case "-":
	default:
		return nil, errors.New("no noreply or - in the request")
	}
	for {
		if line, err = readLine(in); err != nil {
			return nil, err
		}
		if line == "" {
			return q, nil
		}
		if len(q.Args) == maxArgs {
			return nil, errors.New("too many arguments")
		}
		q.Args = append(q.Args, unescape(line))
	}
}

func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return string(b[:len(b)-1]), nil
}

// Answer tells the client how the command ended.
func Answer(w io.Writer, ok bool) error {
	text := "-\n"
	if ok {
		text = "+\n"
	}
	_, err := io.WriteString(w, text)
	return err
}
