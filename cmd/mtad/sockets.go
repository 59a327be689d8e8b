package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

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
		if svc.Type != "inet" || svc.Command != "smtpd" {
			continue
		}
		addrs, err := listenAddrs(m, svc)
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

// listenAddrs returns the addresses of an inet service: "port", "host:port" or
// "[address]:port"; without a host those of inet_interfaces.
func listenAddrs(m *config.Main, svc config.Service) ([]string, error) {
	host, port := svc.HostPort()
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, fmt.Errorf("service %s: unknown port %q", svc.Name, port)
	}
	hosts := []string{host}
	if host == "" {
		hosts = interfaces(m)
	}
	var out []string
	for _, h := range hosts {
		out = append(out, resolve(m, h, strconv.Itoa(n))...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("service %s: no address of inet_protocols to listen on", svc.Name)
	}
	return out, nil
}

// interfaces returns the hosts of inet_interfaces; "" stands for all.
func interfaces(m *config.Main) []string {
	var opts struct {
		Interfaces []string `main:"inet_interfaces"`
	}
	if m.Decode(&opts) != nil {
		return nil
	}
	for i, h := range opts.Interfaces {
		switch h {
		case "all":
			opts.Interfaces[i] = ""
		case "loopback-only":
			opts.Interfaces[i] = "localhost"
		}
	}
	return opts.Interfaces
}

// resolve turns a host into addresses with port, of the families that
// inet_protocols allows.
func resolve(m *config.Main, host, port string) (out []string) {
	v4, v6 := protocols(m)
	var ips []string
	switch host {
	case "":
		ips = []string{"0.0.0.0", "::"}
	case "localhost":
		ips = []string{"127.0.0.1", "::1"}
	default:
		ips, _ = net.LookupHost(strings.Trim(host, "[]"))
	}
	for _, ip := range ips {
		is6 := strings.Contains(ip, ":")
		if is6 && !v6 || !is6 && !v4 {
			continue
		}
		out = append(out, net.JoinHostPort(ip, port))
	}
	return out
}

// protocols reads inet_protocols. "all" means IPv6 only where the machine has it.
func protocols(m *config.Main) (v4, v6 bool) {
	for _, p := range strings.FieldsFunc(m.Get("inet_protocols"), func(r rune) bool { return r == ',' || r == ' ' }) {
		switch p {
		case "all":
			v4, v6 = true, proc.HasIPv6()
		case "ipv4":
			v4 = true
		case "ipv6":
			v6 = true
		}
	}
	return v4, v6
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
