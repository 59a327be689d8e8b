package wiring

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// ListenAddrs returns the addresses of an inet service: "port", "host:port" or
// "[address]:port"; without a host those of inet_interfaces.
func ListenAddrs(m *config.Main, svc config.Service) ([]string, error) {
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
