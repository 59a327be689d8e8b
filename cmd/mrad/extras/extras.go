// Package extras does what some plugins of Dovecot do beside serving a session:
// the lines of mail_log, the note of last_login, and autoexpunge at a session's
// end. The parent reads the settings; a user's process carries them out.
package extras

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"packetboat/internal/auth"
	"packetboat/internal/store/audit"
	"packetboat/internal/sys/config"
)

// Options are the settings of one protocol, in a form that goes over a channel.
type Options struct {
	Events audit.Kind // mail_log_events; 0 = nothing is told
	Fields []string   // mail_log_fields
	// LoginDict is the file of last_login_dict and LoginKey the name in it, with
	// variables; empty = nothing is noted. Milli says that the time is in ms.
	LoginDict, LoginKey string
	Precision           string // of the time: s, ms, us, ns
	Expire              []Expire
}

// Expire is a folder whose old messages go when a session ends: autoexpunge and
// autoexpunge_max_mails of a mailbox { } block.
type Expire struct {
	Space int    // number of its namespace
	Name  string // with * and ? as in LIST, and the namespace's separator
	Age   time.Duration
	Max   int // messages that may stay; 0 = any number
}

// Empty tells whether there is nothing to do.
func (o *Options) Empty() bool { return o.Events == 0 && o.LoginDict == "" && len(o.Expire) == 0 }

// Read returns the settings of a protocol.
func Read(conf *config.Dovecot, proto string) (Options, error) {
	var o Options
	seen := conf.For(config.Context{Protocol: proto})
	plugins := strings.Fields(seen.Get("mail_plugins"))
	get := func(name string) string {
		for _, b := range seen.Merged().Blocks {
			if v := b.Find(name); b.Kind == "plugin" && v != nil {
				return v.Value
			}
		}
		return ""
	}
	if slices.Contains(plugins, "mail_log") && slices.Contains(plugins, "notify") {
		if err := o.readLog(get("mail_log_events"), get("mail_log_fields")); err != nil {
			return o, err
		}
	}
	if slices.Contains(plugins, "last_login") {
		if err := o.readLogin(get("last_login_dict"), get("last_login_key"), get("last_login_precision")); err != nil {
			return o, err
		}
	}
	spaces, err := conf.Namespaces()
	for i, n := range spaces {
		for _, m := range n.Mailboxes {
			if m.Autoexpunge > 0 || m.MaxMails > 0 {
				o.Expire = append(o.Expire, Expire{Space: i, Name: m.Name, Age: m.Autoexpunge, Max: m.MaxMails})
			}
		}
	}
	return o, err
}

// events are the names of mail_log_events.
var events = []struct {
	name string
	kind audit.Kind
}{{"delete", audit.Delete}, {"undelete", audit.Undelete}, {"expunge", audit.Expunge}, {"save", audit.Save}, {"copy", audit.Copy},
	{"mailbox_create", audit.MailboxCreate}, {"mailbox_delete", audit.MailboxDelete}, {"mailbox_rename", audit.MailboxRename}, {"flag_change", audit.FlagChange}}

const (
	allFields     = "uid box msgid size vsize flags from subject"
	defaultFields = "uid box msgid size"
	defaultEvents = "delete undelete expunge save copy mailbox_delete mailbox_rename"
)

func (o *Options) readLog(kinds, fields string) error {
	if kinds == "" {
		kinds = defaultEvents
	}
	if fields == "" {
		fields = defaultFields
	}
	for _, w := range words(kinds) {
		i := slices.IndexFunc(events, func(e struct {
			name string
			kind audit.Kind
		}) bool {
			return e.name == w
		})
		if i < 0 {
			return fmt.Errorf("mail_log_events: unknown event %q", w)
		}
		o.Events |= events[i].kind
	}
	for _, w := range words(fields) {
		if !slices.Contains(strings.Fields(allFields), w) {
			return fmt.Errorf("mail_log_fields: unknown field %q", w)
		}
		o.Fields = append(o.Fields, w)
	}
	return nil
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}

func (o *Options) readLogin(dict, key, precision string) error {
	path, ok := strings.CutPrefix(dict, "file:")
	switch {
	case dict == "":
		return nil // the plugin does nothing then
	case !ok:
		return fmt.Errorf("last_login_dict = %s: only file:PATH is supported", dict)
	}
	if key == "" {
		key = "last-login/%u"
	}
	if precision == "" {
		precision = "s"
	}
	if !slices.Contains([]string{"s", "ms", "us", "ns"}, precision) {
		return fmt.Errorf("last_login_precision: %q is none of s, ms, us, ns", precision)
	}
	for _, pattern := range []string{path, key} {
		if err := auth.CheckPattern(pattern); err != nil {
			return fmt.Errorf("last_login: %w", err)
		}
	}
	o.LoginDict, o.LoginKey, o.Precision = path, key, precision
	return nil
}

// ReadAll returns the settings of all protocols that have sessions.
func ReadAll(conf *config.Dovecot) (map[string]Options, error) {
	all := map[string]Options{}
	for _, proto := range []string{"imap", "pop3"} {
		o, err := Read(conf, proto)
		if err != nil {
			return nil, err
		}
		all[proto] = o
	}
	return all, nil
}
