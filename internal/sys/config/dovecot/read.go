package dovecot

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/sys/config/base"
)

// Limits of dovecot.conf files, all together.
const (
	maxIncludes    = 1000    // files read
	maxIncludeDeep = 50      // files that include files
	maxBlockDeep   = 20      // blocks in blocks
	maxLineErrors  = 50      // errors reported before the reader gives up
	maxDovecotSize = 1 << 20 // bytes of one continued line
)

// frame is an open section.
type frame struct {
	block  *Block
	filter Filter
	outer  *Block // the filter's or root's block, where $names are looked up
	path   string // of the block in the table: "", "service", "service/unix_listener"
	kind   string
	line   int
	file   string
}

// reader reads one dovecot.conf and what it includes.
type reader struct {
	d      *Config
	stack  []frame
	files  []string // open files, the innermost last
	file   string
	line   int
	count  int // files read
	errs   []error
	legacy legacyState
}

// errStop ends the reading after too many errors.
var errStop = errors.New("too many errors")

// Parse reads the text of a dovecot.conf, whose name in messages and for
// relative includes is path.
func Parse(path, text string) (*Config, error) {
	if line := newerSyntax(text); line > 0 {
		what := "Unknown setting: dovecot_config_version"
		return nil, &base.Error{File: path, Line: line, Text: "this is the syntax of Dovecot 2.4, which is not read yet",
			Hint:    "keep the configuration in the syntax of Dovecot 2.3",
			Postfix: fmt.Sprintf("Error in configuration file %s line %d: %s", path, line, what)}
	}
	r := newReader(path)
	if err := r.read(path, text); err != nil && !errors.Is(err, errStop) {
		r.errs = append(r.errs, err)
	}
	if open := r.top(); len(r.stack) > 1 {
		what := fmt.Sprintf("Missing '}' (section started at %s:%d)", open.file, open.line)
		r.errs = append(r.errs, &base.Error{File: open.file, Line: open.line, Text: "missing '}' of the section that starts here",
			Hint: "close every section with a line }", Postfix: fmt.Sprintf("Error in configuration file %s: %s", path, what)})
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return r.d, nil
}

func newReader(path string) *reader {
	root := &Block{File: path}
	r := &reader{d: &Config{Path: path, root: root}}
	r.stack = []frame{{block: root, outer: root, file: path}}
	return r
}

func (r *reader) top() *frame { return &r.stack[len(r.stack)-1] }

// read takes in the text of one file.
func (r *reader) read(path, text string) error {
	outerFile, outerLine := r.file, r.line
	r.file, r.line = path, 0
	r.files = append(r.files, path)
	defer func() {
		r.file, r.line = outerFile, outerLine
		r.files = r.files[:len(r.files)-1]
	}()
	before := ""
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		r.line++
		l := parseLine(base.CutNUL(strings.TrimSuffix(line, "\r")), before)
		if l.ambiguous {
			r.warn("Ambiguous '#' character in line, treating it as comment. Add a space before it to remove this warning.",
				"Configuration file %s line %d: %s")
		}
		if l.kind == lineMore {
			if before = l.value; len(before) > maxDovecotSize {
				return r.error("continued line is too long", "")
			}
			continue
		}
		before = ""
		if err := r.apply(l); err != nil {
			return err
		}
	}
	return nil
}

// warn adds a warning; format takes file, line and text in Dovecot's words.
func (r *reader) warn(text, format string) {
	r.d.Warnings = append(r.d.Warnings, base.Warning{File: r.file, Line: r.line, Text: text, Postfix: fmt.Sprintf(format, r.file, r.line, text)})
}

// error makes an error at the current line.
func (r *reader) error(text, hint string) *base.Error {
	return &base.Error{File: r.file, Line: r.line, Text: text, Hint: hint,
		Postfix: fmt.Sprintf("Error in configuration file %s line %d: %s", r.file, r.line, text)}
}

// fail notes an error of the current line; the reader goes on with the next
// line, so that all errors are reported at once.
func (r *reader) fail(text, hint string) error {
	r.errs = append(r.errs, r.error(text, hint))
	if len(r.errs) >= maxLineErrors {
		return errStop
	}
	return nil
}

// apply acts on one logical line.
func (r *reader) apply(l dovecotLine) error {
	if r.legacyLine(l) {
		return nil
	}
	switch l.kind {
	case lineBad:
		return r.fail(l.value, "write \"kind name {\" on a line of its own")
	case lineInclude, lineTry:
		return r.include(l.value, l.kind == lineTry)
	case lineBegin:
		return r.begin(l.key, l.value)
	case lineEnd:
		if len(r.stack) == 1 {
			return r.fail("Unexpected '}'", "there is no open section to close")
		}
		r.stack = r.stack[:len(r.stack)-1]
	case lineValue, lineFile, lineVariable:
		return r.setting(l)
	}
	return nil
}

// relative makes a path relative to the directory of the current file.
func (r *reader) relative(path string) string {
	if strings.HasPrefix(path, "/") || !strings.Contains(r.file, "/") {
		return path
	}
	return filepath.Dir(r.file) + "/" + path
}

// include reads the files that pattern names, in sorted order.
func (r *reader) include(pattern string, try bool) error {
	var paths []string
	for _, p := range braces(r.relative(pattern)) {
		found, err := filepath.Glob(p)
		if err != nil {
			return r.fail("glob() failed: "+err.Error(), "check the pattern")
		}
		for _, f := range found {
			// glob(3) does not match hidden files with a wildcard.
			if !strings.HasPrefix(filepath.Base(f), ".") || strings.HasPrefix(filepath.Base(p), ".") {
				paths = append(paths, f)
			}
		}
	}
	if len(paths) == 0 && !try {
		return r.fail("No matches", "no file "+r.relative(pattern)+"; !include_try reads files that may be missing")
	}
	for _, p := range paths {
		if err := r.includeFile(p, try); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) includeFile(path string, try bool) error {
	for _, open := range r.files {
		if open == path {
			return r.fail("Recursive include file: "+path, "a file must not include itself")
		}
	}
	if r.count++; r.count > maxIncludes || len(r.files) > maxIncludeDeep {
		return r.fail("too many included files", "")
	}
	text, err := base.Read(path)
	if err != nil && try {
		return nil
	}
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return r.fail(fmt.Sprintf("Couldn't open include file %s: %v", path, err), "")
	}
	return r.read(path, text)
}

// braces expands {a,b} in a glob pattern (GLOB_BRACE); at most 100 patterns.
func braces(pattern string) []string {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}
	}
	n := base.Balance(pattern[open:])
	if n < 0 {
		return []string{pattern}
	}
	var list []string
	for _, alt := range strings.Split(pattern[open+1:open+n-1], ",") {
		if len(list) > 100 {
			break
		}
		list = append(list, braces(pattern[:open]+alt+pattern[open+n:])...)
	}
	return list
}

// begin opens a section.
func (r *reader) begin(kind, name string) error {
	t := r.top()
	f := frame{block: t.block, filter: t.filter, outer: t.outer, path: t.path, kind: kind, line: r.line, file: r.file}
	if len(r.stack) > maxBlockDeep {
		r.stack = append(r.stack, f)
		return r.fail("sections are nested too deep", "")
	}
	isFilter, err := r.openFilter(&f, kind, name)
	if !isFilter && err == nil {
		err = r.openBlock(&f, kind, name)
	}
	r.stack = append(r.stack, f)
	return err
}

// openBlock makes f the block kind name, a new one or the one of that name.
func (r *reader) openBlock(f *frame, kind, name string) error {
	path := kind
	if f.path != "" {
		path = f.path + "/" + kind
	}
	if p, ok := Lookup(f.path, kind); !ok || p.Type != "map" {
		if !isBlock(path) {
			// The section is read, into nowhere, so that its end is found.
			f.block, f.path = &Block{Kind: kind}, path
			if isMap(f.path) {
				return r.fail("Section not allowed here", "")
			}
			return r.fail("Unknown setting: "+r.fullPath(kind), "no section of that name belongs here")
		}
	}
	f.block = openSub(f.block, kind, name, r.file, r.line)
	f.path = path
	return nil
}

// openSub returns the block kind name of parent, made if there is none. A map
// is one block; other anonymous blocks are each one of their own.
func openSub(parent *Block, kind, name, file string, line int) *Block {
	for _, b := range parent.Blocks {
		if b.Kind == kind && (isMap(kind) || b.Name == name && name != "") {
			return b
		}
	}
	b := &Block{Kind: kind, Name: name, File: file, Line: line}
	parent.Blocks = append(parent.Blocks, b)
	return b
}

// isBlock tells whether the table knows a block of that path.
func isBlock(path string) bool {
	switch path {
	case "namespace", "namespace/mailbox", "passdb", "userdb", "service", "service/unix_listener", "service/fifo_listener",
		"service/inet_listener", "event_exporter", "metric", "metric/fields", "plugin", "dict":
		return true
	}
	return false
}

// isMap tells whether the settings of a block are free: names and values.
func isMap(path string) bool { return path == "plugin" || path == "dict" }

// fullPath names a setting with the sections around it, as Dovecot's messages do.
func (r *reader) fullPath(key string) string {
	var b strings.Builder
	for _, f := range r.stack[1:] {
		if f.path != "" {
			b.WriteString(f.kind + " { ")
		}
	}
	return b.String() + key
}

// openFilter handles protocol, local, local_name and remote.
func (r *reader) openFilter(f *frame, kind, name string) (bool, error) {
	in := f.filter
	switch kind {
	case "protocol":
		if in.Protocol != "" {
			return true, r.fail("Nested protocol { protocol { .. } } block not allowed", "")
		}
		f.filter.Protocol = name
	case "local_name":
		if err := r.filterOrder(kind, in.Protocol != "", in.Remote.IsValid(), false); err != "" {
			return true, r.fail(err, "")
		}
		f.filter.LocalName = name
	case "local", "remote":
		if err := r.filterOrder(kind, in.Protocol != "", kind == "local" && in.Remote.IsValid(), kind == "local" && in.LocalName != ""); err != "" {
			return true, r.fail(err, "")
		}
		p, err := parseNet(name)
		if err != nil {
			return true, r.fail(err.Error(), "write an address or network, such as 10.0.0.0/8")
		}
		if kind == "local" {
			f.filter.Local = p
		} else {
			f.filter.Remote = p
		}
	default:
		return false, nil
	}
	f.block = r.filterBlock(f.filter)
	f.outer, f.path = f.block, ""
	return true, nil
}

// filterOrder refuses a filter inside one that must stand inside it.
func (r *reader) filterOrder(kind string, protocol, remote, localName bool) string {
	outer := ""
	switch {
	case remote:
		outer = "remote"
	case protocol:
		outer = "protocol"
	case localName:
		outer = "local_name"
	default:
		return ""
	}
	return fmt.Sprintf("%s { %s { .. } } not allowed (use %s { %s { .. } } instead)", outer, kind, kind, outer)
}

// filterBlock returns the settings of a filter, one block for equal filters.
func (r *reader) filterBlock(f Filter) *Block {
	if f == (Filter{}) {
		return r.d.root
	}
	for _, x := range r.d.filters {
		if x.Filter == f {
			return x.block
		}
	}
	x := &filtered{Filter: f, block: &Block{File: r.file, Line: r.line}}
	r.d.filters = append(r.d.filters, x)
	return x.block
}

// parseNet reads an address or network. Host names are not looked up: a
// configuration that needs DNS to be read does not start without it.
func parseNet(s string) (netip.Prefix, error) {
	s = strings.NewReplacer("[", "", "]", "").Replace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, base.Bad("gethostbyname(%s) failed: not an address or network", s)
	}
	return p.Masked(), nil
}

// setting applies name = value.
func (r *reader) setting(l dovecotLine) error {
	t := r.top()
	v := Value{Name: l.key, Value: l.value, Show: l.value, File: r.file, Line: r.line}
	switch l.kind {
	case lineFile:
		v.FromFile, v.Show, v.Value = true, "<"+l.value, r.relative(l.value)
	case lineVariable:
		var err error
		if v.Value, v.Show, err = r.variables(l.key, l.value); err != nil {
			return r.fail(err.Error(), "a value with a dollar sign that is no variable must be in quotes")
		}
	}
	return r.put(t, v)
}

// put checks a value against the table and stores it.
func (r *reader) put(t *frame, v Value) error {
	if isMap(t.path) {
		t.block.set(v)
		return nil
	}
	p, ok := Lookup(t.path, v.Name)
	if ok && p.Type == "alias" {
		p, ok = Lookup(t.path, p.Default)
	}
	if !ok {
		if !isBlock(t.path) && t.path != "" {
			return nil // inside a section that is an error itself
		}
		return r.fail("Unknown setting: "+r.fullPath(v.Name), suggest(t.path, v.Name))
	}
	v.Name = p.Name
	if !v.FromFile {
		value, err := p.canonical(v.Value)
		if err != nil {
			return r.fail(err.Error(), "")
		}
		if !strings.Contains(v.Show, "$") {
			v.Show = value
		}
		v.Value = value
	}
	if strings.HasPrefix(p.Name, "auth_") && t.path == "" && (t.filter.Local.IsValid() || t.filter.Remote.IsValid() || t.filter.LocalName != "") {
		return r.fail("Auth settings not supported inside local/remote blocks: "+v.Name, "move it out of the block")
	}
	r.seen(t, v)
	t.block.set(v)
	return nil
}

// seen is where a setting that comes too late for an earlier filter would be
// told of; Dovecot only warns, and so does Check.
func (r *reader) seen(t *frame, v Value) {
	if t.block != r.d.root {
		return
	}
	for _, f := range r.d.filters {
		if old := f.block.find(v.Name); old != nil {
			at := fmt.Sprintf("%s line %d", old.File, old.Line)
			text := fmt.Sprintf("Global setting %s won't change the setting inside an earlier filter at %s "+
				"(if this is intentional, avoid this warning by moving the global setting before %s)", v.Name, at, at)
			r.warn(text, "%s line %d: %s")
			return
		}
	}
}

// variables replaces the words $name of a value by those settings. show replaces
// only the setting's own earlier value, as doveconf does.
func (r *reader) variables(key, value string) (full, show string, err error) {
	var fulls, shows []string
	for _, word := range strings.Fields(value) {
		name, ok := strings.CutPrefix(word, "$")
		if !ok {
			fulls, shows = append(fulls, word), append(shows, word)
			continue
		}
		text := ""
		if env, isEnv := strings.CutPrefix(name, "ENV:"); isEnv {
			text = os.Getenv(env)
		} else if text, err = r.lookup(name); err != nil {
			return "", "", err
		}
		fulls = append(fulls, text)
		if name != key {
			text = word
		}
		shows = append(shows, text)
	}
	full, show = strings.Join(fulls, " "), strings.Join(shows, " ")
	if len(full) > base.MaxExpand {
		return "", "", base.Bad("value grows past %d bytes", base.MaxExpand)
	}
	return full, show, nil
}

// lookup returns the value of a root setting as the current filter sees it.
func (r *reader) lookup(name string) (string, error) {
	for i := len(r.stack) - 1; i >= 0; i-- {
		if v := r.stack[i].outer.find(name); v != nil {
			return v.Value, nil
		}
	}
	p, ok := Lookup("", name)
	if !ok {
		return "", base.Bad("Unknown variable: $%s", name)
	}
	return p.Default, nil
}
