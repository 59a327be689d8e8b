package unbuilt

import (
	"slices"
	"strings"

	"packetboat/internal/sys/config"
)

// idle are plugins of Dovecot whose whole work is done here without them, or that
// change nothing a user sees: notify only serves other plugins, stats counts for
// Dovecot's own processes, and imap_zlib offers a compression that clients do
// without.
var idle = []string{"notify", "stats", "old_stats", "imap_stats", "imap_old_stats", "imap_zlib"}

// built are the plugins whose work is done here.
var built = []string{"quota", "imap_quota", "mail_log", "last_login"}

// families are the plugins that read settings of plugin { }, by the beginnings of
// these settings' names. A setting that no loaded plugin reads changes nothing.
var families = []struct {
	plugins  string
	settings string
}{
	{"sieve imap_sieve", "sieve imapsieve recipient_delimiter"},
	{"imap_sieve", "imapsieve_"},
	{"quota_clone", "quota_clone"},
	{"antispam", "antispam"},
	{"acl imap_acl", "acl"},
	{"autocreate", "autocreate autosubscribe"},
	{"fts fts_solr fts_lucene fts_squat fts_flatcurve fts_xapian", "fts"},
	{"mailbox_alias", "mailbox_alias"},
	{"mail_crypt mail_crypt_acl", "mail_crypt"},
	{"zlib mail_compress", "zlib"},
	{"listescape", "listescape"},
	{"expire", "expire"},
	{"trash", "trash"},
	{"lazy_expunge", "lazy_expunge"},
	{"virtual", "virtual"},
	{"welcome", "welcome"},
	{"snarf", "snarf"},
	{"push_notification", "push_notification"},
	{"replication", "replication"},
}

// loadedPlugins are all plugins that some mail_plugins names, but for protocols that
// are not spoken; dovecot-lda is always there.
func (s Checker) loadedPlugins() []string {
	list := strings.Fields(s.Conf.Get("mail_plugins"))
	s.Conf.Filters(func(f config.Filter, b *config.Block) {
		spoken := f.Protocol == "" || f.Protocol[0] == '!' || f.Protocol == "lda" || slices.Contains(s.Protocols, f.Protocol)
		if v := b.Find("mail_plugins"); v != nil && spoken {
			list = append(list, strings.Fields(v.Value)...)
		}
	})
	return list
}

// pluginReads tells whether one of the plugins would read a setting of plugin { }.
func pluginReads(plugins []string, setting string) bool {
	for _, f := range families {
		if !startsAny(setting, strings.Fields(f.settings)) {
			continue
		}
		for _, p := range strings.Fields(f.plugins) {
			if slices.Contains(plugins, p) {
				return true
			}
		}
	}
	return false
}

func startsAny(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// unbuiltPlugins names the words of a mail_plugins that are not built; "" = none.
func unbuiltPlugins(value string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(value), func(p string) bool { return slices.Contains(idle, p) || slices.Contains(built, p) }), " ")
}

// pluginText tells what goes missing without plugins.
func pluginText(plugins string) string {
	text := "these plugins are not built: " + plugins
	for _, p := range strings.Fields(plugins) {
		switch p {
		case "sieve", "imap_sieve":
			return text + "; Sieve scripts would not run, and mail that they file or refuse would go to the inbox"
		case "acl", "imap_acl":
			return text + "; folders would not be guarded by their access lists"
		}
	}
	return text
}
