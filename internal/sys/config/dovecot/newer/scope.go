package newer

import (
	"os"
	"slices"
	"strings"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot/lex"
)

// sort is what a section does to the settings in it.
type sort int

const (
	rootScope  sort = iota
	connection      // protocol, local, local_name, remote: for some connections only
	entry           // a named list filter: namespace inbox, passdb pam, service auth ...
	prefixed        // a named filter: ssl_server { cert_file } is ssl_server_cert_file
	list            // a boolean or string list: mail_plugins { quota = yes }
	group           // group @label name { }
)

// setting is one setting of a section, as it was written.
type setting struct {
	name, value string
	fromFile    bool // name = <value
	items       []item
	replaces    bool // items stand alone, they are not added to the outer list
	file        string
	line        int
}

// item is one word of a list: a boolean list's value is yes or no.
type item struct{ name, value string }

// scope is a section with what stands in it.
type scope struct {
	sort       sort
	kind, name string
	file       string
	line       int
	parent     *scope
	settings   []*setting
	scopes     []*scope
	into       *setting // of a list
	includes   []string // @label names to take in
}

func (s *scope) find(name string) *setting {
	for _, x := range slices.Backward(s.settings) {
		if x.name == name {
			return x
		}
	}
	return nil
}

// outer looks a setting up here and in the sections around.
func (s *scope) outer(name string) *setting {
	for ; s != nil; s = s.parent {
		if x := s.find(name); x != nil {
			return x
		}
	}
	return nil
}

// entries are the named list filters and where they may stand: "" is the
// root and the sections for connections.
var entries = map[string]string{
	"namespace": "", "passdb": "", "userdb": "", "service": "", "event_exporter": "", "metric": "", "mailbox": "namespace ",
	"unix_listener": "service", "inet_listener": "service", "fifo_listener": "service",
	"sieve_script": " any", "quota": " any", "quota_warning": " any", "acl": " any", "fts": " any", "language": " any", "dict": " any", "fs": " any",
	"mysql": " any", "pgsql": " any", "sqlite": " any", "cassandra": " any", "dict_map": " any", "metric_defaults": " any",
	"dict_map_key_field": " any", "dict_map_value_field": " any", "push_notification": " any", "mail_log": " any", "sieve_plugins": " any",
	"imapsieve_from": " any", "spamtest": " any", "quota_clone": " any", "fs_compress": " any", "execute": " any",
}

// filters are the named filters that have no name of their own; the settings
// that begin with the filter's name may leave it out inside.
var filters = []string{"ssl_server", "ssl_client", "auth_policy", "mail_attribute", "mail_ext_attachment", "imapc", "pop3c", "maildir", "mbox", "mdbox",
	"sdbox", "layout_fs", "layout_index", "layout_maildir++", "layout_imapdir", "layout_imapc", "doveadm_server", "dict_server", "stats_server",
	"passdb_static", "passdb_pam", "passdb_ldap", "passdb_lua", "passdb_passwd_file", "passdb_passwd", "passdb_sql", "passdb_imapc", "userdb_static",
	"userdb_ldap", "userdb_lua", "userdb_passwd_file", "userdb_passwd", "userdb_sql", "oauth2_local_validation", "acl_sharing_map", "quota_over_status",
	"quota_count", "quota_maildir", "imap_metadata", "fts_solr", "fts_flatcurve", "fts_tika", "oauth2", "notify_status", "last_login", "welcome", "mail_lua",
	"push_notification_ox", "push_notification_lua", "auth_oauth2", "sieve_storage", "lda", "submission_relay"}

// stringLists are the settings whose section holds names with values.
var stringLists = []string{"passdb_fields", "userdb_fields", "imap_id_send", "lua_settings", "import_environment", "auth_policy_request_attributes",
	"userdb_ldap_iterate_fields", "oauth2_fields", "fs_randomfail_ops"}

// apply acts on one logical line.
func (r *reader) apply(l lex.Line) error {
	switch l.Kind {
	case lex.Begin, lex.Group:
		return r.begin(l)
	case lex.End:
		if len(r.stack) == 1 {
			return r.Fail("Unexpected '}'", "there is no open section to close")
		}
		r.stack = r.stack[:len(r.stack)-1]
		return nil
	}
	if r.root.find("dovecot_config_version") == nil && l.Key != "dovecot_config_version" {
		return r.Fail("The first setting must be dovecot_config_version", "begin the file with dovecot_config_version = 2.4.0")
	}
	return r.setting(l)
}

// begin opens a section.
func (r *reader) begin(l lex.Line) error {
	t := r.top()
	s := &scope{kind: l.Key, name: l.Value, file: r.File, line: r.Line, parent: t}
	if len(t.scopes) > maxSettings {
		r.Errors = append(r.Errors, r.Error("too many sections in one section", ""))
		return lex.ErrStop
	}
	if len(r.stack) > maxDeep {
		r.stack = append(r.stack, s)
		return r.Fail("sections are nested too deep", "")
	}
	problem := r.place(s, l)
	r.stack = append(r.stack, s)
	if problem != "" {
		return r.Fail(problem, "no section of that name belongs here")
	}
	return nil
}

// place finds out what a section is and puts it, or joins it to one of the same name.
func (r *reader) place(s *scope, l lex.Line) (problem string) {
	t := r.top()
	if t.sort == entry || t.sort == prefixed {
		// quota x { warning y { } } is quota_warning y { }.
		if full := t.kind + "_" + s.kind; entries[full] != "" && s.name != "" {
			s.kind = full
		}
	}
	switch where, isEntry := entries[s.kind]; {
	case l.Kind == lex.Group:
		s.sort = group
	case s.kind == "protocol" || s.kind == "local" || s.kind == "local_name" || s.kind == "remote":
		s.sort = connection
	case isEntry && s.name != "":
		if s.sort = entry; where == "service" && t.kind != "service" {
			return "Unknown section name: " + s.kind
		}
	case isEntry && (s.kind == "passdb" || s.kind == "userdb" || s.kind == "namespace" || s.kind == "service"):
		return s.kind + " { } is missing section name"
	case s.name == "" && slices.Contains(filters, r.prefix(t)+s.kind):
		s.sort, s.kind = prefixed, r.prefix(t)+s.kind
	case s.name == "" && r.isList(t, s.kind):
		s.sort = list
		s.into = r.listSetting(t, r.resolve(t, s.kind))
		return ""
	default:
		return "Unknown section name: " + s.kind
	}
	if old := t.same(s); old != nil {
		*s = *old
		r.replace(old, s)
		return ""
	}
	t.scopes = append(t.scopes, s)
	return ""
}

// same finds an earlier section of that kind and name.
func (s *scope) same(want *scope) *scope {
	for _, x := range s.scopes {
		if x.sort == want.sort && x.kind == want.kind && x.name == want.name {
			return x
		}
	}
	return nil
}

// replace puts a section in the place of the earlier one that it goes on with.
func (r *reader) replace(old, s *scope) {
	t := r.top()
	t.scopes[slices.Index(t.scopes, old)] = s
	for _, sub := range s.scopes {
		sub.parent = s
	}
}

// prefix is what a section inside a named filter may leave out.
func (r *reader) prefix(t *scope) string {
	if t.sort == prefixed {
		return t.kind + "_"
	}
	return ""
}

// isList tells whether a section is a list of words.
func (r *reader) isList(t *scope, key string) bool {
	name := r.resolve(t, key)
	if slices.Contains(stringLists, name) || isPlugin(name) {
		return true
	}
	kind, _, ok := r.known("", name)
	return ok && (kind == "str" || kind == "vars") || name == "passdb_mechanisms_filter" || name == "mailbox_special_use" || name == "service_extra_groups"
}

// listSetting returns the setting of a list, made if there is none.
func (r *reader) listSetting(t *scope, name string) *setting {
	if s := t.find(name); s != nil {
		return s
	}
	s := &setting{name: name, file: r.File, line: r.Line}
	t.settings = append(t.settings, s)
	return s
}

// resolve finds the whole name of a setting that may leave out the name of the
// section in which it stands: inside passdb sql, query is passdb_sql_query.
func (r *reader) resolve(t *scope, key string) string {
	switch t.sort {
	case prefixed:
		if full := t.kind + "_" + key; r.exists(full) {
			return full
		}
	case entry:
		if full := t.kind + "_" + t.name + "_" + key; !isPlugin(full) && r.exists(full) {
			return full
		}
		if full := t.kind + "_" + key; r.exists(full) {
			return full
		}
	}
	return key
}

// exists tells whether 2.4 has a setting of that name.
func (r *reader) exists(name string) bool {
	if _, ok := rename(name); ok || isLocation(name) || isEntrySetting(name) || isPlugin(name) {
		return true
	}
	_, _, ok := r.known("", name)
	return ok && !removed(name)
}

// setting takes in one setting.
func (r *reader) setting(l lex.Line) error {
	t := r.top()
	if len(t.settings) > maxSettings || t.into != nil && len(t.into.items) > maxSettings {
		r.Errors = append(r.Errors, r.Error("too many settings in one section", ""))
		return lex.ErrStop
	}
	if t.sort == list {
		t.into.items = setItem(t.into.items, item{l.Key, l.Value})
		return nil
	}
	if strings.HasPrefix(l.Key, "@") {
		for o := t; o != nil; o = o.parent {
			if o.sort == group {
				return r.Fail("Recursive include groups not allowed", "write what the other group says")
			}
		}
		t.includes = append(t.includes, l.Key+" "+l.Value)
		return nil
	}
	name := r.resolve(t, l.Key)
	if !r.exists(name) {
		return r.Fail(l.Key+": Unknown setting: "+name, r.suggest(name))
	}
	value := l.Value
	if l.Kind == lex.Variable {
		var problem string
		if value, problem = r.variables(l.Value); problem != "" {
			return r.Fail(l.Key+": "+problem, "refer to an earlier setting as $SET:name, or put the value in quotes")
		}
	}
	s := &setting{name: name, value: value, fromFile: l.Kind == lex.File, replaces: true, file: r.File, line: r.Line}
	t.settings = slices.DeleteFunc(t.settings, func(x *setting) bool { return x.name == name })
	t.settings = append(t.settings, s)
	return nil
}

func setItem(items []item, it item) []item {
	for i := range items {
		if items[i].name == it.name {
			items[i] = it
			return items
		}
	}
	return append(items, it)
}

// variables replaces the words $SET:name and $ENV:name of a value.
func (r *reader) variables(value string) (text, problem string) {
	words := strings.Fields(value)
	size := 0
	for i, w := range words {
		if env, ok := strings.CutPrefix(w, "$ENV:"); ok {
			words[i] = os.Getenv(env)
		} else if name, ok := strings.CutPrefix(w, "$SET:"); ok {
			x := r.top().outer(name)
			_, def, known := r.known("", name)
			switch {
			case x != nil:
				words[i] = x.value
			case known:
				words[i] = def
			case r.exists(name):
				words[i] = ""
			default:
				return "", "Unknown setting: " + name
			}
		}
		if size += len(words[i]); size > base.MaxExpand {
			return "", "the value grows too long"
		}
	}
	return strings.Join(words, " "), ""
}

// suggest names what may have been meant: the name that replaced one of 2.3, or
// a name that is nearly the same.
func (r *reader) suggest(name string) string {
	if to := renamedFrom(name); to != "" {
		return "Dovecot 2.4 calls it " + to
	}
	if name == "mail_location" {
		return "Dovecot 2.4 has mail_driver, mail_path and mail_inbox_path instead"
	}
	best, distance := "", 4
	for _, n := range names() {
		if d := base.Distance(name, n.name); d < distance {
			best, distance = n.name, d
		}
	}
	if best == "" {
		return "doveconf --to 2.4 writes a configuration of 2.3 in the words of 2.4"
	}
	return "did you mean " + best + "?"
}
