package doveadm

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/auth"
	"packetboat/internal/sys/proc"
)

// master returns the process number of the running system.
func (c *call) master() (int, error) {
	path := filepath.Join(c.base, "master.pid")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || !proc.Alive(pid) {
		//lint:ignore ST1005 a proper name, in the original words
		return 0, fmt.Errorf("Dovecot is not running (read from %s)", path)
	}
	return pid, nil
}

func (c *call) reload(args []string) int {
	return c.signal(args, "reload", func(pid int) error { return proc.Kill(pid, proc.SIGHUP) })
}

// stop returns when the system has ended, so that a start may follow at once.
func (c *call) stop(args []string) int {
	pid, err := c.master()
	if code := c.signal(args, "stop", func(pid int) error { return proc.Kill(pid, proc.SIGTERM) }); code != exOK || err != nil {
		return code
	}
	for end := time.Now().Add(stopWait); proc.Alive(pid) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return exOK
}

// stopWait is how long stop waits for the end: sessions get eight seconds.
const stopWait = 15 * time.Second

func (c *call) signal(args []string, name string, kill func(pid int) error) int {
	if len(args) > 0 {
		return c.failure(exUsage, "Extraneous arguments found: %s", args[0])
	}
	pid, err := c.master()
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	if err := kill(pid); err != nil {
		return c.fatal(exTempFail, "kill(%d) failed: %v", pid, err)
	}
	return exOK
}

// seen is one line of the sessions that anvil tells.
type seen struct {
	user, proto, ip string
	pid, count      int
}

// tooMany is the error of an argument that is one too many.
type tooMany string

// Error returns Dovecot's text.
func (t tooMany) Error() string { return "Extraneous arguments found: " + string(t) }

// whom reads a user mask and a network, in any order.
func whom(words []string) (mask, network string, err error) {
	for _, w := range words {
		p, perr := netip.ParsePrefix(w)
		if a, aerr := netip.ParseAddr(w); aerr == nil {
			p, perr = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case perr == nil && network == "":
			network = p.Masked().String()
		case mask == "":
			mask = w
		default:
			return "", "", tooMany(w)
		}
	}
	return mask, network, nil
}

// who is doveadm who.
func (c *call) who(words []string) int {
	a, ok := c.args("who", "a:1", takes["who"], words, 0, 2)
	if !ok {
		return exUsage
	}
	mask, network, err := whom(a.Rest)
	if err != nil {
		return c.failure(exUsage, "%v", err)
	}
	sock := c.socket(a.Last("a", "anvil"))
	list, err := sessions(sock)
	if err != nil {
		return c.fatal(exTempFail, "net_connect_unix(%s) failed: %s", sock, proc.ErrText(err))
	}
	list = slices.DeleteFunc(list, func(s seen) bool { return !s.is(mask, network) })
	out := c.formatter("table")
	rows := groupedRows(list)
	cols := []show.Column{{Key: "username"}, {Key: "connections", Title: "#", Right: true}, {Key: "service", Title: "proto"},
		{Key: "pids", Title: "(pids)"}, {Key: "ips", Title: "(ips)"}}
	if a.Has("1") {
		rows = singleRows(list)
		cols = []show.Column{{Key: "username", Expand: true}, {Key: "service", Title: "proto"}, {Key: "pid"}, {Key: "ip"}}
	}
	return c.print(out, cols, rows)
}

// print prints rows under their columns.
func (c *call) print(out show.Formatter, cols []show.Column, rows [][]string) int {
	out.Columns(cols)
	for _, row := range rows {
		for _, s := range row {
			out.Value(s)
		}
	}
	if err := out.Flush(); err != nil {
		return c.fatal(exTempFail, "write(stdout) failed: %v", err)
	}
	return exOK
}

// is tells whether a session is of a user that mask means, from network.
func (s seen) is(mask, network string) bool {
	if mask != "" && !auth.MatchMask(mask, s.user) {
		return false
	}
	if network == "" {
		return true
	}
	p, err := netip.ParsePrefix(network)
	ip, aerr := netip.ParseAddr(s.ip)
	return err == nil && aerr == nil && p.Contains(ip.Unmap())
}

// kick is doveadm kick: it ends sessions.
func (c *call) kick(words []string) int {
	a, ok := c.args("kick", "a:", takes["kick"], words, 0, 2)
	if !ok {
		return exUsage
	}
	mask, network, err := whom(a.Rest)
	if err != nil {
		return c.failure(exUsage, "%v", err)
	}
	if mask == "" && network == "" {
		return c.failure(exUsage, "user and/or ip[/bits] must be specified.")
	}
	sock := c.socket(a.Last("a", "anvil"))
	users, err := anvil(sock, "KICK\t"+strings.NewReplacer("\t", "?", "\n", "?").Replace(mask)+"\t"+network)
	if err != nil {
		return c.fatal(exTempFail, "net_connect_unix(%s) failed: %s", sock, proc.ErrText(err))
	}
	if len(users) == 0 {
		fmt.Fprintln(c.out, "no users kicked")
		return exNoHost
	}
	fmt.Fprintf(c.out, "%s kicked connections from the following users:\n\n", strings.Join(users, " "))
	return exOK
}

// anvil asks the anvil socket one question and returns the lines up to an empty one.
func anvil(path, question string) (lines []string, err error) {
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprint(conn, "VERSION\tanvil\t1\t0\n"+question+"\n"); err != nil {
		return nil, err
	}
	sc := bufio.NewScanner(conn)
	for sc.Scan() && sc.Text() != "" {
		lines = append(lines, sc.Text())
	}
	return lines, sc.Err()
}

// sessions asks the anvil socket who is there.
func sessions(path string) ([]seen, error) {
	lines, err := anvil(path, "CONNECT-DUMP")
	var list []seen
	for _, l := range lines {
		if s, ok := parseSeen(l); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b seen) int {
		return strings.Compare(a.user+"\x00"+a.proto+"\x00"+a.ip, b.user+"\x00"+b.proto+"\x00"+b.ip)
	})
	return list, err
}

// parseSeen reads "service/ip/user PID COUNT".
func parseSeen(line string) (seen, bool) {
	f := strings.Split(line, "\t")
	if len(f) < 3 {
		return seen{}, false
	}
	id := strings.SplitN(f[0], "/", 3)
	pid, err1 := strconv.Atoi(f[1])
	n, err2 := strconv.Atoi(f[2])
	if len(id) != 3 || err1 != nil || err2 != nil {
		return seen{}, false
	}
	return seen{id[2], id[0], id[1], pid, n}, true
}

func singleRows(list []seen) [][]string {
	var rows [][]string
	for _, s := range list {
		for range s.count {
			rows = append(rows, []string{s.user, s.proto, strconv.Itoa(s.pid), s.ip})
		}
	}
	return rows
}

// groupedRows puts the connections of one user and protocol on one line.
func groupedRows(list []seen) [][]string {
	var rows [][]string
	for i := 0; i < len(list); {
		n, pids, ips := 0, []string{}, []string{}
		j := i
		for ; j < len(list) && list[j].user == list[i].user && list[j].proto == list[i].proto; j++ {
			n += list[j].count
			if pid := strconv.Itoa(list[j].pid); !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
			if !slices.Contains(ips, list[j].ip) {
				ips = append(ips, list[j].ip)
			}
		}
		rows = append(rows, []string{list[i].user, strconv.Itoa(n), list[i].proto, "(" + strings.Join(pids, " ") + ")", "(" + strings.Join(ips, " ") + ")"})
		i = j
	}
	return rows
}
