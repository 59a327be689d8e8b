package doveconf

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/sys/config/dovecot"
)

// item is a setting or a section to be printed.
type item struct {
	sort  string // what Dovecot sorts by
	name  string
	value string
	label string // of a section: its kind, for printing after it the name
	items []item
	block bool
}

// printer prints settings in doveconf's form.
type printer struct {
	*options
	out *bufio.Writer
	// filtered says that -f chose settings of filters. The original then forgets of
	// what was set: it copies everything without the marks by which it knows, and
	// finds again only what is in builtin (SERVICE/KIND/NAME), and texts with variables.
	filtered bool
	builtin  map[string]bool
	// pending are the opening lines of sections in which nothing was printed yet.
	pending []string
}

// items returns what is to be printed of a block at path of the table; inside
// says that it is a section, of which every set value is shown.
func (p *printer) items(b *dovecot.Block, path string, inside bool) []item {
	var list []item
	if path == "plugin" || path == "dict" {
		for _, v := range b.Values {
			list = append(list, item{sort: v.Name + "=", name: v.Name, value: p.value(v)})
		}
	} else {
		for _, t := range dovecot.Params(path) {
			if value, ok := p.shown(b, t, inside); ok {
				list = append(list, item{sort: t.Name + "=", name: t.Name, value: value})
			}
		}
	}
	count := map[string]int{}
	copied := p.filtered && p.scope == scopeChanged
	if copied && path == "namespace" {
		list = slices.DeleteFunc(list, func(it item) bool { t, _ := dovecot.Lookup(path, it.name); return t.Type != "vars" })
	}
	for _, s := range b.Blocks {
		if copied && (path == "namespace" || (s.Kind == "service" || path == "service") && !p.builtin[b.Name+"/"+s.Kind+"/"+s.Name]) {
			continue
		}
		key := strconv.Itoa(count[s.Kind])
		count[s.Kind]++
		sub := s.Kind
		if path != "" {
			sub = path + "/" + s.Kind
		}
		it := item{name: s.Name, label: s.Kind, items: p.items(s, sub, !isList(s.Kind)), block: true}
		if isList(s.Kind) {
			it.name = ""
		} else if s.Name != "" {
			key = escapeSection(s.Name)
		}
		it.sort = s.Kind + "/" + key + "/"
		list = append(list, it)
	}
	slices.SortStableFunc(list, func(a, b item) int { return strings.Compare(sortKey(a.sort), sortKey(b.sort)) })
	return list
}

// sortKey makes strings.Compare sort as Dovecot does: the end of a name first,
// then bytes as signed numbers.
func sortKey(s string) string {
	b := []byte(s)
	for i, c := range b {
		if b[i] = c ^ 0x80; c == '=' {
			b[i] = 0
		}
	}
	return string(b)
}

// escapeSection is how Dovecot writes a section's name in its own keys, by
// which it sorts.
func escapeSection(s string) string {
	return strings.NewReplacer("=", `\e`, "/", `\s`, `\`, `\\`, " ", `\_`, ",", `\+`).Replace(s)
}

// isList tells the sections that are a list without names; a name that one has
// is shown as a setting in it.
func isList(kind string) bool { return kind == "passdb" || kind == "userdb" }

// shown tells whether a setting is printed, and its value.
func (p *printer) shown(b *dovecot.Block, t dovecot.Param, inside bool) (string, bool) {
	v := b.Find(t.Name)
	if t.Name == "name" && isList(t.Block) && b.Name != "" {
		v = &dovecot.Value{Name: t.Name, Value: b.Name, Show: b.Name}
	}
	if v == nil {
		switch {
		case p.scope == scopeSet && t.Name == "name" && isList(t.Block):
			return "", true
		case t.Type == "alias" || t.Type == "map" || t.Unset || inside && isKey(t.Name, t.Block):
			return "", false
		case p.scope == scopeChanged && isCapability(t.Name):
			return t.Default, !p.filtering
		case p.scope == scopeAll && !t.Hidden || p.scope == scopeHidden:
			return t.Default, true
		}
		// The original shows these of a section whether set or not.
		return t.Default, (p.scope == scopeChanged || p.scope == scopeSet) && inside && t.Type == "vars"
	}
	value := p.value(*v)
	if p.scope == scopeChanged && !inside && !p.filtering && value == t.Default {
		return "", false
	}
	return value, true
}

// isKey tells the setting of a section that is its name.
func isKey(name, block string) bool {
	switch block {
	case "service/unix_listener", "service/fifo_listener":
		return name == "path"
	}
	return name == "name" && !isList(block)
}

// isCapability tells the settings whose default ManageSieve computes, so that
// they always differ.
func isCapability(name string) bool {
	return name == "managesieve_notify_capability" || name == "managesieve_sieve_capability"
}

// value returns a value as it is written in a configuration file.
func (p *printer) value(v dovecot.Value) string {
	if !p.expand {
		return v.Show
	}
	if !v.FromFile {
		return v.Value
	}
	text, err := os.ReadFile(v.Value)
	if err != nil {
		return v.Show
	}
	return string(text)
}

// print prints items, each section with the lines in it.
func (p *printer) print(items []item, indent string) {
	for _, it := range items {
		if !it.block {
			p.open()
			p.out.WriteString(indent + it.name + " = " + p.quoted(it.name, it.value) + "\n")
			continue
		}
		p.section(it.label, it.name, indent, func() { p.print(it.items, indent+"  ") })
	}
}

// section prints a section around what body prints; without any it prints nothing.
func (p *printer) section(kind, name, indent string, body func()) {
	head := indent + kind
	if strings.Contains(name, " ") {
		name = `"` + escape(name) + `"`
	}
	if name != "" {
		head += " " + name
	}
	p.pending = append(p.pending, head+" {\n")
	depth := len(p.pending)
	body()
	if len(p.pending) >= depth {
		p.pending = p.pending[:depth-1]
		return
	}
	p.out.WriteString(indent + "}\n")
}

// open prints the opening lines that wait.
func (p *printer) open() {
	for _, line := range p.pending {
		p.out.WriteString(line)
	}
	p.pending = p.pending[:0]
}

// quoted returns a value as it is printed: without secrets, and in quotes when
// it would not be read back as it is.
func (p *printer) quoted(name, value string) string {
	if !p.secrets {
		if isSecret(name) && value != "" {
			return "# hidden, use -P to show it"
		}
		if hidden, ok := hideSecrets(value); ok {
			if needsQuotes(value) {
				hidden = escape(hidden) // without quotes around it, as Dovecot does
			}
			return hidden
		}
	}
	if needsQuotes(value) {
		return `"` + escape(value) + `"`
	}
	return value
}

func needsQuotes(value string) bool {
	return strings.Contains(value, "#") || strings.TrimFunc(value, isWhite) != value
}

func isWhite(c rune) bool { return c == ' ' || c == '\t' }

func escape(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s) }

func isSecret(name string) bool {
	return strings.HasPrefix(name, "ssl_dh") || strings.HasSuffix(name, "_password") || strings.HasSuffix(name, "_key") || strings.HasSuffix(name, "_nonce")
}

// hideSecrets takes out what follows words such as password= in a value.
func hideSecrets(value string) (string, bool) {
	var b strings.Builder
	rest, found := value, false
	for {
		at, word := nextSecret(rest)
		if at < 0 {
			b.WriteString(rest)
			return b.String(), found
		}
		inWord := at > 0 && isAlnum(rest[at-1]) || at == 0 && b.Len() > 0 && isAlnum(b.String()[b.Len()-1])
		n := at + len(word)
		switch {
		case strings.HasSuffix(word, "://"):
			end := n + strings.IndexAny(rest[n:]+" ", " \t/@")
			if user := end < len(rest) && rest[end] == '@' && end > n; user {
				b.WriteString(rest[:n] + "#hidden_use-P_to_show#")
				found, n = true, end
				rest = rest[n:]
				continue
			}
		case !inWord:
			eq := n + strings.IndexAny(rest[n:]+"=", "= \t")
			for eq < len(rest) && isWhite(rune(rest[eq])) {
				eq++
			}
			if eq < len(rest) && rest[eq] == '=' {
				end := eq + strings.IndexAny(rest[eq:]+" ", " \t;:")
				b.WriteString(rest[:eq+1] + "#hidden_use-P_to_show#")
				rest, found = rest[min(end, len(rest)):], true
				continue
			}
			n = min(eq, len(rest))
		}
		b.WriteString(rest[:n])
		rest = rest[n:]
	}
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// nextSecret finds the first word in s that may stand before a secret.
func nextSecret(s string) (at int, word string) {
	at = -1
	for _, w := range [...]string{"key", "secret", "pass", "http://", "https://", "ftp://"} {
		if i := strings.Index(s, w); i >= 0 && (at < 0 || i < at) {
			at, word = i, w
		}
	}
	return at, word
}

// filters prints the settings of protocol, local and remote blocks.
func (p *printer) filters(d *dovecot.Config) {
	p.filtering = true
	saved := p.scope
	p.scope = scopeSet
	d.Filters(func(f dovecot.Filter, b *dovecot.Block) {
		if f.Contradicts(p.options.filter) {
			return
		}
		items := p.items(b, "", false)
		if p.options.module != "" {
			items = p.module(items)
		}
		p.filter(dovecot.FilterHeads(f), "", func(indent string) { p.print(items, indent) })
	})
	p.scope, p.filtering = saved, false
}

// filter prints body inside the sections of a filter.
func (p *printer) filter(heads [][2]string, indent string, body func(indent string)) {
	if len(heads) == 0 {
		body(indent)
		return
	}
	p.section(heads[0][0]+" "+heads[0][1], "", indent, func() { p.filter(heads[1:], indent+"  ", body) })
}

// one prints the setting or sections called name.
func (p *printer) one(root *dovecot.Block, name string) {
	if b := strings.Split(name, "/"); len(b) > 1 || isSection(root, name) {
		p.sections(root, b)
		return
	}
	for _, it := range p.items(root, "", false) {
		if it.name != name || it.block {
			continue
		}
		if p.hideName {
			fmt.Fprintln(p.out, it.value)
		} else {
			fmt.Fprintf(p.out, "%s = %s\n", name, it.value)
		}
	}
}

func isSection(root *dovecot.Block, name string) bool {
	return slices.ContainsFunc(root.Blocks, func(b *dovecot.Block) bool { return b.Kind == name })
}

// sections prints the sections that match a path such as service/auth, or the
// settings of one: plugin/quota.
func (p *printer) sections(root *dovecot.Block, path []string) {
	list := p.items(root, "", false)
	if len(path) > 2 {
		p.inside(list, path, path)
		return
	}
	for _, it := range list {
		switch {
		case !it.block || it.label != path[0]:
		case len(path) == 1 || len(path) == 2 && it.name == path[1]:
			p.print([]item{it}, "")
		case len(path) == 2 && it.name == "":
			for _, sub := range it.items {
				if sub.name == path[1] && p.hideName {
					fmt.Fprintln(p.out, sub.value)
				} else if sub.name == path[1] {
					fmt.Fprintf(p.out, "%s = %s\n", strings.Join(path, "/"), sub.value)
				}
			}
		}
	}
}

// inside prints the setting, or the section, that stands at a longer path:
// service/imap/executable.
func (p *printer) inside(list []item, rest, path []string) {
	for _, it := range list {
		switch {
		case len(rest) == 1 && !it.block && it.name == rest[0]:
			p.named(strings.Join(path, "/"), it.value)
		case len(rest) > 1 && it.block && it.label == rest[0] && escapeSection(it.name) == rest[1] && len(rest) == 2:
			p.print([]item{it}, "")
		case len(rest) > 1 && it.block && it.label == rest[0] && escapeSection(it.name) == rest[1]:
			p.inside(it.items, rest[2:], path)
		}
	}
}

// named prints a setting that was asked for.
func (p *printer) named(name, value string) {
	if p.hideName {
		fmt.Fprintln(p.out, value)
		return
	}
	fmt.Fprintf(p.out, "%s = %s\n", name, value)
}
