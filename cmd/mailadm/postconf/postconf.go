// Package postconf is postconf(1): it shows and changes main.cf and master.cf,
// byte for byte as Postfix's own does, warnings included.
package postconf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"packetboat/internal/sys/config"
)

// mode is the set of options given.
type mode uint

const (
	saslServer mode = 1 << iota // -a
	saslClient                  // -A
	expandDSN                   // -b
	_                           // -C, which only chooses
	defaults                    // -d
	edit                        // -e
	fold                        // -f
	fields                      // -F
	hideName                    // -h
	hideValue                   // -H
	locks                       // -l
	showMaps                    // -m
	entries                     // -M
	nonDefault                  // -n
	override                    // -o
	mainParams                  // -p
	params                      // -P
	dumpDSN                     // -t
	tlsInfo                     // -T
	evaluate                    // -x
	exclude                     // -X
	comment                     // -#
	asJSON                      // -j, which Postfix's does not have

	major   = saslServer | saslClient | expandDSN | locks | showMaps | dumpDSN | mainParams | entries | fields | params | tlsInfo
	change  = edit | comment | exclude
	showing = fold | hideName | hideValue | evaluate | override | asJSON
)

// letters are the option letters of the modes, in the order of their bits.
const letters = "aAbCdefFhHlmMnopPtTxX#j"

// tool is one run of postconf.
type tool struct {
	out     *bufio.Writer
	err     io.Writer
	name    string // of the program, in messages
	mode    mode
	dir     string
	explain string // -T
	classes paramClass
	over    []string // -o
	values  *values
	table   map[string]*param
	rows    []*row // of master.cf
	// restrictions are the names of smtpd_restriction_classes in main.cf.
	restrictions map[string]bool
	visited      map[string]bool // table definitions that were checked
}

// fatal is an error that ends the program; its text is Postfix's.
type fatal struct{ text string }

func (e fatal) Error() string { return e.text }

// errSilent ends the program with exit code 1 after a warning has said why.
var errSilent = errors.New("")

func fatalf(format string, args ...any) error { return fatal{fmt.Sprintf(format, args...)} }

// Run runs postconf with args, the arguments without the program's name, and
// returns the exit code: 0, or 1 after a fatal error.
func Run(args []string, stdout, stderr io.Writer) int {
	t := &tool{out: bufio.NewWriter(stdout), err: stderr, name: "postconf", dir: config.DefaultDir, classes: classAll}
	err := t.run(args)
	t.out.Flush()
	if err == nil {
		return 0
	}
	if errors.Is(err, errSilent) {
		return 1
	}
	var ce *config.Error
	if errors.As(err, &ce) && ce.Postfix != "" {
		err = fatal{ce.Postfix}
	}
	fmt.Fprintf(stderr, "%s: fatal: %s\n", t.name, printable(err.Error()))
	return 1
}

func (t *tool) warn(format string, args ...any) {
	t.out.Flush()
	fmt.Fprintf(t.err, "%s: warning: %s\n", t.name, printable(fmt.Sprintf(format, args...)))
}

// printable puts question marks in the place of bytes that are not ASCII letters
// or signs, as messages of Postfix's programs have it.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

func (t *tool) run(args []string) error {
	custom := false
	if d := os.Getenv("MAIL_CONFIG"); d != "" {
		t.dir, custom = d, true
	}
	rest, err := t.options(args, &custom)
	if err != nil {
		return err
	}
	t.values = newValues(t.dir, custom)
	if t.mode&major == 0 {
		t.mode |= mainParams
	}
	if t.mode&(mainParams|entries|fields|params) != 0 && len(rest) > 0 && strings.Contains(rest[0], "=") {
		t.mode |= edit
	}
	if err := t.checkOptions(); err != nil {
		return err
	}
	return t.act(rest)
}

// act does what the options ask for.
func (t *tool) act(names []string) error {
	switch {
	case t.mode&edit != 0 && len(names) == 0:
		return fatalf("-e requires name=value argument")
	case t.mode&showMaps != 0:
		return t.printLines(mapTypes)
	case t.mode&locks != 0:
		return t.printLines("flock\nfcntl\ndotlock")
	case t.mode&saslServer != 0:
		return t.printLines("dovecot")
	case t.mode&saslClient != 0:
		return t.printLines("cyrus") // the name of the one that is built in
	case t.mode&tlsInfo != 0:
		return t.showTLS()
	case t.mode&(expandDSN|dumpDSN) != 0:
		return t.showTemplates(names)
	case t.mode&change != 0:
		if len(names) == 0 {
			return fatalf("missing service argument")
		}
		if t.mode&(entries|fields|params) != 0 {
			return t.editMaster(names)
		}
		return t.editMain(names)
	case t.mode&(entries|fields|params) != 0:
		return t.showMaster(names)
	}
	return t.showMain(names)
}

// mapTypes are the table types that look-ups know.
const mapTypes = `btree
cdb
cidr
environ
fail
hash
inline
internal
ldap
lmdb
memcache
mysql
nis
pcre
pgsql
pipemap
proxy
randmap
regexp
socketmap
sqlite
static
tcp
texthash
unionmap
unix`

func (t *tool) printLines(text string) error {
	fmt.Fprintln(t.out, text)
	return nil
}

func (t *tool) showTLS() error {
	switch t.explain {
	case "compile-version", "run-version":
		return t.printLines("Go crypto/tls")
	case "public-key-algorithms":
		return t.printLines("ecdsa\ned25519\nrsa")
	}
	t.warn("unknown 'postconf -T' mode: %s", t.explain)
	return errSilent
}

// options reads the options as getopt(3) does, up to the first argument.
func (t *tool) options(args []string, custom *bool) ([]string, error) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		group := args[0][1:]
		args = args[1:]
		if group == "-" {
			return args, nil
		}
		for group != "" {
			c := group[0]
			group = group[1:]
			if strings.IndexByte("bcCoTt", c) < 0 || c == 'b' || c == 't' {
				if err := t.flag(c); err != nil {
					return nil, err
				}
				continue
			}
			value := group
			if group = ""; value == "" {
				if len(args) == 0 {
					fmt.Fprintf(t.err, "%s: option requires an argument -- '%c'\n", t.name, c)
					return nil, usage(t.name)
				}
				value, args = args[0], args[1:]
			}
			if err := t.option(c, value, custom); err != nil {
				return nil, err
			}
		}
	}
	return args, nil
}

// flag sets an option without a value.
func (t *tool) flag(c byte) error {
	i := strings.IndexByte(letters, c)
	switch {
	case c == 'v': // says more, which only debuggers of postconf want
	case c == 'E':
		return usage(t.name)
	case i < 0:
		fmt.Fprintf(t.err, "%s: invalid option -- '%c'\n", t.name, c)
		return usage(t.name)
	default:
		t.mode |= 1 << i
	}
	return nil
}

// option sets an option with a value.
func (t *tool) option(c byte, value string, custom *bool) error {
	switch c {
	case 'c':
		t.dir, *custom = value, true
	case 'C':
		return t.setClasses(value) // -C alone asks for nothing
	case 'o':
		t.mode |= override
		t.over = append(t.over, value)
	case 'T':
		if t.mode&tlsInfo != 0 {
			return fatalf("At most one -T <mode> option may be specified")
		}
		t.mode |= tlsInfo
		t.explain = value
	}
	return nil
}

func (t *tool) setClasses(list string) error {
	t.classes = 0
	for _, name := range config.Fields(list) {
		switch strings.ToLower(name) {
		case "builtin":
			t.classes |= classBuiltin
		case "service":
			t.classes |= classService
		case "user":
			t.classes |= classUser
		case "all":
			t.classes |= classAll
		default:
			return fatalf("unknown -C option value \"%s\" in \"%s\"", name, list)
		}
	}
	return nil
}

// exclusive are groups of options of which one may be given.
var exclusive = [...]mode{
	major,
	defaults | edit | nonDefault | comment | exclude,
	fold | edit | comment | exclude,
	evaluate | edit | comment | exclude,
	override | defaults | edit | comment | exclude,
	hideName | edit | comment | exclude | hideValue,
	asJSON | fold | edit | comment | exclude,
	asJSON | hideName | hideValue,
	asJSON | fields,
	asJSON | params,
}

// compatible names, for an option, the only others that may go with it.
var compatible = [...][2]mode{
	{saslServer, 0}, {saslClient, 0}, {expandDSN, 0}, {locks, 0}, {showMaps, 0}, {tlsInfo, 0}, {dumpDSN, 0},
	{mainParams, change | showing | defaults | nonDefault},
	{entries, change | fold | override | evaluate | asJSON},
	{fields, edit | showing},
	{params, edit | exclude | showing},
}

// checkOptions refuses options that contradict each other.
func (t *tool) checkOptions() error {
	for _, group := range exclusive {
		if both := t.mode & group; both&(both-1) != 0 {
			return fatalf("specify one of %s", both)
		}
	}
	for _, c := range compatible {
		if excess := t.mode &^ (c[0] | c[1]); t.mode&c[0] != 0 && excess != 0 {
			return fatalf("with option %s, do not specify %s", c[0], excess)
		}
	}
	return nil
}

// String names the options.
func (m mode) String() string {
	var list []string
	for i := range len(letters) {
		if m&(1<<i) != 0 {
			list = append(list, "-"+letters[i:i+1])
		}
	}
	return strings.Join(list, " ")
}

func usage(name string) error {
	return fatalf("usage: %s [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] [-c config_dir]"+
		" [-c param_class] [-d (parameter defaults)] [-e (edit configuration)] [-f (fold lines)] [-F (master.cf fields)]"+
		" [-h (no names)] [-H (no values)] [-l (lock types)] [-m (map types)] [-M (master.cf)] [-n (non-default parameters)]"+
		" [-o name=value (override parameter value)] [-p (main.cf, default)] [-P (master.cf parameters)] [-t (bounce templates)]"+
		" [-T compile-version|run-version|public-key-algorithms] [-v (verbose)] [-x (expand parameter values)] [-X (exclude)]"+
		" [-# (comment-out)] [name...]", name)
}
