package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/sys/config/base"
)

// DefaultDir is where the configuration is when neither -c nor the environment
// variable MAIL_CONFIG says otherwise.
const DefaultDir = "/etc/postfix"

// Setting is one assignment of main.cf, of an -o option of a master.cf service,
// or of a command line.
type Setting struct {
	Name  string
	Value string // unexpanded
	File  string // empty = a command line
	Line  int    // of the name, from 1
}

// Main is the contents of main.cf over the defaults of the table. It does not
// change once made and may be used by many goroutines.
type Main struct {
	dir   string
	path  string
	list  []Setting // of the file, in its order
	index []int32   // into list, the last assignment of each name, by name
	over  []Setting // later ones win; they win over the file
	open  Opener    // of files that lists name; nil = os.Open
}

// Opener opens a file for reading: with other rights than os.Open, for a process
// that has few.
type Opener func(path string) (*os.File, error)

// OpenWith returns the same configuration, which opens the files of lists of
// patterns with open where its own process may not.
func (m *Main) OpenWith(open Opener) *Main {
	c := *m
	c.open = open
	return &c
}

// LoadMain reads dir/main.cf; an empty dir is DefaultDir. The warnings are the
// ones that Postfix logs while it reads the file. The error is an *Error for a
// file that is no main.cf, and otherwise that of opening it.
func LoadMain(dir string) (*Main, []Warning, error) {
	if dir == "" {
		dir = DefaultDir
	}
	path := filepath.Join(dir, "main.cf")
	text, err := base.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &Error{File: path, Text: "no such file",
			Hint: "install the package, or name the directory of main.cf with -c or MAIL_CONFIG", Postfix: "open " + path + ": No such file or directory"}
	}
	if err != nil {
		return nil, nil, err
	}
	return ParseMain(dir, path, text)
}

// ParseMain reads the text of a main.cf; path is its name in messages, dir the
// value of config_directory.
func ParseMain(dir, path, text string) (*Main, []Warning, error) {
	m, warns, errs := parseMain(dir, path, text)
	if len(errs) > 0 {
		return nil, warns, errs[0]
	}
	return m, append(warns, m.overridden()...), nil
}

// SalvageMain reads what it can of a main.cf that has lines which are none: for
// programs that stop a system or look at its configuration, never for one that
// starts it.
func SalvageMain(dir, path, text string) *Main {
	m, _, _ := parseMain(dir, path, text)
	return m
}

// parseMain reads what it can and returns an error for each line that is no
// assignment.
func parseMain(dir, path, text string) (*Main, []Warning, []*Error) {
	m := &Main{dir: dir, path: path}
	r := lineReader{file: path, text: text}
	m.list = make([]Setting, 0, 16+len(text)/64)
	var errs []*Error
	for {
		line, ok := r.next()
		if !ok {
			break
		}
		name, value, problem := SplitNameValue(line)
		if problem == "" {
			m.list = append(m.list, Setting{name, value, path, r.first})
			continue
		}
		errs = append(errs, &Error{File: path, Line: r.first, Col: equalsColumn(line), Text: fmt.Sprintf("%s: \"%s\"", problem, line),
			Hint:    "write \"name = value\"; a line that continues a value starts with white space",
			Postfix: fmt.Sprintf("%s, line %d: %s: \"%s\"", path, r.first, problem, line)})
	}
	m.sort()
	return m, r.warns, errs
}

// equalsColumn returns the column where a line without "=" should have it, or
// without a name the name.
func equalsColumn(line string) int {
	i := 0
	if strings.HasPrefix(line, "=") {
		return 1
	}
	for i < len(line) && line[i] != '=' && !isSpace(line[i]) {
		i++
	}
	for i < len(line) && isSpace(line[i]) {
		i++
	}
	return i + 1
}

// sort builds the index: one entry a name, the last assignment.
func (m *Main) sort() {
	m.index = make([]int32, len(m.list))
	for i := range m.index {
		m.index[i] = int32(i)
	}
	slices.SortFunc(m.index, func(a, b int32) int {
		return cmp.Or(strings.Compare(m.list[a].Name, m.list[b].Name), cmp.Compare(b, a))
	})
	m.index = slices.CompactFunc(m.index, func(a, b int32) bool { return m.list[a].Name == m.list[b].Name })
}

// overridden returns a warning for each assignment that changes a value which
// an earlier line gave.
func (m *Main) overridden() []Warning {
	if len(m.index) == len(m.list) {
		return nil
	}
	var warns []Warning
	old := map[string]string{}
	for _, s := range m.list {
		if v, ok := old[s.Name]; ok && v != s.Value {
			warns = append(warns, overriding(s, v))
		}
		old[s.Name] = s.Value
	}
	return warns
}

func overriding(s Setting, old string) Warning {
	text := fmt.Sprintf("overriding earlier entry: %s=%s", s.Name, old)
	return Warning{File: s.File, Line: s.Line, Text: text, Postfix: fmt.Sprintf("%s, line %d: %s", s.File, s.Line, text)}
}

// Dir returns the configuration directory.
func (m *Main) Dir() string { return m.dir }

// Path returns the path of main.cf.
func (m *Main) Path() string { return m.path }

// Settings returns the assignments of the file in its order, those that later
// lines override included.
func (m *Main) Settings() []Setting { return m.list }

// With returns a Main in which settings win over the file and over each other
// in their order: the -o options of a master.cf service or a command line. Each
// is unexpanded, as there.
func (m *Main) With(settings ...Setting) *Main {
	if len(settings) == 0 {
		return m
	}
	c := *m
	c.over = append(slices.Clip(m.over), settings...)
	return &c
}

// find returns the assignment that counts for name.
func (m *Main) find(name string) (*Setting, bool) {
	for i := len(m.over) - 1; i >= 0; i-- {
		if m.over[i].Name == name {
			return &m.over[i], true
		}
	}
	i, ok := slices.BinarySearchFunc(m.index, name, func(i int32, name string) int {
		return strings.Compare(m.list[i].Name, name)
	})
	if !ok {
		return nil, false
	}
	return &m.list[m.index[i]], true
}

// Raw returns the unexpanded value that main.cf or an override gives name; ok
// is false when it has only its default.
func (m *Main) Raw(name string) (value string, ok bool) {
	s, ok := m.find(name)
	if !ok {
		return "", false
	}
	return s.Value, true
}

// Where returns the place of the assignment that counts for name, "" for a default.
func (m *Main) Where(name string) (file string, line int) {
	if s, ok := m.find(name); ok {
		return s.File, s.Line
	}
	return "", 0
}

// Get returns the value of name with its $names expanded: from the overrides,
// main.cf, or the default. A name that nobody knows is empty, as in Postfix; so
// is a value whose references cannot be understood: Lookup tells of those.
func (m *Main) Get(name string) string {
	value, _ := m.Lookup(name)
	return value
}

// Lookup is Get with the error of a value whose references cannot be understood.
func (m *Main) Lookup(name string) (string, error) {
	value, ok := m.unexpanded(name)
	if !ok || strings.IndexByte(value, '$') < 0 {
		return m.origin(name, value)
	}
	if p, ok := LookupParam(name); ok && p.Type == TypeRaw {
		return value, nil
	}
	value, err := m.Expand(value)
	if err != nil {
		return "", m.paramError(name, err.Error(), "a reference is written $name, ${name} or ${name?text}")
	}
	return m.origin(name, value)
}

// origin gives myorigin its special treatment on Debian: a value that starts
// with / names a file whose first line is the value (Debian Policy 11.6,
// /etc/mailname).
func (m *Main) origin(name, value string) (string, error) {
	if name != "myorigin" || !strings.HasPrefix(value, "/") {
		return value, nil
	}
	text, err := base.Read(value)
	if err != nil {
		return "", m.paramError(name, err.Error(), "put the machine's mail name into that file, or set myorigin to a name")
	}
	line, _, _ := strings.Cut(text, "\n")
	return trimSpace(base.CutNUL(line)), nil
}

// Expand expands the $names of value over this configuration, with the names'
// own values expanded too. Unknown names are empty.
func (m *Main) Expand(value string) (string, error) {
	return ExpandWith(value, func(name string, _ bool) (string, bool) { return m.reference(name) })
}

// reference returns the unexpanded value behind $name.
func (m *Main) reference(name string) (string, bool) {
	if name == "myorigin" {
		if v, _ := m.unexpanded(name); strings.HasPrefix(v, "/") {
			v, err := m.origin(name, v)
			return v, err == nil
		}
	}
	return m.unexpanded(name)
}

// unexpanded returns the value of name or its default.
func (m *Main) unexpanded(name string) (string, bool) {
	if s, ok := m.find(name); ok {
		return s.Value, true
	}
	p, ok := LookupParam(name)
	if !ok {
		return "", false
	}
	if strings.HasPrefix(p.Default, "@") {
		return m.compute(p.Default[1:]), true
	}
	return p.Default, true
}

// Default returns the unexpanded default of name, computed from this machine
// where the table says so.
func (m *Main) Default(name string) (string, bool) {
	p, ok := LookupParam(name)
	if !ok {
		return "", false
	}
	if strings.HasPrefix(p.Default, "@") {
		return m.compute(p.Default[1:]), true
	}
	return p.Default, true
}

// compute returns a default that comes from the machine.
func (m *Main) compute(name string) string {
	switch name {
	case "config_directory":
		return m.dir
	case "myhostname":
		return m.hostname()
	case "mydomain":
		return m.domain()
	case "mynetworks":
		return m.networks()
	case "process_id":
		return strconv.Itoa(os.Getpid())
	case "process_name":
		return filepath.Base(os.Args[0])
	}
	return ""
}

// paramError makes an error that names the parameter and its place.
func (m *Main) paramError(name, text, hint string) *Error {
	file, line := m.Where(name)
	if file == "" && line == 0 {
		file = m.path
	}
	return &Error{File: file, Line: line, Text: "parameter " + name + ": " + text, Hint: hint}
}
