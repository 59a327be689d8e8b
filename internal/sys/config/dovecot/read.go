package dovecot

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot/lex"
	"packetboat/internal/sys/config/dovecot/newer"
)

// Limits of dovecot.conf files, besides those of package lex.
const (
	maxBlockDeep = 20     // blocks in blocks
	maxSettings  = 10_000 // settings, or blocks, in one block
)

// frame is an open section.
type frame struct {
	block   *Block
	filter  Filter
	outer   *Block // the filter's or root's block, where $names are looked up
	path    string // of the block in the table: "", "service", "service/unix_listener"
	kind    string
	line    int
	setting bool // it is a setting, written as a section of 2.4 in a file of 2.3
	file    string
}

// reader reads one dovecot.conf and what it includes.
type reader struct {
	lex.Reader
	sound  int // warnings before the first error
	d      *Config
	stack  []frame
	legacy legacyState
}

// Parse reads the text of a dovecot.conf, whose name in messages and for
// relative includes is path. With an error there may be a Config all the same: it
// has the warnings that came before it and nothing else.
func Parse(path, text string) (*Config, error) {
	if _, line := newer.Version(text); line > 0 {
		return parseNewer(path, text)
	}
	r := newReader(path)
	if err := r.Read(path, text); err != nil && !errors.Is(err, lex.ErrStop) {
		r.Errors = append(r.Errors, err)
	}
	if open := r.top(); len(r.stack) > 1 {
		what := fmt.Sprintf("Missing '}' (section started at %s:%d)", open.file, open.line)
		r.Errors = append(r.Errors, &base.Error{File: open.file, Line: open.line, Text: "missing '}' of the section that starts here",
			Hint: "close every section with a line }", Postfix: fmt.Sprintf("Error in configuration file %s: %s", path, what)})
	}
	return r.result()
}

func (r *reader) result() (*Config, error) {
	r.d.Warnings = r.Warnings
	if len(r.Errors) > 0 {
		return &Config{Path: r.d.Path, Warnings: r.Warnings[:r.sound]}, errors.Join(r.Errors...)
	}
	return r.d, nil
}

// parseNewer reads the text of a file in the syntax of Dovecot 2.4.
func parseNewer(path, text string) (*Config, error) {
	r := newReader(path)
	res, err := newer.Read(path, text, known)
	if err != nil {
		return nil, err
	}
	r.Warnings = res.Warnings
	for _, l := range res.Lines {
		r.File, r.Line = l.Path, l.At
		if err := r.meaning(l.Line); err != nil {
			break // it is noted
		}
	}
	r.d.Version, r.d.Refused, r.d.Notes = res.Version, res.Refused, res.Notes
	return r.result()
}

// known tells package newer which settings 2.3 has.
func known(block, name string) (kind, value string, ok bool) {
	p, ok := Lookup(block, name)
	return p.Type, p.Default, ok && p.Type != "alias" && p.Type != "map"
}

func newReader(path string) *reader {
	root := &Block{File: path}
	r := &reader{d: &Config{Path: path, root: root}}
	r.stack = []frame{{block: root, outer: root, file: path}}
	r.Apply = r.apply
	return r
}

func (r *reader) top() *frame { return &r.stack[len(r.stack)-1] }

// apply acts on one logical line.
func (r *reader) apply(l lex.Line) error {
	if len(r.Errors) == 0 {
		r.sound = len(r.Warnings)
	}
	if r.legacyLine(l) {
		return nil
	}
	return r.meaning(l)
}

// meaning acts on a line as 2.3 understands it.
func (r *reader) meaning(l lex.Line) error {
	switch l.Kind {
	case lex.Begin:
		return r.begin(l.Key, l.Value)
	case lex.End:
		if len(r.stack) == 1 {
			return r.Fail("Unexpected '}'", "there is no open section to close")
		}
		if t := r.top(); t.setting && len(r.Errors) == 0 {
			r.Errors = append(r.Errors, &base.Error{File: t.file, Line: t.line, Text: "Unknown setting: " + t.kind + " { }", Hint: newerHint})
		}
		r.stack = r.stack[:len(r.stack)-1]
	case lex.Value, lex.File, lex.Variable:
		return r.setting(l)
	}
	return nil
}

// begin opens a section.
func (r *reader) begin(kind, name string) error {
	t := r.top()
	f := frame{block: t.block, filter: t.filter, outer: t.outer, path: t.path, kind: kind, line: r.Line, file: r.File}
	if len(r.stack) > maxBlockDeep {
		r.stack = append(r.stack, f)
		return r.Fail("sections are nested too deep", "")
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
			inMap := isMap(f.path)
			f.block, f.path = &Block{Kind: kind}, path
			if inMap {
				return r.Fail("Section not allowed here", "")
			}
			if f.setting = ok; ok {
				return nil // what stands inside is the error, as Dovecot sees it
			}
			return r.Fail("Unknown setting: "+r.fullPath(kind)+" { "+kind, "no section of that name belongs here")
		}
	}
	if c := f.filter; (kind == "passdb" || kind == "userdb") && (c.Local.IsValid() || c.Remote.IsValid() || c.LocalName != "") {
		f.block, f.path = &Block{Kind: kind}, path
		return r.Fail("Auth settings not supported inside local/remote blocks: "+kind, "move it out of the block")
	}
	if len(f.block.Blocks) > maxSettings {
		r.Errors = append(r.Errors, r.Error("too many sections in one section", ""))
		return lex.ErrStop
	}
	f.block = openSub(f.block, kind, name, r.File, r.Line)
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
			return true, r.Fail("Nested protocol { protocol { .. } } block not allowed", "")
		}
		f.filter.Protocol = name
	case "local_name":
		if err := r.filterOrder(kind, in.Protocol != "", in.Remote.IsValid(), false); err != "" {
			return true, r.Fail(err, "")
		}
		f.filter.LocalName = name
	case "local", "remote":
		if err := r.filterOrder(kind, in.Protocol != "", kind == "local" && in.Remote.IsValid(), kind == "local" && in.LocalName != ""); err != "" {
			return true, r.Fail(err, "")
		}
		p, err := parseNet(name)
		if err != nil {
			return true, r.Fail(err.Error(), "write an address or network, such as 10.0.0.0/8")
		}
		if kind == "local" {
			f.filter.Local = p
		} else {
			f.filter.Remote = p
		}
	default:
		return false, nil
	}
	if len(r.d.filters) > maxSettings {
		r.Errors = append(r.Errors, r.Error("too many sections for connections", ""))
		return true, lex.ErrStop
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
	x := &filtered{Filter: f, block: &Block{File: r.File, Line: r.Line}}
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
	if host, mask, ok := strings.Cut(s, "/"); err != nil && ok {
		if _, bad := netip.ParseAddr(host); bad == nil {
			return p, base.Bad("Invalid network mask: %s", mask)
		}
	}
	if err != nil {
		return p, base.Bad("gethostbyname(%s) failed: Name or service not known", s)
	}
	return p.Masked(), nil
}

// setting applies name = value.
func (r *reader) setting(l lex.Line) error {
	t := r.top()
	if l.Key == "" {
		return r.Fail("Missing key name ('=' at the beginning of line)", "write name = value")
	}
	v := Value{Name: l.Key, Value: l.Value, Show: l.Value, File: r.File, Line: r.Line}
	switch l.Kind {
	case lex.File:
		v.FromFile, v.Show, v.Value = true, "<"+l.Value, r.Relative(l.Value)
	case lex.Variable:
		var err error
		if v.Value, v.Show, err = r.variables(l.Key, l.Value); err != nil {
			// doveconf shows such a value as it stands; who needs the value fails.
			r.d.Unknown = append(r.d.Unknown, r.Error(err.Error(), "a value with a dollar sign that is no variable must be in quotes"))
			v.Value, v.Show = l.Value, l.Value
		}
	}
	return r.put(t, v)
}

// newerHint is what to do about a setting that is written as a section.
const newerHint = "such sections are the syntax of Dovecot 2.4, whose files begin with dovecot_config_version = 2.4.0; in 2.3's it is a setting: name = value"

// put checks a value against the table and stores it.
func (r *reader) put(t *frame, v Value) error {
	if len(t.block.Values) > maxSettings {
		r.Errors = append(r.Errors, r.Error("too many settings in one section", ""))
		return lex.ErrStop
	}
	if isMap(t.path) {
		t.block.set(v)
		return nil
	}
	p, ok := Lookup(t.path, v.Name)
	if ok && p.Type == "alias" {
		p, ok = Lookup(t.path, p.Default)
	}
	if !ok && t.setting {
		return r.Fail("Unknown setting: "+r.fullPath(v.Name), newerHint)
	}
	if !ok {
		if !isBlock(t.path) && t.path != "" {
			return nil // inside a section that is an error itself
		}
		return r.Fail("Unknown setting: "+r.fullPath(v.Name), suggest(t.path, v.Name))
	}
	v.Name = p.Name
	if !v.FromFile {
		value, err := p.canonical(v.Value)
		if err != nil {
			return r.Fail(err.Error(), "")
		}
		if !strings.Contains(v.Show, "$") {
			v.Show = value
		}
		v.Value = value
	}
	if strings.HasPrefix(p.Name, "auth_") && t.path == "" && (t.filter.Local.IsValid() || t.filter.Remote.IsValid() || t.filter.LocalName != "") {
		return r.Fail("Auth settings not supported inside local/remote blocks: "+v.Name, "move it out of the block")
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
			r.Warn(text, "%s line %d: %s")
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
