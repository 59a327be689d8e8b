package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/sys/config/base"
)

// Check reads main.cf and master.cf in dir (empty = DefaultDir) and returns
// every problem in them, in the order of the files: lines that are none,
// references that cannot be understood, values of the wrong type, names that
// nobody knows, parameters that are not built here, and restrictions that are
// none. It opens no table. mtad asks it at a start and a reload, postfix(1) and
// mailadm check ask it too; Stop says which of them keep a system from starting.
func Check(dir string) []Problem {
	if dir == "" {
		dir = DefaultDir
	}
	mainPath, masterPath := filepath.Join(dir, "main.cf"), filepath.Join(dir, "master.cf")
	text, err := base.Read(mainPath)
	if err != nil {
		_, _, err = LoadMain(dir)
		return []Problem{problemOf(orElse(err, "cannot be read", mainPath), "")}
	}
	master, err := base.Read(masterPath)
	list := CheckText(dir, text, master)
	if err != nil {
		list = append(list, problemOf(orElse(err, err.Error(), masterPath), ""))
	}
	return list
}

// orElse keeps an error that has a place and gives any other one the path.
func orElse(err error, text, path string) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		text = "cannot be read: " + pe.Err.Error()
	}
	return &Error{File: path, Text: text, Hint: "the mail system must be able to read this file"}
}

// CheckText is Check for texts that are not, or not yet, in dir.
func CheckText(dir, mainText, masterText string) []Problem {
	c := checker{dir: dir, main: newSource(filepath.Join(dir, "main.cf"), mainText), master: newSource(filepath.Join(dir, "master.cf"), masterText)}
	var warns []Warning
	var errs []*Error
	c.conf, warns, errs = parseMain(dir, c.main.path, mainText)
	for _, e := range errs {
		c.list = append(c.list, problemOf(e, ""))
	}
	c.warnings(append(warns, c.conf.overridden()...))
	services, warns, errs2 := parseMaster(c.master.path, masterText, true)
	for _, e := range errs2 {
		c.list = append(c.list, problemOf(e, ""))
	}
	c.warnings(warns)
	c.services = services
	c.classes = c.restrictionClasses()
	c.used = c.usedNames()
	c.checkMain()
	for i := range services {
		c.checkService(&services[i])
	}
	slices.SortStableFunc(c.list, byPlace)
	return c.list
}

// byPlace orders problems: main.cf first, and its lines from the top.
func byPlace(a, b Problem) int {
	if a.File != b.File {
		return strings.Compare(filepath.Base(a.File), filepath.Base(b.File))
	}
	return a.Line - b.Line
}

// checker is one run of Check.
type checker struct {
	dir      string
	main     *source
	master   *source
	conf     *Main
	services []Service
	classes  map[string]bool // restriction classes
	used     map[string]bool // names that a value refers to
	guesses  int
	list     []Problem
}

func (c *checker) warnings(list []Warning) {
	for _, w := range list {
		c.list = append(c.list, Problem{File: w.File, Line: w.Line, Severity: SeverityWarning, Text: w.Text})
	}
}

// checkMain looks at each assignment of main.cf that counts.
func (c *checker) checkMain() {
	for _, i := range c.conf.index {
		c.setting(c.conf, c.main, &c.conf.list[i])
	}
}

// programs are the daemons of Postfix 3.7 that master.cf may name.
const programs = `anvil bounce cleanup discard dnsblog error flush lmtp local nqmgr oqmgr pickup pipe postlogd postscreen proxymap qmgr
qmqpd scache showq smtp smtpd spawn tlsmgr tlsproxy trivial-rewrite verify virtual`

// checkService looks at the columns and the -o options of a service.
func (c *checker) checkService(s *Service) {
	if s.Type == "inet" && s.Private {
		c.list = append(c.list, Problem{File: s.File, Line: s.Line, Name: s.ID(), Severity: SeverityError,
			Text: "inet service " + s.Name + " cannot be private", Hint: "write n in the third column"})
	}
	if name := filepath.Base(s.Command); !slices.Contains(strings.Fields(programs), name) {
		line, col, _ := c.master.find(s.Line, 0, s.Command)
		c.list = append(c.list, Problem{File: s.File, Line: line, Col: col, Name: s.ID(), Severity: SeverityWarning,
			Text: "service " + s.Name + ": no program " + s.Command + " is known: nothing answers there",
			Hint: didYouMean(closest(name, strings.Fields(programs)), "remove the service, or correct the name")})
	}
	m := c.conf.With(s.Options...)
	for i := range s.Options {
		c.setting(m, c.master, &s.Options[i])
	}
}

// setting looks at one assignment; m is the configuration that it belongs to.
func (c *checker) setting(m *Main, src *source, s *Setting) {
	start := src.value(s.Line, s.Name)
	p, known := LookupParam(s.Name)
	// What nothing acts upon cannot keep a system from starting.
	severity := SeverityError
	if known && p.State == StateAccepted || !known && !c.used[s.Name] && !c.classes[s.Name] || c.idle(s.Name) {
		severity = SeverityWarning
	}
	if _, err := m.Lookup(s.Name); err != nil {
		c.reference(src, s, start, err, severity)
		return
	}
	if slices.Contains(restrictionLists[:], s.Name) || c.classes[s.Name] {
		c.restrictions(m, src, s, start)
	}
	if !known {
		c.unknown(src, s)
		return
	}
	err := m.CheckValue(s.Name)
	if bad := BadWord(s.Name, m.Get(s.Name)); err == nil && bad != "" {
		err = m.paramError(s.Name, bad, "mynetworks_style is host, subnet or class; inet_protocols all, ipv4 or ipv6")
	}
	if err != nil {
		e := problemOf(err, s.Name)
		e.File, e.Severity = src.path, severity
		e.Line, e.Col, _ = src.find(s.Line, start, firstWord(s.Value))
		c.list = append(c.list, e)
		return
	}
	if p.State == StateRefused && !m.isDefault(&p) && !c.idle(s.Name) && !harmless(s.Name, m.Get(s.Name)) {
		line, col, _ := src.find(s.Line, 0, s.Name)
		c.list = append(c.list, Problem{File: src.path, Line: line, Col: col, Name: s.Name, Severity: SeverityRefused,
			Text: s.Name + " is not built: the mail system would not do what this line asks for",
			Hint: "remove the line, or start with --force to go on without it"})
	}
}

// harmless tells whether the value of a parameter that is not built only asks
// for what is done anyway.
func harmless(name, value string) bool {
	allowed := ""
	switch name {
	case "mailbox_delivery_lock", "virtual_mailbox_lock": // both are always taken
		allowed = "fcntl dotlock"
	case "smtp_dns_support_level", "lmtp_dns_support_level": // the AD bit only matters to DANE, which is refused by itself
		allowed = "enabled dnssec"
	}
	return !slices.ContainsFunc(Fields(value), func(w string) bool { return !slices.Contains(strings.Fields(allowed), w) }) && allowed != ""
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

// reference names the place of the reference that cannot be understood.
func (c *checker) reference(src *source, s *Setting, start int, err error, severity Severity) {
	p := problemOf(err, s.Name)
	p.File, p.Severity = src.path, severity
	p.Line, p.Col, _ = src.find(s.Line, start, badReference(s.Value))
	c.list = append(c.list, p)
}

// badReference returns the rest of a value from its first reference that cannot
// be understood on its own; a value whose references are sound in themselves
// fails by what they refer to, and then it is the first of all.
func badReference(value string) string {
	first := strings.IndexByte(value, '$')
	for i := first; i >= 0 && i < len(value); i++ {
		if value[i] != '$' {
			continue
		}
		if i+1 < len(value) && value[i+1] == '$' {
			i++
			continue
		}
		expr, _, err := cutReference(value[i+1:], value)
		if err == nil {
			err = References(value[i:len(value)-len(value[i+1+len(expr):])], func(string) {})
		}
		if err != nil {
			return value[i:]
		}
	}
	return value[max(first, 0):]
}

// maxGuesses bounds the names for which known ones are compared letter by letter.
const maxGuesses = 100

// guess asks for a suggestion, as long as there were not too many.
func (c *checker) guess(suggest func() string) string {
	if c.guesses++; c.guesses > maxGuesses {
		return ""
	}
	return suggest()
}

// unknown warns of a name that nothing uses.
func (c *checker) unknown(src *source, s *Setting) {
	if c.used[s.Name] || c.classes[s.Name] {
		return
	}
	suggestion := c.guess(func() string { return Suggest(s.Name) })
	line, col, _ := src.find(s.Line, 0, s.Name)
	c.list = append(c.list, Problem{File: src.path, Line: line, Col: col, Name: s.Name, Severity: SeverityWarning,
		Text: "unknown parameter " + s.Name + ": the line has no effect",
		Hint: didYouMean(suggestion, "remove the line, or correct the name")})
}

// isDefault tells whether a parameter has the value that it has without a line:
// as it is written, or as it is understood.
func (m *Main) isDefault(p *Param) bool {
	raw, ok := m.Raw(p.Name)
	def, _ := m.Default(p.Name)
	if !ok || strings.Join(strings.Fields(raw), " ") == strings.Join(strings.Fields(def), " ") {
		return true
	}
	have, err := m.Lookup(p.Name)
	if err != nil {
		return false
	}
	want := def
	if p.Type != TypeRaw {
		if want, err = m.Expand(def); err != nil {
			return false
		}
	}
	switch p.Type {
	case TypeBool:
		return strings.EqualFold(have, want)
	case TypeTime:
		a, ok1 := parseTime(have, timeUnit(want))
		b, ok2 := parseTime(want, timeUnit(want))
		return ok1 && ok2 && a == b
	}
	return slices.Equal(Fields(have), Fields(want))
}

// idle tells whether a parameter belongs to a program that master.cf does not
// run, or to something that another parameter switches on and does not: what it
// says concerns nobody then.
func (c *checker) idle(name string) bool {
	for _, program := range [...]string{"postscreen", "tlsproxy", "qmqpd", "dnsblog"} {
		if strings.HasPrefix(name, program+"_") {
			return !slices.ContainsFunc(c.services, func(s Service) bool { return filepath.Base(s.Command) == program })
		}
	}
	switch {
	case strings.HasPrefix(name, "milter_"):
		return !c.anySet("smtpd_milters", "non_smtpd_milters", "smtpd_milter_maps")
	case strings.HasPrefix(name, "smtpd_proxy_") && name != "smtpd_proxy_filter":
		return !c.anySet("smtpd_proxy_filter")
	case strings.HasPrefix(name, "masquerade_") && name != "masquerade_domains":
		return !c.anySet("masquerade_domains")
	}
	return false
}

// anySet tells whether main.cf or a service gives one of the names a value.
func (c *checker) anySet(names ...string) bool {
	for _, n := range names {
		if c.conf.Get(n) != "" {
			return true
		}
		for i := range c.services {
			if v, ok := c.conf.With(c.services[i].Options...).Raw(n); ok && v != "" {
				return true
			}
		}
	}
	return false
}

// restrictionClasses returns the names of smtpd_restriction_classes, those that
// services have too.
func (c *checker) restrictionClasses() map[string]bool {
	all := map[string]bool{}
	add := func(m *Main) {
		for _, n := range Fields(m.Get("smtpd_restriction_classes")) {
			all[n] = true
		}
	}
	add(c.conf)
	for i := range c.services {
		add(c.conf.With(c.services[i].Options...))
	}
	return all
}

// usedNames returns the names that some value refers to: $name, the parameters
// of tables that are defined by parameters, and defaults that ask for a name of
// an earlier version.
func (c *checker) usedNames() map[string]bool {
	used := map[string]bool{}
	add := func(m *Main, value string) {
		References(value, func(name string) { used[name] = true })
		if v, err := m.Expand(value); err == nil {
			tableNames(v, used, 0)
		}
	}
	for _, p := range Params() {
		References(p.Default, func(name string) { used[name] = true })
	}
	for _, s := range c.conf.list {
		add(c.conf, s.Value)
	}
	for i := range c.services {
		m := c.conf.With(c.services[i].Options...)
		for _, s := range c.services[i].Options {
			add(m, s.Value)
		}
	}
	return used
}

// maxTableNesting bounds tables inside tables in braces.
const maxTableNesting = 20

// tableNames marks the parameters of tables such as ldap:name in a list.
func tableNames(list string, used map[string]bool, depth int) {
	if depth > maxTableNesting || strings.IndexByte(list, ':') < 0 {
		return
	}
	for _, item := range Fields(list) {
		kind, name, ok := strings.Cut(strings.TrimLeft(item, "!{"), ":")
		for ok && kind == "proxy" {
			kind, name, ok = strings.Cut(name, ":")
		}
		switch {
		case !ok:
		case strings.Contains(name, "{"):
			tableNames(strings.Trim(name, "{}"), used, depth+1)
		default:
			for _, suffix := range TableParams(kind) {
				used[strings.TrimRight(name, "}")+"_"+suffix] = true
			}
		}
		if item[0] == '{' {
			tableNames(strings.Trim(item, "{}"), used, depth+1)
		}
	}
}

// restrictions looks at each word of a list of restrictions. One that nobody
// knows is an error: mail that it was to refuse would come in.
func (c *checker) restrictions(m *Main, src *source, s *Setting, start int) {
	words := Fields(m.Get(s.Name))
	tell := func(word, text, hint string) {
		p := Problem{File: src.path, Line: s.Line, Name: s.Name, Severity: SeverityError, Text: text, Hint: hint}
		p.Line, p.Col, start = src.find(s.Line, start, word)
		c.list = append(c.list, p)
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		known, takes := isRestriction(w)
		switch {
		case takes && i+1 == len(words):
			tell(w, "restriction "+w+" in "+s.Name+": nothing follows it", "write what it asks for behind it")
		case takes:
			i++
		case known, c.classes[w], strings.Contains(w, ":"), w[0] == '{':
		default:
			tell(w, fmt.Sprintf("unknown restriction %q in %s", w, s.Name), didYouMean(c.guess(func() string {
				return suggestRestriction(w, c.classes)
			}), "correct or remove it"))
		}
	}
}
