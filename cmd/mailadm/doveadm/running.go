package doveadm

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/proc"
)

// master returns the process number of the running system.
func (c *call) master() (int, error) {
	b, err := os.ReadFile(filepath.Join(c.base, "master.pid"))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || !proc.Alive(pid) {
		return 0, fmt.Errorf("the system is not running (read from %s)", filepath.Join(c.base, "master.pid"))
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
		return c.usage(name)
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

// who is doveadm who.
func (c *call) who(args []string) int {
	fs := c.flags("who")
	sock := fs.String("a", "anvil", "socket")
	single := fs.Bool("1", false, "one line a connection")
	if fs.Parse(args) != nil || fs.NArg() > 1 {
		return c.usage("who [-a <anvil socket path>] [-1] [<user mask>]")
	}
	list, err := sessions(c.socket(*sock))
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	if mask := fs.Arg(0); mask != "" {
		list = slices.DeleteFunc(list, func(s seen) bool {
			ok, err := filepath.Match(mask, s.user)
			return err != nil || !ok
		})
	}
	if *single {
		c.table(singleRows(list))
	} else {
		c.table(groupedRows(list))
	}
	return exOK
}

// sessions asks the anvil socket.
func sessions(path string) ([]seen, error) {
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprint(conn, "VERSION\tanvil\t1\t0\nCONNECT-DUMP\n"); err != nil {
		return nil, err
	}
	var list []seen
	sc := bufio.NewScanner(conn)
	for sc.Scan() && sc.Text() != "" {
		if s, ok := parseSeen(sc.Text()); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b seen) int {
		return strings.Compare(a.user+"\x00"+a.proto+"\x00"+a.ip, b.user+"\x00"+b.proto+"\x00"+b.ip)
	})
	return list, sc.Err()
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
	rows := [][]string{{"username", "proto", "pid", "ip"}}
	for _, s := range list {
		for range s.count {
			rows = append(rows, []string{s.user, s.proto, strconv.Itoa(s.pid), s.ip})
		}
	}
	return rows
}

// groupedRows puts the connections of one user and protocol on one line.
func groupedRows(list []seen) [][]string {
	rows := [][]string{{"username", "#", "proto", "(pids)", "(ips)"}}
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

// table prints rows in columns.
func (c *call) table(rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%-*s", width[i], cell)
		}
		fmt.Fprintln(c.out, b.String())
	}
}
