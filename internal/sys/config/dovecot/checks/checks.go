// Package checks looks at a whole dovecot.conf after it was read: the checks
// that Dovecot 2.3 makes of settings together, in its words. cmd/mailadm's
// doveconf prints what it finds, and mrad does not start with it.
package checks

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
)

// checker collects what is wrong.
type checker struct {
	d    *dovecot.Config
	errs []error
}

// Check returns every problem, each a *base.Error whose Postfix field has
// Dovecot's words.
func Check(d *dovecot.Config) []error {
	c := &checker{d: d}
	c.single()
	c.databases()
	c.services()
	c.namespaces()
	c.metrics()
	c.conflicts()
	return c.errs
}

// Users tells which accounts the configuration needs and the machine has not.
func Users(d *dovecot.Config) []error {
	c := &checker{d: d}
	for _, name := range []string{"default_internal_user", "default_login_user"} {
		if _, err := user.Lookup(d.Get(name)); err != nil {
			c.at(name, fmt.Sprintf("%s doesn't exist: %s", name, d.Get(name)))
		}
	}
	return c.errs
}

// at notes a problem of a setting of the root.
func (c *checker) at(name, text string) {
	file, line := c.d.Where(name)
	c.problem(file, line, text)
}

func (c *checker) problem(file string, line int, text string) {
	if file == "" {
		file = c.d.Path
	}
	c.errs = append(c.errs, &base.Error{File: file, Line: line, Text: text,
		Postfix: fmt.Sprintf("Error in configuration file %s: %s", c.d.Path, text)})
}

// words are the lists whose words must be known.
var words = []struct{ setting, what, known string }{
	{"imap_client_workarounds", "workaround", "delay-newmail tb-extra-mailbox-sep tb-lsub-flags"},
	{"pop3_client_workarounds", "workaround", "outlook-no-nuls oe-ns-eoh"},
	{"lmtp_client_workarounds", "workaround", "whitespace-before-path mailbox-for-path"},
	{"submission_client_workarounds", "workaround", "whitespace-before-path mailbox-for-path implicit-auth-external exotic-backend"},
	{"dsync_features", "feature", "empty-header-workaround no-header-hashes"},
	{"imapc_features", "feature", "rfc822.size guid-forced fetch-headers gmail-migration search zimbra-workarounds no-examine proxyauth fetch-msn-workarounds " +
		"fetch-fix-broken-mails modseq delay-login fetch-bodystructure send-id fetch-empty-is-expunged no-msn-updates acl no-metadata"},
}

// facilities are those of syslog(3).
const facilities = " auth authpriv cron daemon ftp kern local0 local1 local2 local3 local4 local5 local6 local7 lpr mail news syslog user uucp "

// single looks at settings that stand for themselves.
func (c *checker) single() {
	for _, w := range words {
		for _, x := range split(c.d.Get(w.setting)) {
			if !has(w.known, strings.ToLower(x)) && !strings.HasPrefix(x, "throttle:") {
				c.at(w.setting, fmt.Sprintf("%s: Unknown %s: %s", w.setting, w.what, x))
				break
			}
		}
	}
	for _, x := range split(c.d.Get("ssl_options")) {
		if !has("compression no_compression no_ticket", x) {
			c.at("ssl_options", fmt.Sprintf("ssl_options: unknown flag: '%s'", x))
		}
	}
	get := c.d.Get
	for _, rule := range []struct {
		broken     bool
		name, text string
	}{
		{get("auth_worker_max_count") == "0", "auth_worker_max_count", "auth_worker_max_count must be above zero"},
		{get("auth_policy_server_url") != "" && get("auth_policy_hash_nonce") == "", "auth_policy_server_url", "auth_policy_hash_nonce must be set when policy server is used"},
		{get("mailbox_idle_check_interval") == "0", "mailbox_idle_check_interval", "mailbox_idle_check_interval must not be 0"},
		{get("mail_nfs_index") == "yes" && get("mmap_disable") != "yes", "mail_nfs_index", "mail_nfs_index=yes requires mmap_disable=yes"},
		{get("mail_nfs_index") == "yes" && get("mmap_disable") == "yes" && get("mail_fsync") != "always", "mail_nfs_index", "mail_nfs_index=yes requires mail_fsync=always"},
		{size(get("mail_cache_max_size")) > 1<<30, "mail_cache_max_size", "mail_cache_max_size can't be over 1 GB"},
		{number(get("mail_cache_purge_delete_percentage")) > 100, "mail_cache_purge_delete_percentage", "mail_cache_purge_delete_percentage can't be over 100"},
		{strings.Contains(get("mail_attachment_hash"), "/"), "mail_attachment_hash", "mail_attachment_hash setting must not contain '/' characters"},
		{get("listen") == "", "listen", "listen can't be set empty"},
		{over(get("first_valid_uid"), get("last_valid_uid")), "first_valid_uid", "first_valid_uid can't be larger than last_valid_uid"},
		{over(get("first_valid_gid"), get("last_valid_gid")), "first_valid_gid", "first_valid_gid can't be larger than last_valid_gid"},
		{get("imapc_max_idle_time") == "0", "imapc_max_idle_time", "imapc_max_idle_time must not be 0"},
		{get("dsync_alt_char") == "", "dsync_alt_char", "dsync_alt_char must not be empty"},
		{get("dsync_hashed_headers") == "", "dsync_hashed_headers", "dsync_hashed_headers must not be empty"},
		{get("ssl") != "no" && get("ssl_verify_client_cert") == "yes" && get("ssl_ca") == "", "ssl_verify_client_cert", "ssl_verify_client_cert set, but ssl_ca not"},
		{!has(facilities, get("syslog_facility")), "syslog_facility", "Unknown syslog_facility: " + get("syslog_facility")},
	} {
		if rule.broken {
			c.at(rule.name, rule.text)
		}
	}
	c.protocols()
	if text := verbosePasswords(get("auth_verbose_passwords")); text != "" {
		c.at("auth_verbose_passwords", "auth_verbose_passwords: "+text)
	}
	if text := attachmentHash(get("mail_attachment_hash")); text != "" {
		c.at("mail_attachment_hash", "Invalid mail_attachment_hash setting: "+text)
	}
	if text := uidl(get("pop3_uidl_format")); text != "" {
		c.at("pop3_uidl_format", text)
	}
}

// protocols are known when a service speaks them.
func (c *checker) protocols() {
	list, err := c.d.Services()
	if err != nil {
		return
	}
	for p := range strings.FieldsSeq(c.d.Get("protocols")) {
		if p != "none" && p != "lda" && !slices.ContainsFunc(list, func(s dovecot.Service) bool { return s.Protocol == p }) {
			c.at("protocols", "protocols: Unknown protocol: "+p)
		}
	}
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
}

func has(list, word string) bool { return slices.Contains(strings.Fields(list), word) }

// verbosePasswords says what is wrong with a value, "" if nothing.
func verbosePasswords(value string) string {
	kind, length, cut := strings.Cut(value, ":")
	if n, err := strconv.ParseUint(length, 10, 32); cut && (err != nil || n == 0) {
		return fmt.Sprintf("Invalid truncation number: '%s'", length)
	}
	if !has("no yes plain sha1", kind) {
		return "Invalid value"
	}
	return ""
}

// attachmentHash says which hash of a pattern such as %{sha1:80} is not known.
func attachmentHash(value string) string {
	for {
		_, rest, ok := strings.Cut(value, "%{")
		name, after, _ := strings.Cut(rest, "}")
		if !ok {
			return ""
		}
		name, _, _ = strings.Cut(name, ":")
		if !has("md4 md5 sha1 sha256 sha384 sha512 sha3-256 sha3-512 size", name) {
			return "Unknown hash method: " + name
		}
		value = after
	}
}

// size returns the bytes of a value as the table writes it, 0 when unknown.
func size(value string) uint64 {
	n, unit, _ := strings.Cut(value, " ")
	return number(n) << (10 * max(0, strings.Index("BkMGT", unit)))
}

func number(value string) uint64 {
	n, _ := strconv.ParseUint(value, 10, 64)
	return n
}

// over tells whether a lowest number is above the highest; 0 is no limit.
func over(first, last string) bool { return number(last) != 0 && number(first) > number(last) }

// uidl looks at the variables of pop3_uidl_format.
func uidl(format string) string {
	found := false
	for {
		_, rest, ok := strings.Cut(format, "%")
		if !ok || rest == "" {
			break
		}
		rest = strings.TrimLeft(rest, "-.0123456789")
		rest = strings.TrimLeft(rest, "LUEXRHNMDT")
		if rest == "" {
			break
		}
		switch rest[0] {
		case 'v', 'u', 'm', 'f', 'g':
			found = true
		case '%':
		default:
			return fmt.Sprintf("Unknown pop3_uidl_format variable: %%%c", rest[0])
		}
		format = rest[1:]
	}
	if !found {
		return "pop3_uidl_format setting doesn't contain any %% variables."
	}
	return ""
}
