// Package dovecot reads Dovecot's configuration: the syntaxes of 2.3 and 2.4 with includes,
// filters and all blocks, and holds the table of its settings. Only
// sys/config and cmd/ import it.
package dovecot

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot/lex"
	"packetboat/internal/sys/config/dovecot/newer"
)

// DefaultPath is the configuration file when -c does not name another.
const DefaultPath = "/etc/dovecot/dovecot.conf"

// Value is one setting of a dovecot.conf.
type Value struct {
	Name  string
	Value string // with $names replaced; of "<file" the path, see FromFile
	Show  string // as doveconf shows it
	// FromFile says that the value is the contents of the file whose path
	// Value holds (name = <path).
	FromFile bool
	File     string
	Line     int
}

// Block is a section of a dovecot.conf, or its root, or what a filter (protocol
// imap, remote 10.0.0.0/8) changes.
type Block struct {
	Kind   string // "" for the root and for filters; else passdb, namespace, service, plugin ...
	Name   string // what follows the kind; empty for an anonymous block
	File   string
	Line   int
	Values []Value
	Blocks []*Block
}

// Filter says for which connections the settings of a filter block hold. The
// zero value is all of them.
type Filter struct {
	Protocol  string // imap, pop3, lmtp, lda ...; !imap is every other one
	LocalName string // names of the server asked for by TLS's SNI, wildcards allowed
	Local     netip.Prefix
	Remote    netip.Prefix
}

// filtered is a filter with its settings.
type filtered struct {
	Filter
	block *Block
}

// Config is the contents of a dovecot.conf and of the files it includes. It
// does not change once read.
type Config struct {
	Path     string
	Warnings []base.Warning
	// Version is dovecot_config_version, "" for the syntax of 2.3. With it come
	// the settings that would change something and cannot be said in the words of 2.3
	// (each a *base.Error), and what a translation kept in comments.
	Version string
	Refused []error
	Notes   []newer.Note
	// Unknown are values with a $name that no setting has, each a *base.Error.
	// They are shown as they stand, and a daemon does not start with them.
	Unknown []error
	root    *Block
	filters []*filtered
	layers  []*Block // of a For: the most specific first, the root last
}

// Context is a connection for which settings are looked up.
type Context struct {
	Protocol  string
	LocalName string
	Local     netip.Addr
	Remote    netip.Addr
}

// Load reads path; an empty path is DefaultPath. All errors of the
// files are returned at once, joined, each an *base.Error with its place; its
// Postfix field holds Dovecot's words.
func Load(path string) (*Config, error) {
	if path == "" {
		path = DefaultPath
	}
	text, err := base.Read(path)
	if err != nil {
		text := err.Error()
		var pe *fs.PathError
		if errors.As(err, &pe) {
			text = fmt.Sprintf("open(%s) failed: %s", path, lex.Reason(pe.Err))
		}
		return nil, &base.Error{File: path, Text: err.Error(), Hint: "name the configuration file with -c", Postfix: text}
	}
	return Parse(path, text)
}

// For returns the settings as they are for a connection: those of the filters
// that match it win over the general ones, the more specific ones first.
func (d *Config) For(c Context) *Config {
	var match []*filtered
	for _, f := range d.filters {
		if f.matches(c) {
			match = append(match, f)
		}
	}
	slices.SortStableFunc(match, func(a, b *filtered) int { return b.rank() - a.rank() })
	v := *d
	v.layers = nil
	for _, f := range match {
		v.layers = append(v.layers, f.block)
	}
	v.layers = append(v.layers, d.root)
	return &v
}

// Filtered tells of a For whether any filter matched.
func (d *Config) Filtered() bool { return len(d.layers) > 1 }

// rank orders filters by how specific they are.
func (f *filtered) rank() int {
	n := 0
	if f.LocalName != "" {
		n += 1 << 20
	}
	if f.Local.IsValid() {
		n += (f.Local.Bits() + 1) << 10
	}
	if f.Remote.IsValid() {
		n += (f.Remote.Bits() + 1) << 1
	}
	if f.Protocol != "" {
		n++
	}
	return n
}

func (f *filtered) matches(c Context) bool {
	if other, not := strings.CutPrefix(f.Protocol, "!"); f.Protocol != "" && (not && other == c.Protocol || !not && f.Protocol != c.Protocol) {
		return false
	}
	if f.LocalName != "" && !matchNames(f.LocalName, c.LocalName) {
		return false
	}
	if f.Local.IsValid() && !f.Local.Contains(c.Local.Unmap().WithZone("")) {
		return false
	}
	return !f.Remote.IsValid() || f.Remote.Contains(c.Remote.Unmap().WithZone(""))
}

// matchNames matches a server name against names with wildcards: a label * is
// any one label (RFC 6125 section 6.4.3).
func matchNames(names, name string) bool {
	labels := strings.Split(strings.ToLower(name), ".")
	for _, n := range strings.Fields(strings.ToLower(names)) {
		if slices.EqualFunc(strings.Split(n, "."), labels, func(a, b string) bool { return a == "*" && b != "" || a == b }) {
			return name != ""
		}
	}
	return false
}

// FilterHeads returns the sections that make a filter, the outer ones first.
func FilterHeads(f Filter) [][2]string {
	var list [][2]string
	if f.Local.IsValid() {
		list = append(list, [2]string{"local", network(f.Local.String())})
	}
	if f.LocalName != "" {
		list = append(list, [2]string{"local_name", f.LocalName})
	}
	if f.Remote.IsValid() {
		list = append(list, [2]string{"remote", network(f.Remote.String())})
	}
	if f.Protocol != "" {
		list = append(list, [2]string{"protocol", f.Protocol})
	}
	return list
}

// network leaves out the mask of a single address.
func network(s string) string {
	addr, bits, _ := strings.Cut(s, "/")
	if bits == "32" && !strings.Contains(addr, ":") || bits == "128" {
		return addr
	}
	return s
}

// find returns the setting of the root that counts; name may be "plugin/x".
func (d *Config) find(name string) *Value {
	layers := d.layers
	if layers == nil {
		layers = []*Block{d.root}
	}
	for _, b := range layers {
		if v := b.find(name); v != nil {
			return v
		}
	}
	return nil
}

// find returns the setting of a block; name may be "plugin/x" for the setting x
// of the block plugin.
func (b *Block) find(name string) *Value {
	if kind, rest, ok := strings.Cut(name, "/"); ok {
		for _, sub := range b.Blocks {
			if sub.Kind == kind {
				return sub.find(rest)
			}
		}
		return nil
	}
	for i := range b.Values {
		if b.Values[i].Name == name {
			return &b.Values[i]
		}
	}
	return nil
}

// Get returns the value of a setting of the root, or its default; "plugin/x" is
// the setting x of plugin {}. A value that comes from a file is "<path".
func (d *Config) Get(name string) string {
	if v := d.find(name); v != nil {
		if v.FromFile {
			return "<" + v.Value
		}
		return v.Value
	}
	p, _ := Lookup("", name)
	return p.Default
}

// IsSet tells whether a setting of the root is set, not only has its default.
func (d *Config) IsSet(name string) bool { return d.find(name) != nil }

// Where returns the place where a setting of the root is set, "" for a default.
func (d *Config) Where(name string) (file string, line int) {
	if v := d.find(name); v != nil {
		return v.File, v.Line
	}
	return "", 0
}

// Root returns the general settings, without those of filters.
func (d *Config) Root() *Block { return d.root }

// Merged returns the general settings with those of the filters that match a
// For put over them.
func (d *Config) Merged() *Block {
	m := d.root
	for i := len(d.layers) - 2; i >= 0; i-- {
		m = m.merged(d.layers[i])
	}
	return m
}

// Find returns a setting of the block; "plugin/x" is the setting x of its block
// plugin. It returns nil when it is not set.
func (b *Block) Find(name string) *Value { return b.find(name) }

// WithServices returns the root block with the built-in services below those
// that it changes.
func (b *Block) WithServices(builtin []*Block) *Block {
	m := *b
	m.Blocks = mergeBlocks(slices.Clone(builtin), b.Blocks, "")
	return &m
}

// Filters calls fn for each filter with its settings, in the order in which
// doveconf prints them.
func (d *Config) Filters(fn func(f Filter, b *Block)) {
	list := slices.Clone(d.filters)
	slices.SortStableFunc(list, func(a, b *filtered) int { return a.rank() - b.rank() })
	for _, f := range list {
		fn(f.Filter, f.block)
	}
}

// Blocks returns the blocks of one kind: the named ones merged by name, with
// the matching filters' changes over them, and each anonymous one on its own.
func (d *Config) Blocks(kind string) []*Block {
	layers := d.layers
	if layers == nil {
		layers = []*Block{d.root}
	}
	var list []*Block
	for _, layer := range slices.Backward(layers) {
		list = mergeBlocks(list, layer.Blocks, kind)
	}
	return list
}

// mergeBlocks puts the blocks of a kind over those of list; kind "" is all.
func mergeBlocks(list, over []*Block, kind string) []*Block {
	for _, b := range over {
		if kind != "" && b.Kind != kind {
			continue
		}
		at := slices.IndexFunc(list, func(x *Block) bool { return x.Kind == b.Kind && x.Name == b.Name && b.Name != "" })
		if at < 0 {
			list = append(list, b)
			continue
		}
		list[at] = list[at].merged(b)
	}
	return list
}

// merged returns b with the settings of over put over its own.
func (b *Block) merged(over *Block) *Block {
	m := &Block{Kind: b.Kind, Name: b.Name, File: b.File, Line: b.Line, Values: slices.Clone(b.Values)}
	for _, v := range over.Values {
		m.set(v)
	}
	m.Blocks = mergeBlocks(slices.Clone(b.Blocks), over.Blocks, "")
	return m
}

// set puts a value in; the last one of a name counts.
func (b *Block) set(v Value) {
	if old := b.find(v.Name); old != nil && !strings.Contains(v.Name, "/") {
		*old = v
		return
	}
	b.Values = append(b.Values, v)
}
