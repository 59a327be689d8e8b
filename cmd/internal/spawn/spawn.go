// Package spawn is spawn(8) of Postfix: a service of master.cf that is a command
// of the administrator's, such as a policy server. Each connection to its socket
// starts the command with the connection as standard input, output and error. The
// parent of mtad, which alone may start processes as others, keeps the sockets.
package spawn

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"packetboat/cmd/internal/grants"
	"packetboat/internal/send/pipe"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// defaultMax is how many commands of a service run at a time where master.cf
// says "-" (default_process_limit of postconf(5)).
const defaultMax = 100

// Set are the spawn services of a configuration. The zero value has none.
type Set struct {
	open []*net.UnixListener
}

// service is one of them.
type service struct {
	role  proc.Role
	limit time.Duration // of a command; 0 = none
	slots chan struct{}
	log   *maillog.Log
}

// Bind closes the sockets of a former configuration and serves those of this one.
// Commands that run go on. The error names the service.
func (s *Set) Bind(m *config.Main, services []config.Service, log *maillog.Log) error {
	s.Close()
	for _, svc := range services {
		if svc.Type != "unix" || svc.Command != "spawn" {
			continue
		}
		one, err := open(m, svc, log)
		var l *net.UnixListener
		if err == nil {
			l, err = proc.ListenUnix(socket(m, svc))
		}
		if err != nil {
			return fmt.Errorf("%s: line %d: service %s: %w", svc.File, svc.Line, svc.Name, err)
		}
		s.open = append(s.open, l)
		go one.serve(l)
	}
	return nil
}

// Close closes the sockets.
func (s *Set) Close() {
	for _, l := range s.open {
		l.Close()
	}
	s.open = nil
}

func socket(m *config.Main, svc config.Service) string {
	folder := "public"
	if svc.Private {
		folder = "private"
	}
	return filepath.Join(m.Get("queue_directory"), folder, svc.Name)
}

// open reads a service: user= and argv= as pipe(8) has them, and the time limit
// NAME_time_limit or command_time_limit.
func open(m *config.Main, svc config.Service, log *maillog.Log) (*service, error) {
	a, err := pipe.Parse(svc.Args)
	if err != nil {
		return nil, err
	}
	var users proc.Users
	u, err := grants.PipeUser(a, users.Lookup, m.Get("mail_owner"))
	if err != nil {
		return nil, err
	}
	own := m.With(svc.Options...)
	if v := own.Get(svc.Name + "_time_limit"); v != "" {
		own = own.With(config.Setting{Name: "command_time_limit", Value: v})
	}
	var o struct {
		Limit time.Duration `main:"command_time_limit"`
	}
	if err := own.Decode(&o); err != nil {
		return nil, err
	}
	n := svc.MaxProc
	if n <= 0 {
		n = defaultMax
	}
	env := append(grants.Exported(m.Get("export_environment")), "PATH="+grants.Path)
	return &service{limit: o.Limit, slots: make(chan struct{}, n), log: log,
		role: proc.Role{Path: a.Argv[0], Args: a.Argv, Env: env, Dir: m.Get("queue_directory"), User: u, Session: true}}, nil
}

// serve starts a command for each connection; those above the limit wait.
func (s *service) serve(l *net.UnixListener) {
	for {
		s.slots <- struct{}{}
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go s.run(c)
	}
}

func (s *service) run(c *net.UnixConn) {
	defer func() { <-s.slots }()
	f, err := c.File()
	c.Close() // the command's is the only one
	if err != nil {
		s.log.Warn("command %s: %s", s.role.Path, proc.ErrText(err))
		return
	}
	defer f.Close()
	ctx := context.Background()
	if s.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.limit)
		defer cancel()
	}
	r := s.role
	r.Stdin, r.Stdout, r.Stderr = f, f, f
	switch code, err := proc.Run(ctx, r); {
	case err != nil:
		s.log.Warn("command %s: %s", r.Path, proc.ErrText(err))
	case code > 128:
		s.log.Warn("command %s killed by signal %d", r.Path, code-128)
	case code != 0:
		s.log.Warn("command %s exit status %d", r.Path, code)
	}
}
