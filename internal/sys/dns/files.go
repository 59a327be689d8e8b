package dns

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// recheck is how long a file is believed unchanged before it is looked at again.
const recheck = time.Second

// stamp remembers which version of a file was read.
type stamp struct {
	mu      sync.Mutex
	checked time.Time
	mod     time.Time
	size    int64
}

// changed tells whether the file is another one than at the last call. The
// caller holds mu.
func (s *stamp) changed(path string) bool {
	now := time.Now()
	if now.Sub(s.checked) < recheck {
		return false
	}
	first := s.checked.IsZero()
	s.checked = now
	fi, err := os.Stat(path)
	if err != nil {
		gone := s.size != -1
		s.size, s.mod = -1, time.Time{}
		return first || gone
	}
	same := fi.ModTime().Equal(s.mod) && fi.Size() == s.size
	s.mod, s.size = fi.ModTime(), fi.Size()
	return first || !same
}

// confFile is resolv.conf(5): a laptop's changes with every network.
type confFile struct {
	path string
	stamp
	list []string
}

func (c *confFile) servers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed(c.path) {
		return c.list
	}
	c.list = nil
	if conf, err := mdns.ClientConfigFromFile(c.path); err == nil {
		for _, s := range conf.Servers {
			c.list = append(c.list, net.JoinHostPort(s, conf.Port))
		}
	}
	if len(c.list) == 0 {
		c.list = []string{"127.0.0.1:53"} // resolv.conf(5): the default is the local server
	}
	return c.list
}

// hostsFile is hosts(5).
type hostsFile struct {
	path string
	stamp
	byName map[string][]netip.Addr
	byAddr map[netip.Addr][]string
}

func (h *hostsFile) addrs(host, network string) (out []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.load()
	for _, a := range h.byName[strings.ToLower(strings.TrimSuffix(host, "."))] {
		if network == "ip" || network == family(a) {
			out = append(out, a)
		}
	}
	return out
}

func (h *hostsFile) names(a netip.Addr) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.load()
	return h.byAddr[a.Unmap()]
}

func (h *hostsFile) load() {
	if !h.changed(h.path) {
		return
	}
	h.byName, h.byAddr = map[string][]netip.Addr{}, map[netip.Addr][]string{}
	f, err := os.Open(h.path)
	if err != nil {
		return
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line, _, _ := strings.Cut(sc.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		a = a.Unmap()
		h.byAddr[a] = append(h.byAddr[a], fields[1:]...)
		for _, n := range fields[1:] {
			n = strings.ToLower(n)
			h.byName[n] = append(h.byName[n], a)
		}
	}
}
