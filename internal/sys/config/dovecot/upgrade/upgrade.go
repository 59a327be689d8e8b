// Package upgrade translates whole configurations: Newer writes one in the
// syntax of Dovecot 2.4, Older takes one that was read from that syntax back
// to 2.3. What 2.4 has no words for is kept in comments ("#2.3: WHERE: NAME =
// VALUE"), so that the way back loses nothing. cmd/mailadm's doveconf --to uses it.
package upgrade

import (
	"fmt"
	"slices"
	"strings"

	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/newer"
)

// version is the version of the syntax that is written: every 2.4 reads it.
const version = "2.4.0"

// writer writes one configuration.
type writer struct {
	b      strings.Builder
	indent string
	used   map[string]int // names of passdb and userdb sections
	files  func(path string) (string, error)
}

// Newer writes a configuration in the syntax of 2.4. files reads the external
// files of databases; nil leaves their contents out. The error is that of
// reading the text back.
func Newer(d *dovecot.Config, files func(path string) (string, error)) (string, error) {
	w := &writer{used: map[string]int{}, files: files}
	w.line("dovecot_config_version", version)
	w.line("dovecot_storage_version", version)
	w.block(d.Root(), "")
	d.Filters(func(f dovecot.Filter, b *dovecot.Block) {
		heads := dovecot.FilterHeads(f)
		if len(b.Values) == 0 && len(b.Blocks) == 0 {
			return
		}
		for _, h := range heads {
			w.open(h[0], h[1])
		}
		w.block(b, "")
		for range heads {
			w.close()
		}
	})
	text := w.b.String()
	back, err := dovecot.Parse(d.Path, text)
	if err != nil {
		return text, fmt.Errorf("the translation cannot be read: %w", err)
	}
	if lost := differences(d, back); lost != "" {
		text += "\n# What Dovecot 2.4 does not have, or says in other words; for the way back to 2.3:\n" + lost
	}
	return text, nil
}

// Older puts what the comments of a translation kept into a configuration that
// was read from the syntax of 2.4.
func Older(d *dovecot.Config) {
	for _, n := range d.Notes {
		restore(d, n)
	}
}

func (w *writer) line(name, value string) {
	w.b.WriteString(w.indent + name + " = " + quote(value) + "\n")
}

func (w *writer) open(kind, name string) {
	head := kind
	if name != "" {
		head += " " + sectionName(name)
	}
	w.b.WriteString(w.indent + head + " {\n")
	w.indent += "  "
}

func (w *writer) close() {
	w.indent = w.indent[2:]
	w.b.WriteString(w.indent + "}\n")
}

func sectionName(s string) string {
	if s == "" || strings.ContainsAny(s, " \t\"{}#") {
		return `"` + escape(s) + `"`
	}
	return s
}

func escape(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s) }

// quote puts a value in quotes when it would not be read back as it is.
func quote(s string) string {
	if s != "" && (strings.ContainsAny(s, "#$") || strings.ContainsAny(s[:1], "\"'<") || strings.TrimSpace(s) != s || strings.HasSuffix(s, `\`) ||
		strings.Count(s, `"`)%2 == 1 || strings.Count(s, "'")%2 == 1) {
		return `"` + escape(s) + `"`
	}
	return s
}

// block writes the settings and sections of the root or of a filter.
func (w *writer) block(b *dovecot.Block, path string) {
	for _, v := range b.Values {
		w.value(v)
	}
	for _, s := range b.Blocks {
		switch s.Kind {
		case "passdb", "userdb":
			w.auth(s)
		case "namespace":
			w.namespace(s)
		case "service":
			w.service(s)
		case "plugin":
			w.plugin(s)
		}
	}
}

// value writes a setting of the root or of a filter; what cannot be said is
// found by comparing, and kept in comments.
func (w *writer) value(v dovecot.Value) {
	name, turn, turned := newer.Older(v.Name)
	switch {
	case v.Name == "mail_location":
		w.location(v.Value)
	case newer.Removed(v.Name):
	case v.FromFile && turn == "file":
		w.line(name, v.Value)
	case v.FromFile && !turned:
		w.b.WriteString(w.indent + v.Name + " = <" + v.Value + "\n")
	case turned && turn == "file":
		w.line(name, v.Value)
	case newer.Literal(v.Name):
		w.line(v.Name, v.Value)
	case turned:
		if value, ok := turnValue(name, turn, v.Value); ok {
			w.line(name, value)
		}
	default:
		if value, err := newer.ExpressionNewer(v.Name, v.Value); err == nil {
			w.line(v.Name, value)
		}
	}
}

// turnValue says a value in the words of 2.4.
func turnValue(name, turn, value string) (string, bool) {
	var err error
	switch turn {
	case "not":
		value = map[string]string{"yes": "no", "no": "yes"}[value]
	case "prefer":
		value = map[string]string{"yes": "server", "no": "client"}[value]
	case "unlimited":
		if value == "0" {
			value = "unlimited"
		}
	case "infinite":
		if value == "4294967295 secs" {
			value = "infinite"
		}
	case "uidl":
		value, err = newer.UIDLNewer(value)
	default:
		value, err = newer.ExpressionNewer(name, value)
	}
	return value, err == nil && (value != "" || turn == "same" || turn == "format")
}

func (w *writer) location(value string) {
	list := newer.Location(value)
	for i, kv := range list {
		v, err := newer.ExpressionNewer(kv[0], kv[1])
		if err != nil {
			return
		}
		list[i][1] = v
	}
	for _, kv := range list {
		w.line(kv[0], kv[1])
	}
}

// owner is what a shared namespace says of a mailbox's owner.
var owner = strings.NewReplacer("%%u", "%{owner_user}", "%%n", "%{owner_username}", "%%d", "%{owner_domain}", "%%h", "%{owner_home}")

func (w *writer) namespace(b *dovecot.Block) {
	name := b.Name
	if name == "" {
		w.used["namespace"]++
		name = fmt.Sprintf("namespace%d", w.used["namespace"])
	}
	w.open("namespace", name)
	for _, v := range b.Values {
		if text(b, "type") == "shared" {
			v.Value = owner.Replace(v.Value)
		}
		switch {
		case v.Name == "location" && v.Value != "":
			w.location(v.Value)
		case v.Name != "location":
			if value, err := newer.ExpressionNewer(v.Name, v.Value); err == nil {
				w.line(v.Name, value)
			}
		}
	}
	for _, m := range b.Blocks {
		w.open("mailbox", orName(m.Name, "INBOX"))
		for _, v := range m.Values {
			if v.Name != "name" && v.Name != "driver" {
				w.line(v.Name, v.Value)
			}
		}
		w.close()
	}
	w.close()
}

func orName(name, other string) string {
	if name == "" {
		return other
	}
	return name
}

// goneServices are those of 2.3 that 2.4 does not have.
var goneServices = []string{"aggregator", "director", "old-stats", "replicator"}

// empty tells a section that sets nothing.
func empty(b *dovecot.Block) bool {
	return len(b.Values) == 0 && !slices.ContainsFunc(b.Blocks, func(s *dovecot.Block) bool { return !empty(s) })
}

func (w *writer) service(b *dovecot.Block) {
	if slices.Contains(goneServices, b.Name) || b.Name == "" || empty(b) {
		return
	}
	w.open("service", b.Name)
	for _, v := range b.Values {
		name, turn, turned := newer.Older("service/" + v.Name)
		switch {
		case v.Name == "name":
		case turned:
			if value, ok := turnValue(name, turn, v.Value); ok {
				w.line(strings.TrimPrefix(name, "service_"), value)
			}
		case v.Value == "18446744073709551615 B":
			w.line(v.Name, "unlimited")
		default:
			w.line(v.Name, v.Value)
		}
	}
	for _, l := range b.Blocks {
		if empty(l) {
			continue
		}
		if l.Name == "" {
			w.used["listener"]++
		}
		w.open(l.Kind, orName(l.Name, fmt.Sprintf("listener%d", w.used["listener"])))
		for _, v := range l.Values {
			name := v.Name
			if name == "address" {
				name = "listen"
			}
			if name != "name" && name != "path" {
				w.line(name, v.Value)
			}
		}
		w.close()
	}
	w.close()
}

// samePlugin are settings of plugin { } that are global settings of 2.4 under the
// same name.
var samePlugin = []string{"acl_globals_only", "acl_defaults_from_inbox", "fts_autoindex", "imapsieve_url", "lazy_expunge_only_last_instance", "mail_log_events",
	"mail_log_fields", "mail_log_cached_only", "sieve_extensions", "sieve_global_extensions", "sieve_max_actions", "sieve_max_redirects",
	"sieve_max_script_size", "sieve_pipe_bin_dir", "sieve_filter_bin_dir", "sieve_execute_bin_dir", "sieve_pipe_socket_dir", "sieve_plugins",
	"sieve_quota_max_scripts", "sieve_quota_max_storage", "sieve_redirect_envelope_from", "sieve_user_email", "sieve_user_log",
	"sieve_vacation_default_period", "sieve_vacation_max_period", "sieve_vacation_min_period", "sieve_vacation_send_from_recipient",
	"sieve_vacation_use_original_recipient", "quota_exceeded_message"}

// plugin writes what is the same in 2.4, the main Sieve scripts and the first quota.
func (w *writer) plugin(b *dovecot.Block) {
	for _, v := range b.Values {
		value, err := newer.ExpressionNewer(v.Name, v.Value)
		switch {
		case err != nil || v.FromFile:
		case slices.Contains(samePlugin, v.Name):
			w.line(v.Name, value)
		case v.Name == "sieve" && text(b, "sieve_dir") != "" && !strings.Contains(value, ";"):
			dir, _ := newer.ExpressionNewer("sieve_dir", text(b, "sieve_dir"))
			w.sieve("personal", "", dir+";active="+strings.TrimPrefix(value, "file:"))
		case v.Name == "sieve":
			w.sieve("personal", "", value)
		case v.Name == "sieve_before" || v.Name == "sieve_after" || v.Name == "sieve_default":
			w.sieve(v.Name[len("sieve_"):], v.Name[len("sieve_"):], value)
		case v.Name == "quota":
			w.quota(value, text(b, "quota_rule"))
		}
	}
}

// quota writes the root of a quota, and its limit for all mailboxes.
func (w *writer) quota(value, rule string) {
	driver, name, _ := strings.Cut(value, ":")
	name, _, _ = strings.Cut(name, ":")
	w.open("quota", orName(name, "User quota"))
	w.line("driver", driver)
	if limit, ok := strings.CutPrefix(rule, "*:storage="); ok && !strings.ContainsAny(limit, ":%+") {
		w.line("storage_size", limit)
	}
	w.close()
}

func (w *writer) sieve(name, kind, value string) {
	w.open("sieve_script", name)
	if kind != "" {
		w.line("type", kind)
	}
	path := strings.TrimPrefix(value, "file:")
	path, active, ok := strings.Cut(path, ";active=")
	w.line("path", path)
	if ok {
		w.line("active_path", active)
	}
	w.close()
}
