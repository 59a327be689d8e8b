// Package check is `mailadm check`: it reads the whole configuration of a
// machine - main.cf, master.cf, every table, the aliases, the certificates,
// dovecot.conf - and prints each problem with its place, what it means, and what
// to write instead. It looks at ports, users and folders too, and with --dns at
// what name servers say of the machine's own names.
//
// It changes nothing and binds nothing. What it says of access lists, aliases
// and addresses comes from the rooms that will do the work.
package check

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"packetboat/cmd/internal/wiring"
	"packetboat/cmd/mailadm/where"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// Options say what is looked at.
type Options struct {
	Dir     string   // configuration directory; empty = /etc/postfix
	Dovecot string   // dovecot.conf; empty = /etc/dovecot/dovecot.conf if it exists; "none" = not at all
	DNS     bool     // ask name servers
	Servers []string // which, host:port; empty = resolv.conf
	Now     time.Time
	Proc    string // the proc(5) file system; empty = /proc
}

// The exit codes of Run.
const (
	exitClean    = 0
	exitWarnings = 1
	exitErrors   = 2
	exitUsage    = 64 // EX_USAGE of sysexits.h
)

const usage = "usage: mailadm check [-c DIR] [--dovecot FILE|none] [--dns] [--dns-server HOST:PORT] [--json]\n"

// Run is the command; the result is its exit code.
func Run(args []string, stdout, stderr io.Writer) int {
	o := Options{Now: time.Now()}
	fs := pflag.NewFlagSet("check", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVarP(&o.Dir, "config", "c", os.Getenv("MAIL_CONFIG"), "configuration directory")
	fs.StringVar(&o.Dovecot, "dovecot", "", "dovecot.conf")
	fs.BoolVar(&o.DNS, "dns", false, "ask name servers about the machine's own names")
	fs.StringSliceVar(&o.Servers, "dns-server", nil, "host:port of a name server")
	asJSON := fs.Bool("json", false, "print JSON")
	err := fs.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return exitClean
	}
	if err != nil || fs.NArg() > 0 {
		if err == nil {
			err = fmt.Errorf("%q is not expected", fs.Arg(0))
		}
		fmt.Fprintf(stderr, "error: %v\n%s", err, usage)
		return exitUsage
	}
	list := Check(o)
	if *asJSON {
		err = writeJSON(stdout, list)
	} else {
		err = write(stdout, list)
	}
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitErrors
	}
	return exitCode(list)
}

// exitCode is 0 without a problem, 1 with warnings alone, else 2.
func exitCode(list []config.Problem) int {
	code := exitClean
	for _, p := range list {
		if p.Severity != config.SeverityWarning {
			return exitErrors
		}
		code = exitWarnings
	}
	return code
}

// write prints each problem in one or two lines: FILE:LINE:COLUMN: severity:
// text, and what to do.
func write(w io.Writer, list []config.Problem) error {
	var b strings.Builder
	for _, p := range list {
		at := p
		at.Text = ""
		fmt.Fprintf(&b, "%s%s: %s\n", where.Printable(at.String()), p.Severity, where.Printable(p.Text))
		if p.Hint != "" {
			fmt.Fprintf(&b, "\thint: %s\n", where.Printable(p.Hint))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeJSON(w io.Writer, list []config.Problem) error {
	if list == nil {
		list = []config.Problem{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(list)
}

// checker is one run of Check.
type checker struct {
	o        Options
	main     *config.Main
	services []config.Service
	kit      *wiring.Kit
	seen     map[config.Problem]bool
	list     []config.Problem
}

// Check returns every problem, by file and line.
func Check(o Options) []config.Problem {
	if o.Dir == "" {
		o.Dir = config.DefaultDir
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	c := &checker{o: o, seen: map[config.Problem]bool{}}
	for _, p := range config.Check(o.Dir) {
		c.add(p)
	}
	if c.load() {
		for _, look := range []func(){c.tables, c.router, c.certificates, c.ports, c.accounts, c.folders, c.domains,
			c.relaying, c.aliases, c.virtual} {
			look()
		}
		if o.DNS {
			c.names()
		}
	}
	c.dovecot()
	slices.SortStableFunc(c.list, byPlace)
	return c.list
}

// byPlace orders problems by the kind of file, the file and the line.
func byPlace(a, b config.Problem) int {
	if r := rank(a.File) - rank(b.File); r != 0 {
		return r
	}
	if a.File != b.File {
		return strings.Compare(a.File, b.File)
	}
	return a.Line - b.Line
}

// rank puts main.cf and master.cf before all other files.
func rank(file string) int {
	switch filepath.Base(file) {
	case "main.cf":
		return 0
	case "master.cf":
		return 1
	}
	return 2
}

// load reads what all checks need; false: there is nothing to look at, which
// config.Check has told.
func (c *checker) load() bool {
	var err error
	if c.main, _, err = config.LoadMain(c.o.Dir); err != nil {
		return false
	}
	c.services, _, _ = config.LoadMaster(c.o.Dir) // what is wrong there was told, too
	c.kit = &wiring.Kit{Main: c.main, Services: c.services, Logs: maillog.To(io.Discard, maillog.Options{}),
		Missing: func(error) {}} // told by tables
	return true
}

// add takes a problem, once.
func (c *checker) add(p config.Problem) {
	// What keeps one service from working need not be told as a nuisance of another.
	worse, milder := p, p
	worse.Severity, worse.Text = config.SeverityError, strings.TrimSuffix(p.Text, inTheClear)
	milder.Severity, milder.Text = config.SeverityWarning, p.Text+inTheClear
	if worse == p && c.seen[milder] {
		c.list = slices.DeleteFunc(c.list, func(x config.Problem) bool { return x == milder })
	}
	if !c.seen[p] && (worse == p || !c.seen[worse]) {
		c.seen[p] = true
		c.list = append(c.list, p)
	}
}

// at adds a problem of a parameter of m.
func (c *checker) at(m *config.Main, name string, s config.Severity, hint, format string, args ...any) {
	c.place(where.Of(m, name), s, hint, format, args...)
}

// place adds a problem with a place; one of a default has main.cf as its file.
func (c *checker) place(p where.Place, s config.Severity, hint, format string, args ...any) {
	if p.File == "" {
		p.File, p.Line = c.main.Path(), 0
	}
	c.add(config.Problem{File: p.File, Line: p.Line, Name: p.Parameter, Severity: s, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// warn adds a warning about a file that is no configuration.
func (c *checker) warn(file, hint, format string, args ...any) {
	c.add(config.Problem{File: file, Severity: config.SeverityWarning, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// mains returns main.cf alone and with each service's own options.
func (c *checker) mains() []*config.Main {
	out := []*config.Main{c.main}
	for _, s := range c.services {
		if len(s.Options) > 0 {
			out = append(out, c.main.With(s.Options...))
		}
	}
	return out
}

// smtpds returns the smtpd services, each with its main.cf.
func (c *checker) smtpds(fn func(svc *config.Service, m *config.Main)) {
	for i := range c.services {
		if s := &c.services[i]; s.Command == "smtpd" && (s.Type == "inet" || s.Type == "pass") {
			fn(s, c.main.With(s.Options...))
		}
	}
}

// router opens what decides about addresses.
func (c *checker) router() {
	var err error
	if c.kit.Router, err = c.kit.NewRouter(); err == nil {
		return
	}
	c.kit.Router = nil
	for _, err := range config.Flatten(err) {
		c.routing(err)
	}
}

// routing tells why mail cannot be routed, unless that was told with its line: a
// value that cannot be read, a table that cannot be opened.
func (c *checker) routing(err error) {
	const hint = "mail cannot be routed before this is corrected"
	var ce *config.Error
	if errors.As(err, &ce) {
		told := func(p config.Problem) bool {
			return p.File == ce.File && p.Line == ce.Line && p.Severity == config.SeverityError
		}
		if !slices.ContainsFunc(c.list, told) {
			c.add(config.Problem{File: ce.File, Line: ce.Line, Severity: config.SeverityError, Text: ce.Text, Hint: cmp.Or(ce.Hint, hint)})
		}
		return
	}
	name, _, _ := strings.Cut(err.Error(), ":")
	if _, ok := config.LookupParam(name); !ok {
		name = ""
	}
	if !slices.ContainsFunc(c.list, func(p config.Problem) bool { return p.Name == name }) {
		c.at(c.main, name, config.SeverityError, hint, "%v", err)
	}
}
