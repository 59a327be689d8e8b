package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/config/base"
)

// The number of fixed columns of master.cf: service, type, private,
// unprivileged, chroot, wakeup, process limit, command.
const masterColumns = 8

// Service is one line of master.cf: a program and the socket it serves.
type Service struct {
	Name string // as written: smtp, 127.0.0.1:10025, [::1]:25, pickup
	Type string // inet unix unix-dgram fifo pass
	// Columns are the eight columns as they stand, "-" where the default is asked for.
	Columns [masterColumns]string
	Private bool // the socket is in private/, not public/
	Chroot  bool // asked for; this system sandboxes by other means and accepts it
	Unpriv  bool // runs as mail_owner
	// Wakeup is the time between wake-ups, 0 = none; WakeupIfUsed: only once
	// the service has been used.
	Wakeup       time.Duration
	WakeupIfUsed bool
	MaxProc      int       // process limit; 0 = none, -1 = default_process_limit
	Command      string    // name of the daemon program
	Args         []string  // what follows, options as "-o", "name=value", { } taken off
	Options      []Setting // the -o options of Args in their order
	Verbose      int       // the number of -v options
	File         string
	Line         int
}

// ID returns "name/type", which names a service (postconf(1)).
func (s *Service) ID() string { return s.Name + "/" + s.Type }

// HostPort splits the name of an inet service: "127.0.0.1:10025", "[::1]:25",
// "host:smtp", or only a port. An empty host stands for inet_interfaces.
func (s *Service) HostPort() (host, port string) {
	if rest, ok := strings.CutPrefix(s.Name, "["); ok {
		if host, port, ok = strings.Cut(rest, "]:"); ok {
			return host, port
		}
	}
	if i := strings.LastIndexByte(s.Name, ':'); i >= 0 {
		return s.Name[:i], s.Name[i+1:]
	}
	return "", s.Name
}

// LoadMaster reads dir/master.cf; an empty dir is DefaultDir. It returns every
// service in the order of the file, repeated ones too (the last one counts, and
// a warning says so). The error is an *Error for a line that is no service.
func LoadMaster(dir string) ([]Service, []Warning, error) {
	if dir == "" {
		dir = DefaultDir
	}
	path := filepath.Join(dir, "master.cf")
	text, err := base.Read(path)
	if err != nil {
		return nil, nil, err
	}
	return ParseMaster(path, text)
}

// ParseMaster reads the text of a master.cf; path is its name in messages.
func ParseMaster(path, text string) ([]Service, []Warning, error) {
	list, warns, errs := parseMaster(path, text, false)
	if len(errs) > 0 {
		return nil, warns, errs[0]
	}
	return list, warns, nil
}

// parseMaster reads the services; all tells whether to go on after an error.
func parseMaster(path, text string, all bool) (list []Service, warns []Warning, errs []error) {
	r := lineReader{file: path, text: text}
	seen := map[string]bool{}
	for {
		line, ok := r.next()
		if !ok {
			return list, r.warns, errs
		}
		s, err := parseService(path, r.first, line, &r.warns)
		if err != nil {
			if errs = append(errs, err); !all {
				return list, r.warns, errs
			}
			continue
		}
		if id := s.ID(); seen[id] {
			text := fmt.Sprintf("duplicate master.cf entry for service %q -- using the last entry", s.Name)
			r.warns = append(r.warns, Warning{File: path, Line: r.first, Text: text})
		} else {
			seen[id] = true
		}
		list = append(list, *s)
	}
}

func masterSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// MasterFields splits a line of master.cf at white space outside { }.
func MasterFields(line string) []string {
	var list []string
	for {
		item, rest := cutAt(line, masterSpace)
		if item == "" {
			return list
		}
		list = append(list, item)
		line = rest
	}
}

func parseService(path string, line int, text string, warns *[]Warning) (*Service, error) {
	f := MasterFields(text)
	if len(f) < masterColumns {
		return nil, &Error{File: path, Line: line, Text: fmt.Sprintf("bad field count: %d of %d columns", len(f), masterColumns),
			Hint:    "write: service type private unpriv chroot wakeup maxproc command [arguments]",
			Postfix: fmt.Sprintf("file %s: line %d: bad field count", path, line)}
	}
	s := &Service{Name: f[0], Type: f[1], Command: f[7], File: path, Line: line}
	copy(s.Columns[:], f)
	if err := s.checkColumns(text); err != nil {
		return nil, err
	}
	s.readColumns()
	s.Args = append([]string(nil), f[masterColumns:]...)
	s.normalizeArgs(warns)
	s.readOptions()
	return s, nil
}

// checkColumns refuses what postconf(1) refuses.
func (s *Service) checkColumns(text string) error {
	bad := func(name, value, hint string) error {
		what := fmt.Sprintf("invalid %s field %q in \"%s\"", name, value, text)
		return &Error{File: s.File, Line: s.Line, Text: what, Hint: hint, Postfix: fmt.Sprintf("invalid %s field \"%s\" in \"%s\"", name, value, text)}
	}
	switch s.Type {
	case "inet", "unix", "unix-dgram", "fifo", "pass":
	default:
		return bad("type", s.Type, "the types are inet, unix, unix-dgram, fifo and pass")
	}
	for i, name := range [...]string{"private", "unprivileged", "chroot"} {
		if v := s.Columns[2+i]; v != "y" && v != "n" && v != "-" {
			return bad(name, v, "write y, n, or - for the default")
		}
	}
	if v := strings.TrimSuffix(s.Columns[5], "?"); v != "-" && v != "" && !base.IsDigits(v) {
		return bad("wakeup", s.Columns[5], "write seconds, or - for none")
	}
	if v := s.Columns[6]; v != "-" && !base.IsDigits(v) {
		return bad("process_limit", v, "write a number, 0 for no limit, or - for default_process_limit")
	}
	return nil
}

// readColumns turns the checked columns into values, with master(5)'s defaults.
func (s *Service) readColumns() {
	s.Private = s.Columns[2] != "n"
	s.Unpriv = s.Columns[3] != "n"
	s.Chroot = s.Columns[4] == "y"
	wakeup, ifUsed := strings.CutSuffix(s.Columns[5], "?")
	seconds, _ := strconv.ParseInt(wakeup, 10, 32)
	s.Wakeup, s.WakeupIfUsed = time.Duration(seconds)*time.Second, ifUsed
	s.MaxProc = -1
	if n, err := strconv.ParseInt(s.Columns[6], 10, 32); err == nil {
		s.MaxProc = int(n)
	}
}

// normalizeArgs brings the arguments into one form: "-vo x=y" becomes "-v",
// "-o", "x=y"; { } around an argument are taken off, and "{ x = y }" after -o
// becomes "x=y".
func (s *Service) normalizeArgs(warns *[]Warning) {
	var out []string
	args := s.Args
	for len(args) > 0 && len(args[0]) > 0 && args[0][0] == '-' && args[0] != "--" {
		arg := args[0]
		args = args[1:]
		if o := strings.IndexByte(arg[1:], 'o'); o > 0 {
			out = append(out, arg[:o+1])
			arg = "-" + arg[o+1:]
		}
		if !strings.HasPrefix(arg, "-o") {
			out = append(out, arg)
			continue
		}
		value := arg[2:]
		if value == "" && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		out = append(out, "-o")
		if value != "" {
			out = append(out, s.optionValue(value, warns))
		}
	}
	for _, arg := range args {
		out = append(out, s.unbrace(arg, warns))
	}
	s.Args = out
}

// optionValue returns name=value of the text after -o.
func (s *Service) optionValue(value string, warns *[]Warning) string {
	if value[0] != '{' {
		return value
	}
	value = s.unbrace(value, warns)
	name, val, problem := SplitNameValue(value)
	if problem != "" {
		s.warn(warns, fmt.Sprintf("%s: \"%s\"", problem, value))
		return value
	}
	return name + "=" + val
}

// unbrace takes { } and the white space inside them off an argument.
func (s *Service) unbrace(arg string, warns *[]Warning) string {
	if arg == "" || arg[0] != '{' {
		return arg
	}
	n := base.Balance(arg)
	if n < 0 {
		s.warn(warns, fmt.Sprintf("missing '}' in \"%s\"", arg))
		return trimSpace(arg[1:])
	}
	if n < len(arg) {
		s.warn(warns, fmt.Sprintf("syntax error after '}' in \"%s\"", arg))
	}
	return trimSpace(arg[1 : n-1])
}

func (s *Service) warn(warns *[]Warning, text string) {
	*warns = append(*warns, Warning{File: s.File, Line: s.Line, Text: text, Postfix: "master.cf: " + text})
}

// readOptions collects the -o and -v options among the arguments.
func (s *Service) readOptions() {
	for i := 0; i < len(s.Args); i++ {
		arg := s.Args[i]
		if arg == "" || arg[0] != '-' || arg == "--" {
			return
		}
		if arg == "-" { // Postfix's postconf takes it for an option that has a value
			i++
			continue
		}
		if arg != "-o" {
			s.Verbose += strings.Count(arg, "v")
			continue
		}
		if i++; i < len(s.Args) {
			if name, value, problem := SplitNameValue(s.Args[i]); problem == "" {
				s.Options = append(s.Options, Setting{name, value, s.File, s.Line})
			}
		}
	}
}
