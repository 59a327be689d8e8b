package doveconf

import (
	_ "embed" // the order of settings
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/sys/config/dovecot"
)

// order holds the order in which Dovecot 2.3 keeps its settings, which doveconf -S
// shows: a line for each kind of block with the names of its settings and blocks
// ("-" is the root); "services" and "service/X/unix_listener" are the built-in
// ones; "module X" are the settings of the root that -m X shows besides those
// of "module *".
//
//go:embed order.txt
var order string

func orderOf(what string) []string {
	for line := range strings.Lines(order) {
		if rest, ok := strings.CutPrefix(line, what+"\t"); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

// module keeps the settings and sections that -m shows.
func (p *printer) module(items []item) []item {
	names := append(orderOf("module *"), orderOf("module "+p.options.module)...)
	return slices.DeleteFunc(items, func(it item) bool {
		if it.block {
			return !slices.Contains(names, it.label)
		}
		return !slices.Contains(names, it.name)
	})
}

// simple prints key=value lines with whole paths as keys (-S). path is the
// block's place in the table, at its place in the keys.
func (p *printer) simple(b *dovecot.Block, path, at string) {
	table := path
	if table == "" {
		table = "-"
	}
	names := orderOf(table)
	if m := p.options.module; m != "" && table == "-" {
		names = append(orderOf("module *"), orderOf("module "+m)...)
	} else if table == "-" {
		for _, t := range dovecot.Params("") {
			if !slices.Contains(names, t.Name) { // what a plugin adds
				names = append(names, t.Name)
			}
		}
	}
	for _, name := range names {
		switch t, isSetting := dovecot.Lookup(path, name); {
		case isSetting && t.Type != "map":
			p.simpleSetting(b, t, at)
		default:
			p.simpleBlocks(b, path, name, at)
		}
	}
}

func (p *printer) simpleSetting(b *dovecot.Block, t dovecot.Param, at string) {
	v := b.Find(t.Name)
	if v == nil && b.Name != "" && (isKey(t.Name, t.Block) || t.Name == "name" && isList(t.Block)) {
		v = &dovecot.Value{Name: t.Name, Value: b.Name, Show: b.Name}
	}
	value := t.Default
	switch {
	case v != nil:
		value = p.value(*v)
	case t.Unset || t.Hidden && p.scope != scopeHidden || p.scope == scopeSet || t.Type == "alias":
		return
	}
	if p.scope == scopeChanged && value == t.Default && !(p.filtering && v != nil) {
		return
	}
	p.simpleLine(at+t.Name, value)
}

// simpleBlocks prints the blocks of one kind, after a line that lists them.
func (p *printer) simpleBlocks(b *dovecot.Block, path, kind, at string) {
	var list []*dovecot.Block
	for _, s := range b.Blocks {
		if s.Kind == kind {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return
	}
	sub := kind
	if path != "" {
		sub = path + "/" + kind
	}
	if kind == "plugin" || kind == "dict" {
		p.simpleLine(at+kind, "")
		for _, v := range list[0].Values {
			p.simpleLine(at+kind+"/"+v.Name, p.value(v))
		}
		return
	}
	list = builtinFirst(list, strings.TrimSuffix(at, "/")+"/"+kind)
	var keys []string
	for i, s := range list {
		key := strconv.Itoa(i)
		if s.Name != "" && !isList(kind) {
			key = escapeSection(s.Name)
		}
		keys = append(keys, key)
	}
	p.simpleLine(at+kind, strings.Join(keys, " "))
	for i, s := range list {
		p.simple(s, sub, at+kind+"/"+keys[i]+"/")
	}
}

// builtinFirst puts built-in services and listeners in Dovecot's own order.
func builtinFirst(list []*dovecot.Block, what string) []*dovecot.Block {
	if what == "/service" {
		what = "services"
	}
	names := orderOf(what)
	place := func(b *dovecot.Block) int {
		if i := slices.Index(names, escapeSection(b.Name)); i >= 0 {
			return i
		}
		return len(names)
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *dovecot.Block) int { return place(a) - place(b) })
	return list
}

// simpleLine prints a line unless names were asked for and it is none of them.
func (p *printer) simpleLine(key, value string) {
	wanted := len(p.names) == 0 || slices.ContainsFunc(p.names, func(n string) bool {
		return key == n || strings.HasPrefix(key, n+"/")
	})
	if wanted {
		p.out.WriteString(key + "=" + value + "\n")
	}
}
