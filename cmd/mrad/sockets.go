package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"packetboat/cmd/mrad/listen"
	"packetboat/cmd/mrad/scripts"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// sockets are all listening sockets. The parent keeps them, so that they stay
// open while a role is replaced.
type sockets struct {
	open map[string]*socket // by kind and address
}

// socket is one of them.
type socket struct {
	fileListener
	as   listenAs
	path string // of a unix socket
	// served says that the parent itself accepts from it (anvil).
	served bool
}

// bind opens what the configuration wants and is not open, and closes what is
// no longer wanted. On an error nothing changes.
func (s *sockets) bind(c *settings) error {
	next := make(map[string]*socket)
	var fresh []*socket
	for _, w := range wanted(c) {
		if old := s.open[w.key()]; old != nil {
			next[w.key()] = old
			continue
		}
		l, err := w.listen()
		if err != nil {
			for _, f := range fresh {
				f.close()
			}
			return err
		}
		next[w.key()] = l
		fresh = append(fresh, l)
	}
	for key, old := range s.open {
		if next[key] == nil {
			old.close()
		}
	}
	s.open = next
	return nil
}

// send hands the sockets of some services to a role.
func (s *sockets) send(q *peer, services ...string) error {
	for _, l := range s.open {
		for _, name := range services {
			if l.as.Service != name {
				continue
			}
			f, err := l.File()
			if err != nil {
				return err
			}
			err = q.send(message{Op: opListen, Listen: &l.as}, f)
			f.Close()
			if err != nil {
				return err
			}
		}
	}
	return q.send(message{Op: opRun})
}

func (s *sockets) close() {
	for _, l := range s.open {
		l.close()
	}
	s.open = nil
}

func (l *socket) close() {
	if l.path != "" {
		os.Remove(l.path)
	}
	l.Close()
}

// want is one socket to be opened.
type want struct {
	as   listenAs
	addr string               // host:port, or
	unix *config.UnixListener // with its path made absolute
}

func (w want) key() string {
	if w.unix != nil {
		return w.as.Service + " " + w.unix.Path
	}
	return fmt.Sprintf("%s %v %v %s", w.as.Service, w.as.SSL, w.as.HAProxy, w.addr)
}

// inetServices are the services with ports, and their protocol.
var inetServices = [...]struct{ service, proto string }{
	{"imap-login", "imap"}, {"pop3-login", "pop3"}, {"managesieve-login", "sieve"}, {"lmtp", "lmtp"},
}

// wanted lists the sockets of a configuration.
func wanted(c *settings) (list []want) {
	for _, i := range inetServices {
		if !c.speaks(i.proto) {
			continue
		}
		list = append(list, wantInet(c, i.service, i.proto)...)
	}
	// An SMTP server of another machine asks for passwords by TCP.
	list = append(list, wantInet(c, "auth", "auth")...)
	if c.speaks("lmtp") {
		list = append(list, wantUnix(c, "lmtp")...)
	}
	for _, v := range c.services {
		list = append(list, c.wantOwn(v)...)
	}
	// doveadm who asks this one, as Dovecot's own does.
	anvil := config.UnixListener{Path: filepath.Join(c.BaseDir, "anvil"), Mode: 0o600}
	list = append(list, want{as: listenAs{Service: "anvil"}, unix: &anvil})
	return append(list, wantUnix(c, "auth")...)
}

// wantInet lists the ports of a service; as is how their clients are met.
func wantInet(c *settings, service, as string) (list []want) {
	for _, l := range c.service(service).Inet {
		if l.Port == 0 || (l.SSL && !c.tls()) {
			continue
		}
		for _, a := range c.addresses(l) {
			list = append(list, want{as: listenAs{as, l.SSL, l.HAProxy}, addr: net.JoinHostPort(a, strconv.Itoa(l.Port))})
		}
	}
	return list
}

// quotaStatus is the service that answers Postfix's question whether there is room.
const quotaStatus = "quota-status"

// wantOwn lists the sockets of a service that the administrator has made: of
// quota-status and of scripts.
func (c *settings) wantOwn(v config.DovecotService) (list []want) {
	as := listenAs{Service: quotaStatus}
	if _, ok := scripts.Command(v.Executable); ok {
		as.Service = scriptService + v.Name
	} else if !runsQuotaStatus(v) {
		return nil
	}
	for _, l := range v.Inet {
		for _, a := range c.addresses(l) {
			if l.Port != 0 {
				list = append(list, want{as: as, addr: net.JoinHostPort(a, strconv.Itoa(l.Port))})
			}
		}
	}
	for _, l := range v.Unix {
		if l.Mode == 0 {
			l.Mode = 0o600
		}
		l.Path = c.unixPath(l)
		list = append(list, want{as: as, unix: &l})
	}
	return list
}

// runsQuotaStatus tells whether a service runs Dovecot's quota-status.
func runsQuotaStatus(v config.DovecotService) bool {
	words := strings.Fields(v.Executable)
	return len(words) > 0 && filepath.Base(words[0]) == quotaStatus
}

// scriptService stands before the names of services that run scripts.
const scriptService = "script:"

// wantUnix lists the unix sockets of a service. Of auth's only those for
// authentication clients and for userdb look-ups are made: the others are
// between Dovecot's own processes. As with Dovecot the name decides.
func wantUnix(c *settings, service string) (list []want) {
	for _, l := range c.service(service).Unix {
		base := filepath.Base(l.Path)
		internal := strings.HasPrefix(base, "auth-master") || strings.HasPrefix(base, "auth-login") ||
			strings.HasPrefix(l.Path, "login/") || strings.HasPrefix(l.Path, "token-login/")
		if service == "auth" && internal {
			continue
		}
		if l.Mode == 0 {
			l.Mode = 0o600
		}
		as := service
		if strings.HasPrefix(base, "auth-userdb") {
			as = "userdb"
		}
		l.Path = c.unixPath(l)
		list = append(list, want{as: listenAs{Service: as}, unix: &l})
	}
	return list
}

// addresses returns where an inet_listener listens. "*" and "::" are all of a
// family; IPv6 is left out where the machine has none.
func (c *settings) addresses(l config.InetListener) (out []string) {
	list := l.Address
	if len(list) == 0 {
		list = c.Listen
	}
	for _, a := range list {
		switch {
		case a == "*":
			out = append(out, "0.0.0.0")
		case a == "::" || a == "[::]":
			if proc.HasIPv6() {
				out = append(out, "::")
			}
		default:
			out = append(out, strings.Trim(a, "[]"))
		}
	}
	return out
}

func (w want) listen() (*socket, error) {
	if w.unix != nil {
		l, err := listen.Unix(w.as.Service, w.unix)
		return &socket{fileListener: l, as: w.as, path: w.unix.Path}, err
	}
	l, err := listen.TCP(w.as.Service, w.addr)
	return &socket{fileListener: l, as: w.as}, err
}
