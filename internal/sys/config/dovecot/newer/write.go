package newer

import (
	"slices"
	"strings"

	"packetboat/internal/sys/config/dovecot/lex"
)

// out collects the lines of 2.3.
type out struct{ lines []Line }

func (o *out) begin(s *scope, kind, name string) {
	o.lines = append(o.lines, Line{lex.Line{Kind: lex.Begin, Key: kind, Value: name}, s.file, s.line})
}

func (o *out) end(s *scope) {
	o.lines = append(o.lines, Line{lex.Line{Kind: lex.End}, s.file, s.line})
}

func (o *out) put(file string, line int, name, value string) {
	o.lines = append(o.lines, Line{lex.Line{Kind: lex.Value, Key: name, Value: value}, file, line})
}

func (o *out) putFile(s *setting, name, path string) {
	o.lines = append(o.lines, Line{lex.Line{Kind: lex.File, Key: name, Value: path}, s.file, s.line})
}

// text is the value of a setting; of a list its words.
func (s *setting) text() string {
	if s.items == nil {
		return s.value
	}
	var words []string
	for w := range strings.FieldsFuncSeq(s.value, func(c rune) bool { return c == ' ' || c == ',' }) {
		words = append(words, w)
	}
	return strings.Join(withItems(words, s.items), " ")
}

// withItems adds the words of a boolean list that are yes and takes out the others.
func withItems(words []string, items []item) []string {
	for _, it := range items {
		kept := words[:0]
		for _, w := range words {
			if w != it.name {
				kept = append(kept, w)
			}
		}
		if words = kept; !strings.EqualFold(it.value, "no") {
			words = append(words, it.name)
		}
	}
	return words
}

// writeRoot writes everything.
func (r *reader) writeRoot() {
	var o out
	r.takeGroups(r.root)
	r.writeScope(r.root, &o)
	r.res.Lines = o.lines
	if v := r.root.find("dovecot_config_version"); v != nil {
		r.res.Version = v.value
	}
}

// takeGroups puts the settings of included groups below those of the sections
// that include them.
func (r *reader) takeGroups(s *scope) {
	for _, inc := range s.includes {
		label, name, _ := strings.Cut(inc, " ")
		var found *scope
		for _, g := range r.root.scopes {
			if g.sort == group && g.kind == label && g.name == name {
				found = g
			}
		}
		if found == nil {
			r.Errors = append(r.Errors, r.at(s, "Unknown group "+label+"="+name))
			continue
		}
		for _, x := range found.settings {
			if full := r.resolve(s, x.name); s.find(full) == nil {
				c := *x
				c.name = full
				s.settings = append(s.settings, &c)
			}
		}
		for _, sub := range found.scopes {
			if s.same(sub) == nil {
				s.scopes = append(s.scopes, sub)
			}
		}
	}
	for _, sub := range s.scopes {
		r.takeGroups(sub)
	}
}

func (r *reader) at(s *scope, text string) error {
	r.File, r.Line = s.file, s.line
	return r.Error(text, "")
}

// writeScope writes the settings and sections of the root or of a section for
// connections.
func (r *reader) writeScope(s *scope, o *out) {
	if value, at := r.location(s); at != nil {
		o.put(at.file, at.line, "mail_location", value)
	}
	for _, x := range s.settings {
		r.writeSetting(s, x, o)
	}
	for _, sub := range s.scopes {
		switch {
		case sub.sort == connection:
			o.begin(sub, sub.kind, sub.name)
			r.writeScope(sub, o)
			o.end(sub)
		case sub.sort == prefixed:
			r.writePrefixed(s, sub, o)
		case sub.sort != entry:
		case sub.kind == "passdb" || sub.kind == "userdb":
			r.writeAuth(sub, o)
			r.writeKept(sub, sub.kind+"/"+sub.name, o)
		case sub.kind == "namespace":
			r.writeNamespace(sub, o)
			r.writeKept(sub, "namespace/"+sub.name, o)
			for _, m := range sub.scopes {
				r.writeKept(m, "namespace/"+sub.name+"/mailbox/"+m.name, o)
			}
		case sub.kind == "service":
			r.writeService(sub, o)
		default:
			r.writePlugin(sub, o)
		}
	}
}

// writePrefixed writes what stands in a named filter: its own settings count
// everywhere, others only where the filter applies, which is nowhere here.
func (r *reader) writePrefixed(outer, s *scope, o *out) {
	for _, x := range s.settings {
		if strings.HasPrefix(x.name, s.kind+"_") {
			r.writeSetting(outer, x, o)
		} else if d := outer.outer("mail_driver"); d != nil && d.value == s.kind && isLocation(x.name) {
			r.refuse(x, "is not supported inside "+s.kind+" { }; set it outside")
		}
	}
	if len(s.scopes) > 0 && (s.kind == "mail_attribute" || s.kind == "mail_ext_attachment") {
		r.refuse(&setting{name: s.kind + " { }", file: s.file, line: s.line}, "is not supported")
	}
	r.writeKept(s, s.kind, o)
}

// writeKept keeps the sections of plugins that stand inside another section, and
// the plugins' settings there, as settings of plugin { } with the whole path as
// their name: nothing acts on them yet, and nothing is lost.
func (r *reader) writeKept(s *scope, path string, o *out) {
	keep := &scope{file: s.file, line: s.line}
	for _, sub := range s.scopes {
		if sub.sort == entry && entries[sub.kind] == " any" {
			keep.scopes = append(keep.scopes, sub)
		}
	}
	for _, x := range s.settings {
		if s.sort == entry && (isPlugin(x.name) || isQuery(x.name)) {
			keep.settings = append(keep.settings, x)
		}
	}
	if len(keep.scopes) > 0 || len(keep.settings) > 0 {
		o.begin(keep, "plugin", "")
		r.writeTree(keep, path, o)
		o.end(keep)
	}
}

// writeSetting writes a setting of the root.
func (r *reader) writeSetting(s *scope, x *setting, o *out) {
	row, turned := rename(x.name)
	switch {
	case isLocation(x.name):
		return
	case isPlugin(x.name):
		o.begin(s.at(x), "plugin", "")
		o.put(x.file, x.line, x.name, r.expand(&setting{name: x.name, value: x.joined(), file: x.file, line: x.line}))
		o.end(s.at(x))
		return
	case isEntrySetting(x.name):
		r.refuse(x, "is not supported outside of its section")
		return
	case !turned:
		r.writeSame(s, x, o)
		return
	}
	r.turn(row, x, o)
}

// at is a section that stands where a setting does.
func (s *scope) at(x *setting) *scope { return &scope{file: x.file, line: x.line} }

// joined is the value of a list: of a boolean one the names that are yes, of a
// string list name=value words.
func (s *setting) joined() string {
	if s.items == nil {
		return s.value
	}
	boolean := !slices.ContainsFunc(s.items, func(it item) bool { return !strings.EqualFold(it.value, "yes") && !strings.EqualFold(it.value, "no") })
	if boolean {
		return s.text()
	}
	var words []string
	for _, it := range s.items {
		words = append(words, it.name+"="+it.value)
	}
	return strings.Join(words, " ")
}

// writeSame writes a setting that both versions have.
func (r *reader) writeSame(s *scope, x *setting, o *out) {
	kind, def, _ := r.known("", x.name)
	value := x.value
	switch {
	case x.fromFile:
		o.putFile(x, x.name, value)
		return
	case x.name == "imap_id_send" && x.items != nil:
		var words []string
		for _, it := range x.items {
			words = append(words, it.name, it.value)
		}
		value = strings.Join(words, " ")
	case x.items != nil:
		value = r.inherit(s, x, def)
	case value == "unlimited" || value == "infinite":
		value = endless(kind, value)
	}
	if (kind == "str" || kind == "vars") && !Literal(x.name) {
		value = r.expand(&setting{name: x.name, value: value, file: x.file, line: x.line})
	}
	o.put(x.file, x.line, x.name, value)
}

// endless is how 2.3 writes a size, number or time without limit.
func endless(kind, value string) string {
	switch kind {
	case "size":
		return "18446744073709551615 B"
	case "uint":
		return "4294967295"
	case "time", "msecs":
		return "4294967295 secs"
	}
	return value
}

// Literal tells the settings whose percent signs are no variables: those of
// strftime(3).
func Literal(name string) bool { return name == "log_timestamp" }

// inherit adds the items of a list to what it is outside of its section.
func (r *reader) inherit(s *scope, x *setting, def string) string {
	if x.replaces || s.parent == nil {
		if !x.replaces {
			c := *x
			c.value = def
			return c.text()
		}
		return x.text()
	}
	c := *x
	if c.value = def; s.parent != nil {
		if up := s.parent.outer(x.name); up != nil {
			c.value = r.inherit(s.parent, up, def)
		}
	}
	return c.text()
}

// turn writes a setting that 2.3 calls otherwise or says in other words.
func (r *reader) turn(row entryRow, x *setting, o *out) {
	value := x.value
	var err error
	switch row.turn {
	case "version", "accepted":
		return
	case "refused":
		if !strings.EqualFold(value, row.old) {
			r.refuse(x, "is not supported")
		}
		return
	case "not":
		switch {
		case strings.EqualFold(value, "no"):
			value = "yes"
		case strings.EqualFold(value, "yes") || strings.EqualFold(value, "y") || value == "1":
			value = "no"
		}
	case "file":
		if value != "" {
			o.putFile(x, row.old, value)
			return
		}
	case "prefer":
		if value = map[string]string{"client": "no", "server": "yes"}[value]; value == "" {
			r.bad(x, "Invalid value: "+x.value, "write client or server")
			return
		}
	case "unlimited":
		if value == "unlimited" {
			value = "0"
		}
	case "uidl":
		value, err = uidl(value)
	case "format", "same":
		value = r.expand(x)
	}
	if err != nil {
		r.bad(x, err.Error(), "")
		return
	}
	o.put(x.file, x.line, row.old, value)
}
