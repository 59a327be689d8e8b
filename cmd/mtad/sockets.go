package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// sockets are the listening ports of master.cf. The parent keeps them, so that
// they stay open while an engine is replaced.
type sockets struct {
	open map[string]*net.TCPListener // by service key and address
}

// announce is the message that hands one socket to the engine. The last one
// has Done set and no file.
type announce struct {
	Service string `json:"service,omitempty"`
	Done    bool   `json:"done,omitempty"`
}

// bind opens the ports that are not open yet and closes those that are no
// longer wanted. On an error nothing changes.
func (s *sockets) bind(m *config.Main, services []config.Service) error {
	next := map[string]*net.TCPListener{}
	var fresh []*net.TCPListener
	for _, svc := range services {
		if !listens(svc) {
			continue
		}
		addrs, err := wiring.ListenAddrs(m, svc)
		for _, a := range addrs {
			key := svc.ID() + " " + a
			if l := s.open[key]; l != nil {
				next[key] = l
				continue
			}
			l, lerr := listen(a)
			if lerr != nil {
				err = fmt.Errorf("%s: line %d: service %s: %w", svc.File, svc.Line, svc.Name, lerr)
				break
			}
			next[key] = l
			fresh = append(fresh, l)
		}
		if err != nil {
			for _, l := range fresh {
				l.Close()
			}
			return err
		}
	}
	for key, l := range s.open {
		if next[key] == nil {
			l.Close()
		}
	}
	s.open = next
	return nil
}

// listen opens one port. An address that this machine does not have (IPv6
// switched off) is the administrator's to know of.
func listen(addr string) (*net.TCPListener, error) {
	network := "tcp4"
	if strings.HasPrefix(addr, "[") {
		network = "tcp6" // IPv6 alone: the IPv4 address is a socket of its own
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("bind %s: %s", addr, proc.ErrText(err))
	}
	return l.(*net.TCPListener), nil
}

// send hands all sockets to an engine.
func (s *sockets) send(ch *proc.Channel) error {
	for key, l := range s.open {
		f, err := l.File()
		if err != nil {
			return err
		}
		service, _, _ := strings.Cut(key, " ")
		err = ch.Send(parentMessage{Announce: &announce{Service: service}}, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return ch.Send(parentMessage{Announce: &announce{Done: true}})
}

func (s *sockets) close() {
	var errs []error
	for _, l := range s.open {
		errs = append(errs, l.Close())
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, "mtad:", err)
	}
}
