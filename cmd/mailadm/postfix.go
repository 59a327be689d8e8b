package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// Times of postfix(1): how long a stop waits for mtad to finish what is in
// hand before it is ended by force, and how long a start may take.
const (
	stopWait  = 30 * time.Second
	startWait = 60 * time.Second
)

// postfixRun is one run of postfix(1).
type postfixRun struct {
	main           *config.Main
	dir            string
	force          bool // parameters that are not built are no reason to stop
	post           func(priority, text string)
	stdout, stderr io.Writer
}

// runPostfix is postfix(1): start, stop, reload, flush, check, status and their
// like. start, check and reload take --force.
func runPostfix(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	bad := func(err string) int {
		fmt.Fprintf(stderr, "postfix: fatal: %s\n", err)
		return 1
	}
	opts, rest, err := getopt(args, "c:Dv")
	if err != nil {
		fmt.Fprintf(stderr, "postfix: %v\n", err)
	}
	force := len(rest) > 1 && rest[1] == "--force"
	if force {
		rest = append(rest[:1], rest[2:]...)
	}
	if err != nil || len(rest) != 1 {
		return bad("usage: postfix [-c config_dir] [-Dv] command")
	}
	dir := os.Getenv("MAIL_CONFIG")
	for _, o := range opts {
		if o.c == 'c' {
			dir = o.value
		}
	}
	main, err := mainAnyway(dir)
	if err != nil {
		fmt.Fprint(stderr, config.Report(err))
		return 1
	}
	post, err := poster(main, main.Get("syslog_name")+"/postfix-script", stderr)
	if err != nil {
		return bad(err.Error())
	}
	c := &postfixRun{main: main, dir: dir, force: force, post: post, stdout: stdout, stderr: stderr}
	if run := c.command(rest[0]); run != nil {
		return run()
	}
	return c.fatal("unknown command: '" + rest[0] + "'. Usage: postfix start (or stop, reload, abort, flush, check, status, set-permissions, upgrade-configuration, logrotate)")
}

// mainAnyway reads main.cf, lines that are none left out: a system must be
// stopped, and a check must say everything, whatever stands there.
func mainAnyway(dir string) (*config.Main, error) {
	if dir == "" {
		dir = config.DefaultDir
	}
	m, _, err := config.LoadMain(dir)
	if err == nil {
		return m, nil
	}
	text, readErr := os.ReadFile(filepath.Join(dir, "main.cf"))
	if readErr != nil {
		return nil, err
	}
	return config.SalvageMain(dir, filepath.Join(dir, "main.cf"), string(text)), nil
}

func (c *postfixRun) command(name string) func() int {
	switch name {
	case "start":
		return c.start
	case "start-fg":
		return c.foreground
	case "stop", "drain", "quick-stop":
		return c.stop
	case "abort":
		return c.abort
	case "reload":
		return c.reload
	case "flush":
		return c.flush
	case "check":
		return c.check
	case "status":
		return c.status
	case "set-permissions", "upgrade-configuration":
		return c.setPermissions
	case "logrotate":
		return c.logrotate
	}
	return nil
}

func (c *postfixRun) info(text string) { c.post("info", text) }

func (c *postfixRun) fatal(text string) int {
	c.post("fatal", text)
	if !isTerminal(c.stderr) {
		fmt.Fprintf(c.stderr, "postfix: fatal: %s\n", text)
	}
	return 1
}

// pid returns the number of the running mtad, 0 for none. The lock on the pid
// file tells; where it may not be tried, the number in it does.
func (c *postfixRun) pid() int {
	path := filepath.Join(c.main.Get("queue_directory"), "pid/master.pid")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	f, err := disk.LockFile(path)
	if err == nil {
		f.Close()
		return 0
	}
	pid, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
	if err2 != nil || !errors.Is(err, disk.ErrRunning) && !proc.Alive(pid) {
		return 0
	}
	return pid
}

// mtad returns the path of the daemon: beside this program, or in
// daemon_directory.
func (c *postfixRun) mtad() (string, error) {
	var tried []string
	if self, err := os.Executable(); err == nil {
		tried = append(tried, filepath.Join(filepath.Dir(self), "mtad"))
	}
	tried = append(tried, filepath.Join(c.main.Get("daemon_directory"), "mtad"))
	for _, path := range tried {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no program mtad: tried %s", strings.Join(tried, " and "))
}

func (c *postfixRun) start() int { return c.launch(startWait) }

// foreground runs mtad until it ends, for containers.
func (c *postfixRun) foreground() int { return c.launch(0, "-F") }

// launch runs mtad; wait bounds it, 0 = as long as it likes.
func (c *postfixRun) launch(wait time.Duration, flags ...string) int {
	if c.pid() != 0 {
		return c.fatal("the Postfix mail system is already running")
	}
	if code := c.check(); code != 0 {
		return c.fatal("Postfix integrity check failed!")
	}
	if c.force {
		flags = append(flags, "--force")
	}
	path, err := c.mtad()
	if err != nil {
		return c.fatal(err.Error())
	}
	if isTerminal(c.stderr) { // mtad itself logs that it starts
		fmt.Fprintf(c.stderr, "%s/postfix-script: starting the Postfix mail system\n", c.main.Get("syslog_name"))
	}
	ctx, cancel := context.Background(), func() {}
	if wait > 0 {
		ctx, cancel = context.WithTimeout(ctx, wait)
	}
	defer cancel()
	code, err := proc.Run(ctx, proc.Role{Path: path, Args: append([]string{"mtad", "-c", c.main.Dir()}, flags...),
		Env: proc.CleanEnv(), Stdout: c.stdout, Stderr: c.stderr})
	if err != nil {
		return c.fatal("mail system startup failed: " + err.Error())
	}
	if code != 0 && wait > 0 {
		return c.fatal("mail system startup failed")
	}
	return code
}

// signal sends a signal to the running mtad, and says what it does.
func (c *postfixRun) signal(pid int, hangup bool, what string) int {
	if pid == 0 {
		return c.fatal("the Postfix mail system is not running")
	}
	c.info(what)
	sig := proc.SIGTERM
	if hangup {
		sig = proc.SIGHUP
	}
	if err := proc.Kill(pid, sig); err != nil {
		return c.fatal(fmt.Sprintf("signal process %d: %s", pid, proc.ErrText(err)))
	}
	return 0
}

func (c *postfixRun) stop() int {
	pid := c.pid()
	if code := c.signal(pid, false, "stopping the Postfix mail system"); code != 0 {
		return code
	}
	told := time.Now()
	for end := told.Add(stopWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c.pid() == 0 {
			return 0
		}
		if time.Since(told) > time.Second {
			told = time.Now()
			c.info("waiting for the Postfix mail system to terminate")
		}
	}
	c.post("warn", "stopping the Postfix mail system with force")
	if err := proc.Kill(pid, proc.SIGKILL); err != nil {
		return c.fatal(fmt.Sprintf("signal process %d: %s", pid, proc.ErrText(err)))
	}
	return 0
}

func (c *postfixRun) abort() int { return c.signal(c.pid(), false, "aborting the Postfix mail system") }

// reload refuses a configuration that cannot be read: the running system keeps
// the one it has.
func (c *postfixRun) reload() int {
	pid := c.pid()
	if pid != 0 {
		if code := c.check(); code != 0 {
			return c.fatal("the configuration has errors; the mail system keeps the one it has")
		}
	}
	return c.signal(pid, true, "refreshing the Postfix mail system")
}

func (c *postfixRun) status() int {
	pid := c.pid()
	if pid == 0 {
		c.info("the Postfix mail system is not running")
		return 1
	}
	c.info("the Postfix mail system is running: PID: " + strconv.Itoa(pid))
	return 0
}

// flush asks for a delivery of all deferred mail at once: postqueue -f.
func (c *postfixRun) flush() int {
	run := commands()["postqueue"]
	if run == nil {
		return c.fatal("this build has no postqueue")
	}
	return run([]string{"-c", c.main.Dir(), "-f"}, nil, c.stdout, c.stderr)
}
