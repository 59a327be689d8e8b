package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// check reads the configuration and looks at the folders; it prints every
// problem with its place. The exit code is 1 when one of them would keep the
// system from starting.
func (c *postfixRun) check() int {
	list := config.Check(c.main.Dir())
	if _, err := proc.LookupUser(c.main.Get("mail_owner")); err != nil {
		list = append(list, c.noAccount("mail_owner", "account"))
	}
	if _, err := proc.LookupGroup(c.main.Get("setgid_group")); err != nil && os.Geteuid() == 0 {
		list = append(list, c.noAccount("setgid_group", "group"))
	}
	for _, p := range list {
		c.tell(p)
	}
	if config.Stop(list, c.force) != nil || !c.askDaemon() {
		return 1
	}
	c.checkFolders()
	return 0
}

// askDaemon lets mtad look at what only it knows, such as access lists that
// would relay for everyone. Somebody who may not start it cannot ask.
func (c *postfixRun) askDaemon() bool {
	path, err := c.mtad()
	owner, err2 := proc.LookupUser(c.main.Get("mail_owner"))
	if err != nil || err2 != nil || os.Geteuid() != 0 && os.Geteuid() != owner.UID {
		return true
	}
	args := []string{"mtad", "-c", c.main.Dir(), "--check"}
	if c.force {
		args = append(args, "--force")
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	var said bytes.Buffer
	code, err := proc.Run(ctx, proc.Role{Path: path, Args: args, Env: proc.CleanEnv(), Stdout: &said, Stderr: &said})
	if err == nil && code == 0 {
		return true
	}
	fmt.Fprint(c.stderr, said.String())
	for line := range strings.Lines(said.String()) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "error: "); ok {
			c.post("error", text)
		}
	}
	return false
}

func (c *postfixRun) noAccount(name, kind string) config.Problem {
	file, line := c.main.Where(name)
	if file == "" {
		file = c.main.Path()
	}
	return config.Problem{File: file, Line: line, Name: name, Severity: config.SeverityError,
		Text: name + ": no " + kind + " " + c.main.Get(name), Hint: "make the " + kind + ", or name another"}
}

// tell writes a problem into the log and to standard error.
func (c *postfixRun) tell(p config.Problem) {
	priority, label := "error", "error"
	if p.Severity == config.SeverityWarning || p.Severity == config.SeverityRefused && c.force {
		priority, label = "warn", "warning"
	}
	text := p.String()
	if p.Hint != "" && isTerminal(c.stderr) {
		text += "; " + p.Hint
	}
	c.post(priority, text)
	if isTerminal(c.stderr) {
		return // post has written it there too
	}
	fmt.Fprintf(c.stderr, "%s: %s\n", label, p)
	if p.Hint != "" {
		fmt.Fprintf(c.stderr, "hint: %s\n", p.Hint)
	}
}

// checkFolders warns, in the original's words, of folders that others could
// write to. It does not look below maildrop, which every user writes to. What
// the folders of the queue must be like is Folders' business; as an ordinary
// user there is one account for all, and nothing to compare.
func (c *postfixRun) checkFolders() {
	owner, err := proc.LookupUser(c.main.Get("mail_owner"))
	if err != nil || os.Geteuid() != 0 {
		return
	}
	group, _ := proc.LookupGroup(c.main.Get("setgid_group"))
	folders := append(wiring.Folders(c.main, 0, owner.UID, group), wiring.Folder{Path: c.main.Dir(), UID: 0, GID: -1, Mode: 0o755})
	for _, f := range folders {
		st, err := disk.StatPath(f.Path)
		switch {
		case err != nil: // a start makes it
		case st.UID != f.UID && f.UID == 0:
			c.post("warn", "not owned by root: "+f.Path)
		case st.UID != f.UID:
			c.post("warn", "not owned by "+owner.Name+": "+f.Path)
		case f.GID >= 0 && st.GID != f.GID:
			c.post("warn", "not owned by group "+c.main.Get("setgid_group")+": "+f.Path)
		case st.Mode&0o022&^f.Mode != 0:
			c.post("warn", "group or other writable: "+f.Path)
		}
	}
	damaged, _ := filepath.Glob(filepath.Join(c.main.Get("queue_directory"), "corrupt", "*"))
	for _, path := range damaged {
		c.post("warn", "damaged message: corrupt/"+filepath.Base(path))
	}
}

// setPermissions makes the folders of the mail system that are missing and gives
// all of them the owners and modes that they must have. main.cf and master.cf
// need no upgrade: they are read as they stand.
func (c *postfixRun) setPermissions() int {
	owner, err := proc.LookupUser(c.main.Get("mail_owner"))
	if err != nil {
		return c.fatal(c.noAccount("mail_owner", "account").String())
	}
	group, err := proc.LookupGroup(c.main.Get("setgid_group"))
	if err != nil {
		return c.fatal(c.noAccount("setgid_group", "group").String())
	}
	for _, f := range wiring.Folders(c.main, os.Geteuid(), owner.UID, group) {
		if err := disk.MakeDir(f.Path, f.UID, f.GID, f.Mode); err != nil {
			return c.fatal("unable to create missing queue directories: " + err.Error())
		}
	}
	return 0
}

// rotateTime bounds the compression of a log.
const rotateTime = 10 * time.Minute

// logrotate puts maillog_file aside under a name with the time, lets the running
// system open a new one, and compresses the old one.
func (c *postfixRun) logrotate() int {
	file, program := c.main.Get("maillog_file"), c.main.Get("maillog_file_compressor")
	for _, name := range [...]string{"maillog_file", "maillog_file_compressor", "maillog_file_rotate_suffix"} {
		if c.main.Get(name) == "" {
			return c.fatal("empty '" + name + "' parameter value - logfile rotation failed")
		}
	}
	if strings.HasPrefix(file, "/dev/") {
		return c.fatal("not rotating '" + file + "'")
	}
	failed := func(err error) int {
		return c.fatal("logfile '" + file + "' rotation failed: " + err.Error())
	}
	suffix, err := strftime(c.main.Get("maillog_file_rotate_suffix"), time.Now())
	if err != nil {
		return failed(err)
	}
	old := file + "." + suffix
	if _, err := os.Lstat(old); err == nil {
		return failed(fmt.Errorf("%s is there already", old))
	}
	if err := os.Rename(file, old); err != nil {
		return failed(err)
	}
	if pid := c.pid(); pid != 0 {
		if err := proc.Kill(pid, proc.SIGHUP); err != nil {
			return failed(errors.New(proc.ErrText(err)))
		}
		time.Sleep(time.Second) // until nobody writes into the old one any more
	}
	return c.compress(program, old, failed)
}

// compress runs the compressor, which maillog_file_compressor may name without
// a path.
func (c *postfixRun) compress(program, old string, failed func(error) int) int {
	path := program
	for _, dir := range strings.Fields("/usr/bin /bin /usr/local/bin") {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil && !filepath.IsAbs(program) {
			path = filepath.Join(dir, program)
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), rotateTime)
	defer cancel()
	code, err := proc.Run(ctx, proc.Role{Path: path, Args: []string{program, old}, Env: proc.CleanEnv(), Stdout: c.stdout, Stderr: c.stderr})
	if err == nil && code != 0 {
		err = fmt.Errorf("%s exits with %d", program, code)
	}
	if err != nil {
		return failed(err)
	}
	return 0
}

// strftime writes a time by the letters of strftime(3) that names of files use.
func strftime(format string, t time.Time) (string, error) {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05", 'b': "Jan", 'a': "Mon", 'Z': "MST", 'z': "-0700"}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' || i+1 == len(format) {
			b.WriteByte(c)
			continue
		}
		i++
		switch layout, ok := layouts[format[i]]; {
		case ok:
			b.WriteString(t.Format(layout))
		case format[i] == '%':
			b.WriteByte('%')
		case format[i] == 's':
			fmt.Fprint(&b, t.Unix())
		default:
			return "", fmt.Errorf("maillog_file_rotate_suffix: %%%c is not known", format[i])
		}
	}
	return b.String(), nil
}
