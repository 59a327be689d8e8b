// Package scripts runs the commands of services "script" of dovecot.conf: a client of
// such a service's socket, a quota warning for one, asks for the command with more
// arguments. Its role runs as the service's user.
package scripts

import (
	"context"
	"io"
	"net"
	"os"
	"path"
	"strings"
	"time"

	"packetboat/internal/sys/proc"
	"packetboat/internal/sys/script"
)

// Figures of the service.
const (
	readTime = time.Minute    // for the request
	runTime  = 24 * time.Hour // for a command without an alarm
	most     = 100            // commands at once
)

// Service is what a role needs: the command and who asks for it.
type Service struct {
	Name string
	Argv []string
}

// Command reads a service's executable: "script [-e VARS] /path args", where the
// first word may be a path that ends in script. ok is false for any other program.
func Command(executable string) (argv []string, ok bool) {
	words := strings.Fields(executable)
	if len(words) < 2 || path.Base(words[0]) != "script" {
		return nil, false
	}
	words = words[1:]
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		n := 1
		if words[0] == "-e" {
			n = 2 // names of variables: there are none to pass on
		}
		words = words[min(n, len(words)):]
	}
	return words, len(words) > 0 && path.IsAbs(words[0])
}

// Server runs the commands.
type Server struct {
	Service
	Log  func(text string) // trouble
	slot chan struct{}
}

// New returns the server of a service.
func New(s Service, log func(string)) *Server {
	return &Server{Service: s, Log: log, slot: make(chan struct{}, most)}
}

// Serve answers one client.
func (s *Server) Serve(c net.Conn) {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(readTime))
	q, err := script.Read(c)
	if err != nil {
		s.Log("script: " + err.Error())
		return
	}
	c.SetReadDeadline(time.Time{})
	s.slot <- struct{}{}
	defer func() { <-s.slot }()
	ok := s.run(c, q)
	if !q.NoReply {
		c.SetWriteDeadline(time.Now().Add(readTime))
		script.Answer(c, ok)
	}
}

// run runs the command; what it prints goes to the client that waits for it.
func (s *Server) run(c net.Conn, q *script.Request) bool {
	limit := runTime
	if q.Alarm > 0 {
		limit = q.Alarm
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r := proc.Role{Path: s.Argv[0], Args: append(append([]string{}, s.Argv...), q.Args...), Env: proc.CleanEnv(), Stderr: os.Stderr, Session: true}
	if !q.NoReply {
		in, out, err := os.Pipe()
		if err != nil {
			s.Log("script: " + err.Error())
			return false
		}
		go func() {
			io.Copy(out, q.Input)
			out.Close()
		}()
		defer in.Close()
		r.Stdin, r.Stdout = in, c
	}
	code, err := proc.Run(ctx, r)
	if err != nil {
		s.Log("script " + s.Argv[0] + ": " + err.Error())
	}
	return err == nil && code == 0
}
