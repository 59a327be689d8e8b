// Package doveadm is doveadm(1), the part of it that is about accounts and
// the running system: auth, user, who, reload, stop, log, pw. Output and exit
// codes are Dovecot's, because scripts read them; what must be asked is asked
// over Dovecot's own sockets, so it works with a Dovecot, too.
package doveadm

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"packetboat/internal/sys/config"
)

// Exit codes of sysexits.h as Dovecot uses them.
const (
	exOK       = 0
	exUsage    = 64
	exNoUser   = 67
	exTempFail = 75
	exNoPerm   = 77
	exConfig   = 78
)

// call is one run.
type call struct {
	path   string // dovecot.conf
	in     io.Reader
	out    io.Writer
	err    io.Writer
	conf   *config.Dovecot
	base   string // base_dir
	format string
}

// Run runs doveadm with args, the arguments without the program's name, and
// returns the exit code.
func Run(args []string, in io.Reader, out, errs io.Writer) int {
	c := &call{in: in, out: out, err: errs}
	fs := c.flags("doveadm")
	fs.StringVar(&c.path, "c", config.DefaultDovecot, "configuration file")
	fs.StringVar(&c.format, "f", "", "formatter")
	fs.Bool("D", false, "debug")
	fs.Bool("v", false, "verbose")
	if fs.Parse(args) != nil || fs.NArg() == 0 {
		return c.usage("<command> [<args>]")
	}
	name, rest := fs.Arg(0), fs.Args()[1:]
	run := map[string]func([]string) int{"auth": c.auth, "user": c.user, "who": c.who, "reload": c.reload,
		"stop": c.stop, "log": c.log, "pw": c.pw}[name]
	if run == nil {
		return c.usage("<command> [<args>]\n  auth         login|test\n  log          find\n  pw           [-l] [-p plaintext] [-r rounds] [-s scheme] [-t hash] [-u user]\n" +
			"  reload       \n  stop         \n  user         [-f field] <user> [<user> [...]]\n  who          [-1]")
	}
	if name != "pw" {
		if code := c.load(); code != exOK {
			return code
		}
	}
	return run(rest)
}

// flags makes a flag set that prints nothing of its own.
func (c *call) flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

func (c *call) usage(text string) int {
	fmt.Fprintf(c.err, "usage: doveadm [-Dv] [-f <formatter>] %s\n", text)
	return exUsage
}

// fatal prints an error as Dovecot does, and a hint where there is one.
func (c *call) fatal(code int, format string, args ...any) int {
	fmt.Fprintf(c.err, "Fatal: "+format+"\n", args...)
	return code
}

func (c *call) load() int {
	conf, err := config.LoadDovecot(c.path)
	if err != nil {
		return c.fatal(exConfig, "%s", config.Report(err))
	}
	var o struct {
		Base string `dovecot:"base_dir"`
	}
	if err := conf.Decode(&o); err != nil {
		return c.fatal(exConfig, "%s", config.Report(err))
	}
	c.conf, c.base = conf, o.Base
	return exOK
}

// socket returns the path of one of base_dir's sockets.
func (c *call) socket(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.base, name)
}

// log is doveadm log find: where the lines go.
func (c *call) log(args []string) int {
	if len(args) == 0 || args[0] != "find" {
		return c.usage("log <command> [<args>]\n  find         [<dir>]")
	}
	var o struct {
		Log   string `dovecot:"log_path"`
		Info  string `dovecot:"info_log_path"`
		Debug string `dovecot:"debug_log_path"`
	}
	if err := c.conf.Decode(&o); err != nil {
		return c.fatal(exConfig, "%s", config.Report(err))
	}
	if o.Log == "" || o.Log == "syslog" {
		return c.findSyslog(args[1:])
	}
	info := first(o.Info, o.Log)
	for _, l := range [][2]string{{"Debug", first(o.Debug, info)}, {"Info", info}, {"Warning", o.Log}, {"Error", o.Log}, {"Fatal", o.Log}} {
		fmt.Fprintf(c.out, "%s: %s\n", l[0], l[1])
	}
	return exOK
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// findSyslog names the files to which Debian's syslog daemons write mail lines.
func (c *call) findSyslog(args []string) int {
	dir := "/var/log"
	if len(args) > 0 {
		dir = args[0]
	}
	fmt.Fprintf(c.out, "Looking for log files from %s\n", dir)
	var files []string
	for _, name := range []string{"mail.log", "mail.info", "maillog", "syslog"} {
		found, err := filepath.Glob(filepath.Join(dir, name))
		if err != nil {
			return c.fatal(exTempFail, "%v", err)
		}
		files = append(files, found...)
	}
	for _, level := range []string{"Debug", "Info", "Warning", "Error", "Fatal"} {
		if len(files) == 0 {
			fmt.Fprintf(c.out, "%s: Not found\n", level)
			continue
		}
		fmt.Fprintf(c.out, "%s: %s\n", level, files[0])
	}
	return exOK
}

// cutAuthInfo takes an "-x name=value" apart.
func cutAuthInfo(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", errors.New("-x wants name=value")
	}
	return key, value, nil
}
