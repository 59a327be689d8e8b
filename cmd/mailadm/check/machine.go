package check

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"packetboat/cmd/internal/wiring"
	"packetboat/cmd/mailadm/where"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// ports looks at the addresses of master.cf's services: whether the machine has
// them and whether another program listens there. No port is bound for it:
// /proc/net tells.
func (c *checker) ports() {
	taken := c.listeners()
	for i := range c.services {
		svc := &c.services[i]
		if svc.Type != "inet" || svc.Command != "smtpd" && svc.Command != "postscreen" {
			continue
		}
		at := where.Place{Parameter: svc.ID(), File: svc.File, Line: svc.Line}
		addrs, err := wiring.ListenAddrs(c.main.With(svc.Options...), *svc)
		if err != nil {
			c.place(at, config.SeverityError, "write a port of /etc/services or a number, and an address of this machine", "%v", err)
		}
		for _, a := range addrs {
			c.port(at, a, taken, "mtad")
		}
	}
}

// port looks at one address with its port; ours is the program that may have it.
func (c *checker) port(at where.Place, addr string, taken []listener, ours string) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return
	}
	if !ap.Addr().IsUnspecified() && !isOwn(ap.Addr()) {
		c.place(at, config.SeverityError, "write an address of this machine, or take the service out", "%s: this machine has no address %s", addr, ap.Addr())
		return
	}
	for _, l := range taken {
		if !l.holds(ap) || l.program == ours {
			continue
		}
		who := "another program"
		if l.pid > 0 {
			who = fmt.Sprintf("%s (process %d)", l.program, l.pid)
		}
		c.place(at, config.SeverityError, "stop "+who+", or use another port", "%s is taken by %s", addr, who)
		return
	}
}

func isOwn(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(addrs, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err == nil && p.Addr().Unmap() == a.Unmap()
	})
}

// listener is a TCP port that some program listens on.
type listener struct {
	addr    netip.AddrPort
	inode   string
	pid     int
	program string // "" where this process may not see it
}

// holds tells whether nobody else can listen on a: the same port of the same
// address, or of all.
func (l *listener) holds(a netip.AddrPort) bool {
	if l.addr.Port() != a.Port() {
		return false
	}
	mine, its := a.Addr(), l.addr.Addr()
	if mine.Is4() != its.Is4() {
		return false
	}
	return mine == its || mine.IsUnspecified() || its.IsUnspecified()
}

// listeners reads proc(5) for listening TCP sockets and their programs.
func (c *checker) listeners() []listener {
	var out []listener
	for _, name := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(filepath.Join(c.o.Proc, "net", name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			const listening = "0A" // TCP_LISTEN of the kernel's tcp_states.h
			if len(f) < 10 || f[3] != listening {
				continue
			}
			if ap, ok := procAddr(f[1]); ok {
				out = append(out, listener{addr: ap, inode: f[9]})
			}
		}
	}
	c.owners(out)
	return out
}

// procAddr reads an address of /proc/net/tcp: words of 32 bits in the machine's
// order, which is the little end first wherever Debian 12 runs mail, then the port.
func procAddr(s string) (netip.AddrPort, bool) {
	a, p, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(a)
	port, err2 := strconv.ParseUint(p, 16, 16)
	if err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr, uint16(port)), ok
}

// owners finds the programs behind sockets: those whose descriptors this
// process may look at.
func (c *checker) owners(list []listener) {
	byInode := map[string]int{}
	for i := range list {
		byInode["socket:["+list[i].inode+"]"] = i
	}
	fds, _ := filepath.Glob(filepath.Join(c.o.Proc, "[0-9]*", "fd", "[0-9]*"))
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		i, ok := byInode[to]
		if !ok || list[i].pid != 0 {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		list[i].pid, _ = strconv.Atoi(filepath.Base(dir))
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		list[i].program = strings.TrimSpace(string(name))
	}
}

// accounts looks for the users and groups that main.cf names.
func (c *checker) accounts() {
	for _, name := range []string{"mail_owner", "default_privs"} {
		if u := c.main.Get(name); u != "" {
			if _, err := proc.LookupUser(u); err != nil {
				c.at(c.main, name, config.SeverityError, "make it: adduser --system --group --no-create-home "+u, "%s = %s: there is no such user", name, u)
			}
		}
	}
	if g := c.main.Get("setgid_group"); g != "" {
		if _, err := proc.LookupGroup(g); err != nil {
			c.at(c.main, "setgid_group", config.SeverityError, "make it: addgroup --system "+g, "setgid_group = %s: there is no such group", g)
		}
	}
	if o, d := c.main.Get("mail_owner"), c.main.Get("default_privs"); o == d {
		c.at(c.main, "default_privs", config.SeverityError, "write default_privs = nobody", "default_privs is mail_owner: commands of aliases could change the queue")
	}
}

// folders looks at the queue: who may read mail, and who may put some there. A
// folder that is not there is made at the start.
func (c *checker) folders() {
	owner, err := proc.LookupUser(c.main.Get("mail_owner"))
	group, err2 := proc.LookupGroup(c.main.Get("setgid_group"))
	if err != nil || err2 != nil {
		return // told by accounts
	}
	for _, f := range wiring.Folders(c.main, 0, owner.UID, group) {
		fi, err := os.Lstat(f.Path)
		if err != nil {
			if !os.IsNotExist(err) {
				c.warn(f.Path, "run mailadm check as root", "%v", err)
			}
			continue
		}
		c.folder(f, fi)
	}
}

// special are the mode bits that matter besides the permissions.
const special = fs.ModeSetgid | fs.ModeSticky

func (c *checker) folder(f wiring.Folder, fi fs.FileInfo) {
	if !fi.IsDir() {
		c.add(config.Problem{File: f.Path, Severity: config.SeverityError, Text: "is no folder", Hint: "move it away: the folder is made at the start"})
		return
	}
	st, err := disk.StatPath(f.Path)
	if err != nil {
		return
	}
	if st.UID != f.UID {
		c.warn(f.Path, fmt.Sprintf("chown %d %s, or start the mail system, which does it", f.UID, f.Path), "belongs to user %d, not to %d", st.UID, f.UID)
	}
	if f.GID >= 0 && st.GID != f.GID {
		c.warn(f.Path, fmt.Sprintf("chgrp %d %s, or start the mail system, which does it", f.GID, f.Path), "belongs to group %d, not to %d", st.GID, f.GID)
	}
	const bits = fs.ModePerm | special
	if have, want := fi.Mode()&bits, f.Mode&bits; have&^want != 0 {
		c.warn(f.Path, fmt.Sprintf("chmod %s, or start the mail system, which does it", octal(want)+" "+f.Path),
			"has the mode %s, which lets in more than %s", octal(have), octal(want))
	}
}

// octal writes a mode as chmod(1) wants it.
func octal(m fs.FileMode) string {
	n := uint32(m.Perm())
	if m&fs.ModeSetgid != 0 {
		n |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		n |= 0o1000
	}
	return fmt.Sprintf("%04o", n)
}
