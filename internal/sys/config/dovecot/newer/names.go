package newer

import (
	_ "embed" // the table of names
	"slices"
	"strings"
)

// table says for each setting of 2.4 that 2.3 has under another name, or with
// other words for its values, how to turn it: name, kind of turn, old name
// (service/x is a setting of a service block). "accepted" settings have no
// meaning here; "refused" ones act only when they differ from the third field.
//
//go:embed names.txt
var table string

// entryRow is one row of the table.
type entryRow struct{ name, turn, old string }

func names() []entryRow {
	var list []entryRow
	for row := range strings.Lines(table) {
		f := strings.SplitN(strings.TrimSuffix(row, "\n"), "\t", 3)
		list = append(list, entryRow{f[0], f[1], f[2]})
	}
	return list
}

// rename finds the row of a setting.
func rename(name string) (entryRow, bool) {
	for row := range strings.Lines(table) {
		if rest, ok := strings.CutPrefix(row, name+"\t"); ok {
			turn, old, _ := strings.Cut(strings.TrimSuffix(rest, "\n"), "\t")
			return entryRow{name, turn, old}, true
		}
	}
	return entryRow{}, false
}

// renamedFrom finds what 2.4 calls a setting of 2.3, "" if nothing else.
func renamedFrom(old string) string {
	for _, n := range names() {
		if n.old == old && n.name != old && n.turn != "accepted" && n.turn != "refused" {
			return n.name
		}
	}
	return ""
}

// Older returns what 2.4 calls a setting of 2.3 and how its value is turned; ok
// is false for one that keeps name and value.
func Older(old string) (name, turn string, ok bool) {
	for _, n := range names() {
		if n.old == old && n.turn != "accepted" && n.turn != "refused" {
			return n.name, n.turn, true
		}
	}
	return "", "", false
}

// goneFamilies are the settings of 2.3 that 2.4 does not have, by the start of
// their names.
var goneFamilies = []string{"director_", "old_stats_", "replication_", "replicator_"}

// gone are single ones.
var gone = []string{"auth_stats", "auth_policy_server_timeout_msecs", "auth_worker_max_count", "dict_db_config",
	"doveadm_http_rawlog_dir", "imap_id_log", "login_access_sockets", "mail", "mail_location", "mail_attachment_fs", "mail_attribute_dict",
	"master_user_separator", "plugin", "dict", "stats_http_rawlog_dir", "verbose_ssl", "config_cache_size"}

// removed tells whether 2.4 has given up a name of 2.3.
func removed(name string) bool {
	return slices.Contains(gone, name) || renamedFrom(name) != "" ||
		slices.ContainsFunc(goneFamilies, func(f string) bool { return strings.HasPrefix(name, f) })
}

// Removed is removed for the translation from 2.3.
func Removed(name string) bool { return removed(name) && renamedFrom(name) == "" }

// plugins are the starts of the names of settings that plugins and databases
// have: their packages read them, or nothing does.
var plugins = []string{"acl_", "apparmor_", "cassandra_", "charset_alias", "compress_", "crypt_", "dict_", "event_exporter_", "execute_", "fs_", "fts_",
	"http_client_", "http_server_", "imap_acl_", "imapsieve_", "imap_sieve_", "language_", "last_login_", "lazy_expunge_", "ldap_", "lua_", "mail_compress_",
	"mail_log_", "mail_lua_", "mailbox_alias_", "mailbox_notify_status", "metric_", "mysql_", "notify_", "oauth2_", "pgsql_", "pop3_migration_",
	"push_notification_", "quota_", "sieve_", "spam", "sql_", "sqlite_", "stats_", "textcat_", "trash_", "virtual_", "virustest_", "welcome_"}

// isPlugin tells the settings of plugins. quota_full_tempfail is LDA's.
func isPlugin(name string) bool {
	if name == "quota_full_tempfail" {
		return false
	}
	return slices.ContainsFunc(plugins, func(p string) bool { return strings.HasPrefix(name, p) })
}

// isEntrySetting tells the settings of namespaces, mailboxes, services, listeners
// and databases by their whole names.
func isEntrySetting(name string) bool {
	for _, p := range []struct{ start, words string }{
		{"namespace_", " name type separator prefix alias_for inbox hidden list subscriptions ignore_on_failure disabled order "},
		{"mailbox_", " name auto special_use comment autoexpunge autoexpunge_max_mails "},
		{"service_", " name type protocol executable user group privileged_group extra_groups chroot drop_priv_before_exec process_min_avail process_limit vsz_limit "},
		{"unix_listener_", " path mode user group "}, {"fifo_listener_", " path mode user group "},
		{"inet_listener_", " name port ssl haproxy reuse_port listen "},
		{"passdb_", " name driver mechanisms_filter username_filter default_password_scheme skip result_success result_failure result_internalfail deny master " +
			"fields static_password pam_session pam_setcred pam_service_name pam_max_requests pam_failure_show_msg sql_query sql_update_query ldap_bind " +
			"ldap_filter ldap_bind_userdn "},
		{"userdb_", " name driver skip result_success result_failure result_internalfail fields static_allow_all_users sql_query sql_iterate_query ldap_filter " +
			"ldap_iterate_filter ldap_iterate_fields "},
		{"", " passwd_file_path "},
	} {
		if rest, ok := strings.CutPrefix(name, p.start); ok && strings.Contains(p.words, " "+rest+" ") {
			return true
		}
	}
	return false
}

// passdb_sql_query and its like are read by nothing yet, but known.
func isQuery(name string) bool {
	return strings.Contains(name, "db_sql_") || strings.Contains(name, "db_ldap_")
}
