// Package doveconf is doveconf(1): it shows the settings of dovecot.conf in the
// form that Dovecot's own command prints, and every error of it at once.
package doveconf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/checks"
	"packetboat/internal/sys/config/dovecot/upgrade"
)

// The version that the output claims: configurations of it are understood.
const version = "2.3.19.1 (packetboat)"

// exitConfig is the exit code for a configuration with errors (FATAL_DEFAULT of
// Dovecot).
const exitConfig = 89

// scope says which settings are printed.
type scope int

const (
	scopeAll     scope = iota // -a: all that are not hidden
	scopeHidden               // -s, and for settings asked for by name: all
	scopeChanged              // -n: those that differ from their default
	scopeSet                  // -N: those that are set
)

// options are those of the command line.
type options struct {
	path     string
	scope    scope
	defaults bool
	hideName bool
	expand   bool
	simple   bool
	secrets  bool
	filter   dovecot.Context
	names    []string
	to       string // 2.3 or 2.4: translate
	module   string // -m: only settings that this program of Dovecot reads
	// filtering says that the settings of a filter are printed: what is set there
	// counts, whatever the default is.
	filtering bool
}

// Run runs doveconf with args, the arguments without the program's name. The
// exit code is 0, or 89 for a configuration or command line with errors.
func Run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "doveconf: %v\n", err)
		return exitConfig
	}
	out := bufio.NewWriter(stdout)
	defer out.Flush()
	if len(o.names) == 0 && !o.simple && o.to == "" {
		fmt.Fprintf(out, "# %s: %s\n", version, o.path)
		out.Flush()
	}
	d, err := load(o)
	if err != nil {
		if d != nil {
			warn(d, stderr)
		}
		report(err, stderr)
		return exitConfig
	}
	warn(d, stderr)
	if unknown := append(d.Unknown, d.Unreadable()...); o.expand && len(unknown) > 0 {
		report(errors.Join(unknown...), stderr)
		return exitConfig
	}
	if o.to != "" {
		return translate(o, d, out, stderr)
	}
	code := show(o, d, out, stderr)
	if !o.defaults && (len(o.names) == 0 || o.simple) {
		for _, text := range checks.Warnings(d) {
			fmt.Fprintf(stderr, "doveconf: Warning: %s\n", text)
		}
	}
	if problems := slices.Concat(checks.Check(d), checks.Users(d)); len(problems) > 0 && code == 0 && !o.defaults && (len(o.names) == 0 || o.simple) {
		out.Flush()
		return whole(problems, stderr)
	}
	return code
}

// whole prints what is wrong with the settings together: the first problem as
// Dovecot does, which stops there, then the others, each with its place.
func whole(problems []error, stderr io.Writer) int {
	for i, e := range problems {
		var ce *base.Error
		if !errors.As(e, &ce) {
			continue
		}
		if i == 0 && !strings.HasPrefix(ce.Text, "Conflict in setting") {
			fmt.Fprintf(stderr, "doveconf: Error: %s\n", ce.Text)
		}
		fmt.Fprintf(stderr, "doveconf: Fatal: %s\n", ce.Postfix)
		if ce.Line > 0 {
			fmt.Fprintf(stderr, "doveconf: Hint: see %s line %d\n", ce.File, ce.Line)
		}
	}
	return exitConfig
}

// translate writes the whole configuration in the syntax of another version,
// secrets included: it is to be used.
func translate(o *options, d *dovecot.Config, out *bufio.Writer, stderr io.Writer) int {
	if o.to == "2.4" {
		text, err := upgrade.Newer(d, base.Read)
		out.WriteString(text)
		if err != nil {
			report(err, stderr)
			return exitConfig
		}
		return 0
	}
	upgrade.Older(d)
	for _, err := range d.Refused {
		fmt.Fprintf(stderr, "doveconf: Warning: %v\n", err)
	}
	p := &printer{options: &options{scope: scopeSet, secrets: true}, out: out}
	p.print(p.items(d.Root(), "", false), "")
	p.filters(d)
	return 0
}

// load reads the configuration, or none for -d.
func load(o *options) (*dovecot.Config, error) {
	if o.defaults {
		return dovecot.Parse("<defaults>", "")
	}
	return dovecot.Load(o.path)
}

func show(o *options, d *dovecot.Config, out *bufio.Writer, stderr io.Writer) int {
	p := &printer{options: o, out: out}
	if o.filter != (dovecot.Context{}) {
		d = d.For(o.filter)
		p.filtered, p.builtin = d.Filtered(), builtinNames()
	}
	root := d.Merged()
	if o.scope == scopeAll || o.scope == scopeHidden || o.simple || len(o.names) > 0 {
		builtin, err := dovecot.BuiltinServices()
		if err != nil {
			report(err, stderr)
			return exitConfig
		}
		root = root.WithServices(builtin)
	}
	switch {
	case o.simple:
		p.simple(root, "", "")
	case len(o.names) > 0:
		for _, name := range o.names {
			p.one(root, name)
		}
	default:
		header(o, d, out)
		items := p.items(root, "", false)
		if o.module != "" {
			items = p.module(items)
		}
		p.print(items, "")
		p.filters(d)
	}
	return 0
}

// builtinNames lists the built-in services ("/service/imap") and their listeners
// ("imap-login/inet_listener/imap").
func builtinNames() map[string]bool {
	names := map[string]bool{}
	list, _ := dovecot.BuiltinServices()
	for _, s := range list {
		names["/service/"+s.Name] = true
		for _, l := range s.Blocks {
			names[s.Name+"/"+l.Kind+"/"+l.Name] = true
		}
	}
	return names
}

// header prints the comment lines after the first.
func header(o *options, d *dovecot.Config, out *bufio.Writer) {
	host, _ := os.Hostname()
	fmt.Fprintf(out, "# OS: %s\n# Hostname: %s\n", system(d.Get("mail_location")), host)
	if o.scope == scopeAll {
		out.WriteString("# NOTE: Send doveconf -n output instead when asking for help.\n")
	}
}

// system names the kernel, the distribution and, where mail_location is a path, the
// file system that it is on.
func system(location string) string {
	read := func(path string) string {
		text, _ := os.ReadFile(path)
		return strings.TrimSpace(string(text))
	}
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686"}[runtime.GOARCH]
	distro := "Debian " + read("/etc/debian_version")
	if distro == "Debian " {
		distro = ""
	}
	return "Linux " + read("/proc/sys/kernel/osrelease") + " " + machine + " " + distro + " " + fileSystem(location)
}

// fileSystem returns the type of the file system that a mail_location is on, "" when
// that depends on the user.
func fileSystem(location string) (kind string) {
	_, path, _ := strings.Cut(location, ":")
	path, _, _ = strings.Cut(path, ":")
	path, _, _ = strings.Cut(path, "%")
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	longest := 0
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 2 && len(f[1]) >= longest && (f[1] == "/" || path == f[1] || strings.HasPrefix(path, f[1]+"/")) {
			longest, kind = len(f[1]), f[2]
		}
	}
	return kind
}

// report prints every error of a configuration in Dovecot's words.
func report(err error, stderr io.Writer) {
	list := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		list = j.Unwrap()
	}
	for _, e := range list {
		text := e.Error()
		var ce *base.Error
		if errors.As(e, &ce) && ce.Postfix != "" {
			text = ce.Postfix
		}
		fmt.Fprintf(stderr, "doveconf: Fatal: %s\n", text)
		if ce != nil && ce.Hint != "" {
			fmt.Fprintf(stderr, "doveconf: Hint: %s\n", ce.Hint)
		}
	}
}

// warn prints the warnings; the first obsolete setting brings a note.
func warn(d *dovecot.Config, stderr io.Writer) {
	noted := false
	for _, w := range d.Warnings {
		kind := "Warning"
		switch {
		case strings.HasPrefix(w.Postfix, "Obsolete setting") && !noted:
			fmt.Fprintln(stderr, "doveconf: Warning: NOTE: You can get a new clean config file with: doveconf -Pn > dovecot-new.conf")
			noted = true
		case strings.HasPrefix(w.Postfix, "Could not"):
			kind = "Error"
		}
		fmt.Fprintf(stderr, "doveconf: %s: %s\n", kind, w.Postfix)
	}
}

// parse reads the command line.
func parse(args []string) (*options, error) {
	o := &options{path: dovecot.DefaultPath}
	if p := os.Getenv("CONFIG_FILE"); p != "" {
		o.path = p
	}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		// As getopt(3) does, options are taken from behind names, too.
		if len(word) < 2 || word[0] != '-' {
			o.names = append(o.names, word)
			continue
		}
		group := word[1:]
		if group == "-" {
			o.names, args = append(o.names, args...), nil
			break
		}
		if to, ok := strings.CutPrefix(group, "-to"); ok {
			if to == "" && len(args) > 0 {
				to, args = args[0], args[1:]
			}
			if o.to = strings.TrimPrefix(to, "="); o.to != "2.3" && o.to != "2.4" {
				return nil, base.Bad("Fatal: --to takes 2.3 or 2.4")
			}
			continue
		}
		for group != "" {
			c := group[0]
			group = group[1:]
			if strings.IndexByte("cfmio", c) < 0 {
				if err := o.flag(c); err != nil {
					return nil, err
				}
				continue
			}
			value := group
			if group = ""; value == "" {
				if len(args) == 0 {
					return nil, fmt.Errorf("option requires an argument -- '%c'", c)
				}
				value, args = args[0], args[1:]
			}
			if err := o.option(c, value); err != nil {
				return nil, err
			}
		}
	}
	if len(o.names) > 0 && o.scope == scopeAll {
		o.scope = scopeHidden
	}
	return o, nil
}

func (o *options) flag(c byte) error {
	switch c {
	case 'a', 'p', 'k', 'O', 'L', 'H':
	case 'e':
		return base.Bad("Fatal: -e is not supported: no program here takes its settings from the environment")
	case 'd':
		o.defaults = true
	case 'h':
		o.hideName = true
	case 'n':
		o.scope = scopeChanged
	case 'N':
		o.scope = scopeSet
	case 's':
		o.scope = scopeHidden
	case 'S':
		o.simple = true
	case 'P':
		o.secrets = true
	case 'x':
		o.expand = true
	default:
		return fmt.Errorf("invalid option -- '%c'", c)
	}
	return nil
}

func (o *options) option(c byte, value string) error {
	switch c {
	case 'c':
		o.path = value
	case 'f':
		return o.addFilter(value)
	case 'm':
		o.module = value
	case 'i', 'o': // an instance's name, a setting for one start: the original takes and forgets them, too
	}
	return nil
}

// addFilter reads -f protocol=imap, lname=host, local=address, remote=address.
func (o *options) addFilter(arg string) error {
	key, value, _ := strings.Cut(arg, "=")
	var err error
	switch key {
	case "service", "protocol":
		o.filter.Protocol = value
	case "lname":
		o.filter.LocalName = value
	case "local":
		o.filter.Local, err = netip.ParseAddr(value)
	case "remote":
		o.filter.Remote, err = netip.ParseAddr(value)
	default:
		return base.Bad("Fatal: Unknown filter argument: %s", arg)
	}
	if err != nil {
		return base.Bad("Fatal: %s filter: gethostbyname(%s) failed: Name or service not known", key, value)
	}
	return nil
}
