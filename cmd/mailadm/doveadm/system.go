package doveadm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/cmd/mailadm/doveconf"
	"packetboat/internal/store/names"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// levels are the kinds of log lines, as doveadm log find lists them.
var levels = []string{"Debug", "Info", "Warning", "Error", "Fatal"}

// logPaths are the files of the levels, or nil where syslog has the lines.
func (c *call) logPaths() ([]string, int) {
	var o struct {
		Log   string `dovecot:"log_path"`
		Info  string `dovecot:"info_log_path"`
		Debug string `dovecot:"debug_log_path"`
	}
	if err := c.conf.Decode(&o); err != nil {
		return nil, c.fatal(exConfig, "%s", config.Report(err))
	}
	if o.Log == "" || o.Log == "syslog" {
		return nil, exOK
	}
	info := first(o.Info, o.Log)
	return []string{first(o.Debug, info), info, o.Log, o.Log, o.Log}, exOK
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// logFind is doveadm log find: where the lines go.
func (c *call) logFind(words []string) int {
	a, ok := c.args("log find", "", takes["log find"], words, 0, 1)
	if !ok {
		return exUsage
	}
	paths, code := c.logPaths()
	if code != exOK {
		return code
	}
	if paths != nil {
		for i, l := range levels {
			fmt.Fprintf(c.out, "%s: %s\n", l, paths[i])
		}
		return exOK
	}
	dir := "/var/log"
	if len(a.Rest) > 0 {
		dir = a.Rest[0]
	}
	fmt.Fprintf(c.out, "Looking for log files from %s\n", dir)
	files := syslogFiles(dir)
	for _, level := range levels {
		if len(files) == 0 {
			fmt.Fprintf(c.out, "%s: Not found\n", level)
		}
		for _, f := range files {
			fmt.Fprintf(c.out, "%s: %s\n", level, f)
		}
	}
	return exOK
}

// syslogFiles are the files to which syslog daemons write mail lines: Dovecot
// finds them by logging a line and looking where it comes up, we by their names.
func syslogFiles(dir string) (files []string) {
	for _, name := range []string{"mail.log", "mail.info", "maillog", "syslog"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			files = append(files, path)
			break
		}
	}
	return files
}

// log opens the log that the system writes to.
func (c *call) log() (*maillog.Log, int) {
	paths, code := c.logPaths()
	if code != exOK {
		return nil, code
	}
	o := maillog.Options{Name: "dovecot", Bare: true}
	if paths != nil {
		o.File = paths[3]
	}
	if o.File == "/dev/stderr" {
		o.File, o.Handle = "", os.Stderr
	}
	l, err := maillog.Open(o)
	if err != nil {
		return nil, c.fatal(exTempFail, "%v", err)
	}
	return l.Program(""), exOK
}

// logTest is doveadm log test: a line of each level.
func (c *call) logTest(words []string) int {
	if _, ok := c.args("log test", "", "", words, 0, 0); !ok {
		return exUsage
	}
	l, code := c.log()
	if code != exOK {
		return code
	}
	now := time.Now().Unix()
	l.DovecotInfo("doveadm", fmt.Sprintf("This is Dovecot's info log (%d)", now))
	l.DovecotWarning("doveadm", fmt.Sprintf("This is Dovecot's warning log (%d)", now))
	l.DovecotError("doveadm", fmt.Sprintf("This is Dovecot's error log (%d)", now))
	return exOK
}

// logReopen is doveadm log reopen. The system opens its log again when it reads
// its configuration.
func (c *call) logReopen(words []string) int { return c.reload(words) }

// tailSize is how much of a log's end doveadm log errors looks at, in octets;
// Dovecot keeps its last 1,000 errors in memory.
const (
	tailSize  = 8 << 20
	maxErrors = 1000
)

// logErrors is doveadm log errors: the last warnings and errors.
func (c *call) logErrors(words []string) int {
	a, ok := c.args("log errors", "s:", takes["log errors"], words, 0, 0)
	if !ok {
		return exUsage
	}
	if a.Has("s") {
		return c.notBuilt("doveadm log errors -s", "the lines begin with their time; leave -s out")
	}
	paths, code := c.logPaths()
	if code != exOK {
		return code
	}
	path := ""
	if paths != nil {
		path = paths[3]
	} else if files := syslogFiles("/var/log"); len(files) > 0 {
		path = files[0]
	}
	f, err := os.Open(path)
	if err != nil {
		return c.failure(exTempFail, "open(%s) failed: %s", path, proc.ErrText(err))
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > tailSize {
		f.Seek(-tailSize, io.SeekEnd)
	}
	for _, line := range troubles(f, paths == nil) {
		fmt.Fprintln(c.out, line)
	}
	return exOK
}

// troubles picks the warnings and errors: "Nov 23 21:35:33 imap(7): Error: text"
// becomes "Nov 23 21:35:33 Error: imap(7): text", as Dovecot prints them.
func troubles(r io.Reader, syslog bool) (list []string) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		head, text, ok := strings.Cut(line, " dovecot: ")
		switch {
		case ok && len(head) >= len(time.Stamp): // written in syslog's form
			line = head[:len(time.Stamp)] + " " + text
		case syslog:
			continue
		}
		for _, level := range []string{"Warning", "Error", "Fatal", "Panic"} {
			prefix, text, ok := strings.Cut(line, ": "+level+": ")
			if ok && len(prefix) > len(time.Stamp) {
				list = append(list, fmt.Sprintf("%s %s: %s: %s", prefix[:len(time.Stamp)], level, prefix[len(time.Stamp)+1:], text))
				break
			}
		}
		if len(list) > maxErrors {
			list = slices.Delete(list, 0, 1)
		}
	}
	return list
}

// instanceList is doveadm instance list: the one instance of the configuration.
func (c *call) instanceList(words []string) int {
	if _, ok := c.args("instance list", "c", takes["instance list"], words, 0, 1); !ok {
		return exUsage
	}
	used, running := "never", "no"
	if st, err := os.Stat(filepath.Join(c.base, "master.pid")); err == nil {
		used = st.ModTime().Format("2006-01-02 15:04:05")
	}
	if _, err := c.master(); err == nil {
		running = "yes"
	}
	return c.print(c.formatter("table"), []show.Column{{Key: "path"}, {Key: "name"}, {Key: "last used"}, {Key: "running"}},
		[][]string{{c.base, first(c.conf.Get("instance_name"), "dovecot"), used, running}})
}

// config is doveadm config: doveconf.
func (c *call) config(words []string) int {
	return doveconf.Run(append([]string{"-c", c.path}, words...), c.out, c.err)
}

// mutf7 is doveadm mailbox mutf7.
func (c *call) mutf7(words []string) int {
	a, ok := c.args("mailbox mutf7", "78", takes["mailbox mutf7"], words, 1, -1)
	if !ok {
		return exUsage
	}
	code := exOK
	for _, s := range a.Rest {
		if !a.Has("7") {
			fmt.Fprintln(c.out, names.Encode(s))
			continue
		}
		text, ok := names.Decode(s)
		if !ok {
			code = c.failure(exData, "Mailbox name not valid mUTF-7: %s", s)
			continue
		}
		fmt.Fprintln(c.out, text)
	}
	return code
}

// exec is doveadm exec: a program of this system's, run by its name.
func (c *call) exec(words []string) int {
	if len(words) == 0 {
		fmt.Fprintln(c.err, "doveadm exec "+takes["exec"])
		return exUsage
	}
	self, err := os.Executable()
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	path := filepath.Join(filepath.Dir(self), filepath.Base(words[0]))
	if _, err := os.Stat(path); err != nil {
		return c.fatal(exTempFail, "execv(%s) failed: %s", path, proc.ErrText(err))
	}
	return c.run(path, words)
}

// run runs a program with doveadm's input and output.
func (c *call) run(path string, args []string) int {
	in, _ := c.in.(*os.File)
	ctx, cancel := context.WithTimeout(context.Background(), childTime)
	defer cancel()
	code, err := proc.Run(ctx, proc.Role{Path: path, Args: args, Env: os.Environ(), Stdin: in, Stdout: c.out, Stderr: c.err})
	if err != nil {
		return c.fatal(exTempFail, "execv(%s) failed: %v", path, err)
	}
	return code
}

// batch is doveadm batch: several commands for the same users, one after the other.
func (c *call) batch(words []string) int {
	var whose []string
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		n := 1
		if words[0] != "-A" && len(words) > 1 {
			n = 2
		}
		whose, words = append(whose, words[:n]...), words[n:]
	}
	if len(words) < 2 {
		fmt.Fprintln(c.err, "doveadm batch "+takes["batch"])
		return exUsage
	}
	self, err := os.Executable()
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	path, err := filepath.Abs(c.path)
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	sep, rest, code := words[0], words[1:], exOK
	for len(rest) > 0 {
		end := slices.Index(rest, sep)
		if end < 0 {
			end = len(rest)
		}
		args := []string{"doveadm", "-c", path}
		if c.format != "" {
			args = append(args, "-f", c.format)
		}
		for _, o := range c.over {
			args = append(args, "-o", o)
		}
		if n := c.run(self, append(append(args, rest[:end]...), whose...)); n != exOK {
			code = n
		}
		rest = rest[min(end+1, len(rest)):]
	}
	return code
}
