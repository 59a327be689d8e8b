package upgrade

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/newer"
)

// nameKey stands for the name of a section among its settings.
const nameKey = "@name"

// Flatten lists every setting by its place: "root", a filter's sections, and
// blocks with their number ("passdb 2", "namespace 1/mailbox 3").
func Flatten(d *dovecot.Config) map[string]map[string]string {
	all := map[string]map[string]string{}
	flatten(all, "root", d.Root())
	d.Filters(func(f dovecot.Filter, b *dovecot.Block) { flatten(all, filterPath(f), b) })
	return all
}

func filterPath(f dovecot.Filter) string {
	var words []string
	for _, h := range dovecot.FilterHeads(f) {
		words = append(words, h[0]+" "+h[1])
	}
	return strings.Join(words, ", ")
}

func flatten(all map[string]map[string]string, path string, b *dovecot.Block) {
	m := map[string]string{}
	for _, v := range b.Values {
		if v.Name == "location" && v.Value == "" {
			continue // as if it were not there
		}
		if v.FromFile {
			m[v.Name] = "<" + v.Value
			continue
		}
		m[v.Name] = v.Value
	}
	if b.Name != "" && b.Kind == "namespace" {
		m[nameKey] = b.Name
	}
	if len(m) > 0 {
		all[path] = m
	}
	count := map[string]int{}
	for _, s := range b.Blocks {
		flatten(all, path+"/"+part(s, count), s)
	}
}

// part is a section's place below another: its kind and name, or, for an
// anonymous one, its number among those.
func part(s *dovecot.Block, count map[string]int) string {
	if named(s) {
		return s.Kind + " " + strings.NewReplacer("%", "%25", "/", "%2F").Replace(s.Name)
	}
	count[s.Kind]++
	return fmt.Sprintf("%s #%d", s.Kind, count[s.Kind])
}

// named tells the sections that are known by their names; namespaces count, as 2.4
// gives each a name.
func named(s *dovecot.Block) bool {
	return s.Name != "" && s.Kind != "passdb" && s.Kind != "userdb" && s.Kind != "namespace"
}

// differences writes a comment for each setting of want that got has not, or
// has otherwise; one without a value is to be taken out again.
func differences(want, got *dovecot.Config) string {
	w, g := Flatten(want), Flatten(got)
	var b strings.Builder
	paths := slices.Sorted(maps.Keys(w))
	for p := range g {
		if w[p] == nil {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		for _, name := range slices.Sorted(maps.Keys(w[p])) {
			if v, ok := g[p][name]; !ok || v != w[p][name] {
				fmt.Fprintf(&b, "#2.3: %s: %s = %s\n", p, name, w[p][name])
			}
		}
		for _, name := range slices.Sorted(maps.Keys(g[p])) {
			if _, ok := w[p][name]; !ok {
				fmt.Fprintf(&b, "#2.3: %s: -%s = \n", p, name)
			}
		}
	}
	return b.String()
}

// restore sets, or with "-NAME" takes out, one setting.
func restore(d *dovecot.Config, n newer.Note) {
	parts := strings.Split(n.Path, "/")
	b := d.Root()
	if parts[0] != "root" {
		b = nil
		d.Filters(func(f dovecot.Filter, x *dovecot.Block) {
			if filterPath(f) == parts[0] {
				b = x
			}
		})
		// A filter's network has a slash of its own.
		for i := 1; b == nil && i < len(parts); i++ {
			parts = append([]string{parts[0] + "/" + parts[1]}, parts[2:]...)
			d.Filters(func(f dovecot.Filter, x *dovecot.Block) {
				if filterPath(f) == parts[0] {
					b = x
				}
			})
		}
	}
	for _, p := range parts[1:] {
		if b == nil {
			return
		}
		b = child(b, p)
	}
	if b != nil {
		change(b, n)
	}
}

// child returns the section of a place below b, made if there is none.
func child(b *dovecot.Block, place string) *dovecot.Block {
	count := map[string]int{}
	for _, s := range b.Blocks {
		if part(s, count) == place {
			return s
		}
	}
	kind, name, _ := strings.Cut(place, " ")
	if strings.HasPrefix(name, "#") {
		name = ""
	}
	s := &dovecot.Block{Kind: kind, Name: strings.NewReplacer("%2F", "/", "%25", "%").Replace(name)}
	b.Blocks = append(b.Blocks, s)
	return s
}

func change(b *dovecot.Block, n newer.Note) {
	if name, ok := strings.CutPrefix(n.Name, "-"); ok {
		if name == nameKey {
			b.Name = ""
		}
		b.Values = slices.DeleteFunc(b.Values, func(v dovecot.Value) bool { return v.Name == name })
		return
	}
	if n.Name == nameKey {
		b.Name = n.Value
		return
	}
	v := dovecot.Value{Name: n.Name, Value: n.Value, Show: n.Value, File: n.File, Line: n.Line}
	if path, ok := strings.CutPrefix(n.Value, "<"); ok {
		v.FromFile, v.Value = true, path
	}
	for i := range b.Values {
		if b.Values[i].Name == n.Name {
			b.Values[i] = v
			return
		}
	}
	b.Values = append(b.Values, v)
}
