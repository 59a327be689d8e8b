package newer

import "strings"

// writeNamespace writes a namespace with its mailboxes.
func (r *reader) writeNamespace(s *scope, o *out) {
	o.begin(s, "namespace", s.name)
	if value, at := r.location(s); at != nil {
		o.put(at.file, at.line, "location", value)
	}
	for _, x := range s.settings {
		name, ok := strings.CutPrefix(x.name, "namespace_")
		switch {
		case isLocation(x.name):
		case ok && name == "name":
			r.refuse(x, "is not supported")
		case ok:
			o.put(x.file, x.line, name, r.expand(x))
		case !isPlugin(x.name):
			r.refuse(x, "is not supported inside namespace { }")
		}
	}
	for _, m := range s.scopes {
		if m.kind == "mailbox" {
			r.writeMailbox(m, o)
		}
	}
	o.end(s)
}

// writeMailbox writes a mailbox of a namespace; its name is that of the section,
// or mailbox_name.
func (r *reader) writeMailbox(s *scope, o *out) {
	name := s.name
	if x := s.find("mailbox_name"); x != nil {
		name = x.value
	}
	o.begin(s, "mailbox", name)
	for _, x := range s.settings {
		switch key, ok := strings.CutPrefix(x.name, "mailbox_"); {
		case x.name == "mailbox_name":
		case ok && isEntrySetting(x.name):
			o.put(x.file, x.line, key, x.text())
		case !isPlugin(x.name):
			r.refuse(x, "is not supported inside mailbox { }")
		}
	}
	o.end(s)
}

// writeService writes a service with its listeners.
func (r *reader) writeService(s *scope, o *out) {
	o.begin(s, "service", s.name)
	for _, x := range s.settings {
		row, turned := rename(x.name)
		name, ok := strings.CutPrefix(x.name, "service_")
		old, inService := strings.CutPrefix(row.old, "service/")
		switch {
		case turned && inService:
			r.turnService(row, old, x, o)
		case turned && row.turn == "accepted":
		case ok && isEntrySetting(x.name):
			o.put(x.file, x.line, name, unlimited(x.text()))
		default:
			r.refuse(x, "is not supported inside service { }")
		}
	}
	for _, l := range s.scopes {
		if strings.HasSuffix(l.kind, "_listener") {
			r.writeListener(l, o)
		}
	}
	o.end(s)
}

// unlimited is a limit that 2.3 writes as 0: its own default for it.
func unlimited(value string) string {
	if value == "unlimited" {
		return "18446744073709551615 B"
	}
	return value
}

func (r *reader) turnService(row entryRow, old string, x *setting, o *out) {
	value := x.value
	switch {
	case row.turn == "unlimited" && value == "unlimited":
		value = "0"
	case row.turn == "infinite" && (value == "infinite" || value == "infinity" || value == "unlimited"):
		value = "4294967295 secs"
	}
	o.put(x.file, x.line, old, value)
}

// writeListener writes a listener of a service; listen is what 2.3 calls address.
func (r *reader) writeListener(s *scope, o *out) {
	name := s.name
	if x := s.find(s.kind + "_path"); x != nil {
		name = x.value
	}
	o.begin(s, s.kind, name)
	for _, x := range s.settings {
		key, ok := strings.CutPrefix(x.name, s.kind+"_")
		row, turned := rename(x.name)
		switch {
		case x.name == "listen" || key == "listen":
			o.put(x.file, x.line, "address", x.text())
		case key == "path" && ok, turned && row.turn == "accepted":
		case ok && isEntrySetting(x.name):
			o.put(x.file, x.line, key, x.value)
		default:
			r.refuse(x, "is not supported inside "+s.kind+" { }")
		}
	}
	o.end(s)
}

// writePlugin writes a section of a plugin: its settings become settings of
// plugin { } with the section's kind and name before theirs. Those of Sieve and of
// quotas get the names that 2.3 has for them.
func (r *reader) writePlugin(s *scope, o *out) {
	if len(s.settings) == 0 && len(s.scopes) == 0 {
		return
	}
	o.begin(s, "plugin", "")
	if s.kind == "sieve_script" {
		r.writeSieve(s, o)
	} else {
		r.writeTree(s, s.kind+"/"+s.name, o)
	}
	o.end(s)
}

func (r *reader) writeTree(s *scope, path string, o *out) {
	for _, x := range s.settings {
		o.put(x.file, x.line, path+"/"+x.name, r.expand(&setting{name: x.name, value: x.joined(), file: x.file, line: x.line}))
	}
	for _, sub := range s.scopes {
		r.writeTree(sub, path+"/"+sub.kind+"/"+sub.name, o)
	}
}

// writeSieve writes a sieve_script: personal ones are plugin/sieve, the others
// sieve_before, sieve_after and so on.
func (r *reader) writeSieve(s *scope, o *out) {
	get := func(name string) string {
		if x := s.find("sieve_script_" + name); x != nil {
			return r.expand(x)
		}
		return ""
	}
	kind, path, active := get("type"), get("path"), get("active_path")
	if driver := get("driver"); driver != "" && driver != "file" {
		path = driver + ":" + path
	} else if active != "" {
		path = "file:" + path + ";active=" + active
	}
	name := map[string]string{"": "sieve", "personal": "sieve", "before": "sieve_before", "after": "sieve_after", "default": "sieve_default",
		"global": "sieve_global", "discard": "sieve_discard"}[kind]
	if name == "" {
		name = "sieve_script/" + s.name
	}
	o.put(s.file, s.line, name, path)
}
