// Package doveadm is doveadm(1): accounts, the running system, and the mail of
// users. Output and exit codes are Dovecot's, because scripts read them; what must
// be asked is asked over Dovecot's own sockets, so most of it works with a
// Dovecot, too. A command that touches mail works as the user whose mail it is.
// What is not built says so and fails.
package doveadm

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/mails"
	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/sys/config"
)

// Exit codes of sysexits.h as Dovecot uses them.
const (
	exOK       = 0
	exUsage    = 64
	exData     = 65
	exNoUser   = 67
	exNoHost   = 68
	exTempFail = 75
	exNoPerm   = 77
	exConfig   = 78
	exOption   = 89 // an option of doveadm itself that there is not
)

// call is one run.
type call struct {
	path    string // dovecot.conf
	in      io.Reader
	out     io.Writer
	err     io.Writer
	conf    *config.Dovecot
	base    string   // base_dir
	format  string   // -f
	over    []string // -o
	verbose bool
}

// Run runs doveadm with args, the arguments without the program's name, and
// returns the exit code.
func Run(args []string, in io.Reader, out, errs io.Writer) int {
	c := &call{path: config.DefaultDovecot, in: in, out: out, err: errs}
	a, err := options("doveadm", "Dc:f:hi:o:v", nil, args, true)
	if err != nil {
		fmt.Fprintln(errs, err)
		return exOption
	}
	c.path, c.format, c.over = a.Last("c", c.path), a.Last("f", ""), a.Opt["o"]
	c.verbose = a.Has("v") || a.Has("D")
	if a.Has("i") {
		return c.notBuilt("doveadm -i", "name the configuration file of the instance with -c")
	}
	if len(a.Rest) == 0 {
		return c.usage("")
	}
	if c.format != "" && c.format != remoteForm && !slices.Contains(show.Forms(), c.format) {
		fmt.Fprintf(errs, "doveadm: Fatal: Unknown print formatter: %s\n", c.format)
		return exTempFail
	}
	return c.command(a.Rest)
}

// command runs the command that words begin with: one, two or three of them name it.
func (c *call) command(words []string) int {
	mail := mails.Commands()
	for n := min(3, len(words)); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		if cmd := mail[name]; cmd != nil {
			return c.mail(name, cmd, words[n:])
		}
		if run := c.commands()[name]; run != nil {
			if code := c.load(name); code != exOK {
				return code
			}
			return run(words[n:])
		}
	}
	if help, ok := absent[words[0]]; ok {
		return c.notBuilt("doveadm "+words[0], help)
	}
	return c.usage(words[0])
}

// commands are the commands that touch nobody's mail.
func (c *call) commands() map[string]func([]string) int {
	return map[string]func([]string) int{
		"auth test": c.authTest, "auth login": c.authLogin, "auth lookup": c.authLookup, "auth cache flush": c.authFlush,
		"user": c.user, "who": c.who, "kick": c.kick,
		"reload": c.reload, "stop": c.stop, "pw": c.pw, "config": c.config, "help": c.help, "exec": c.exec,
		"log find": c.logFind, "log test": c.logTest, "log reopen": c.logReopen, "log errors": c.logErrors,
		"instance list": c.instanceList, "mailbox mutf7": c.mutf7, "batch": c.batch,
	}
}

// absent are Dovecot's commands that are not built, and what to do instead.
var absent = map[string]string{
	"acl":        "mailboxes are not shared here",
	"backup":     "copy the mailboxes' files, or use an IMAP tool such as mbsync",
	"sync":       "copy the mailboxes' files, or use an IMAP tool such as mbsync",
	"dict":       "there is no dict service here",
	"director":   "there is no director here",
	"dump":       "the caches are no Dovecot indexes; postcat shows queue files",
	"fs":         "there is no fs storage here",
	"fts":        "searches read the mail itself",
	"instance":   "an instance is removed by removing its configuration",
	"oldstats":   "see the log",
	"penalty":    "failed logins are delayed in the auth process",
	"rebuild":    "there is no storage of attachments here",
	"replicator": "there is no replication here",
	"sieve":      "scripts are files in the user's home folder",
	"sis":        "there is no storage of attachments here",
	"stats":      "see the log",
	"process":    "see ps(1): every process is named mrad --role",
	"proxy":      "there is no proxying here",
	"service":    "see ps(1) and doveconf -n; doveadm stop ends all",

	"dsync-server": "copy the mailboxes' files, or use an IMAP tool such as mbsync",
	"zlibconnect":  "use openssl s_client",
	"mount":        "mount points are not kept",
}

// notBuilt says that something of Dovecot's is missing. It never ends with success.
func (c *call) notBuilt(what, hint string) int {
	fmt.Fprintf(c.err, "error: %s is not built\nhint: %s\n", what, hint)
	return exTempFail
}

// fatal prints an error as Dovecot does.
func (c *call) fatal(code int, format string, args ...any) int {
	fmt.Fprintf(c.err, "Fatal: "+format+"\n", args...)
	return code
}

// failure is fatal for errors after which Dovecot goes on to its end.
func (c *call) failure(code int, format string, args ...any) int {
	fmt.Fprintf(c.err, "Error: "+format+"\n", args...)
	return code
}

// load reads the configuration, once, if the command needs it.
func (c *call) load(name string) int {
	if c.conf != nil || name == "pw" || name == "mailbox mutf7" || name == "help" {
		return exOK
	}
	conf, code := c.read()
	if code != exOK {
		return code
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

// read reads the file and what -o says over it.
func (c *call) read() (*config.Dovecot, int) {
	if len(c.over) == 0 {
		conf, err := config.LoadDovecot(c.path)
		if err != nil {
			return nil, c.fatal(exConfig, "%s", config.Report(err))
		}
		return conf, exOK
	}
	path, err := filepath.Abs(c.path)
	if err != nil {
		return nil, c.fatal(exConfig, "%v", err)
	}
	text := "!include " + path + "\n"
	for _, s := range c.over {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, c.fatal(exTempFail, "Error reading configuration: Invalid -o parameter %s: Missing '='", s)
		}
		text += setting(strings.Split(name, "/"), value)
	}
	conf, err := config.ParseDovecot("-o", text)
	if err != nil {
		return nil, c.fatal(exConfig, "%s", config.Report(err))
	}
	return conf, exOK
}

// setting writes "plugin/quota" = value as the blocks of a file.
func setting(name []string, value string) string {
	if strings.ContainsAny(value, "\r\n") {
		value = ""
	}
	if len(name) == 1 {
		return name[0] + " = " + value + "\n"
	}
	head := name[0] + " {\n"
	if name[0] == "service" || name[0] == "protocol" || name[0] == "namespace" {
		head = name[0] + " " + name[1] + " {\n"
		name = name[1:]
	}
	return head + setting(name[1:], value) + "}\n"
}

// socket returns the path of one of base_dir's sockets.
func (c *call) socket(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.base, name)
}

// formatter returns the formatter that was asked for, or the command's own.
func (c *call) formatter(own string) show.Formatter {
	switch {
	case c.format == remoteForm:
		return show.NewRemote(c.out)
	case c.format != "":
		own = c.format
	case own == "":
		own = "flow"
	}
	return show.New(own, c.out)
}

// args reads the options of a command; the usage line or the error is printed.
func (c *call) args(name, spec, help string, words []string, least, most int) (*mails.Args, bool) {
	short := name[strings.LastIndexByte(name, ' ')+1:]
	a, err := options(short, spec, nil, words, false)
	switch {
	case err != nil:
		fmt.Fprintln(c.err, err)
	case len(a.Rest) < least:
		fmt.Fprintf(c.err, "doveadm %s %s\n", name, help)
	case most >= 0 && len(a.Rest) > most:
		fmt.Fprintf(c.err, "Error: Extraneous arguments found: %s\n", a.Rest[most])
	default:
		return a, true
	}
	return nil, false
}

// now is when the run began.
func (c *call) now() time.Time { return time.Now() }
