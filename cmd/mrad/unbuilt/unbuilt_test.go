package unbuilt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/sys/config"
)

const goodLocation = "mail_location = mbox:~/mail:INBOX=/var/mail/%u\n"

func check(path string) error {
	conf, err := config.LoadDovecot(path)
	if err != nil {
		return err
	}
	return Checker{conf, strings.Fields(conf.Get("protocols")), []string{"imap-login", "pop3-login", "managesieve-login", "lmtp"}, func(mail string) error {
		if kind, _, _ := strings.Cut(mail, ":"); kind != "mbox" {
			return errors.New("mail driver \"" + kind + "\"")
		}
		return nil
	}}.Check()
}

// TestUnbuilt: what would change something and is not built stops the start,
// with its place.
func TestUnbuilt(t *testing.T) {
	for text, want := range map[string]string{
		"passdb {\n  driver = pam\n  args = session=yes dovecot\n}":                                      "4: passdb { driver = pam }: args: session=yes",
		"passdb {\n  driver = sql\n}":                                                                    "3: passdb { driver = sql }: args name no file",
		"userdb {\n  driver = static\n  args = uid=1 gid=1 home=/srv/%Hu\n}":                             "4: userdb { args }",
		"auth_mechanisms = plain gssapi":                                                                 "2: auth_mechanisms",
		"mail_plugins = quota quota_clone":                                                               "2: mail_plugins = quota quota_clone",
		"protocols = imap\nprotocol imap {\n  mail_plugins = imap_sieve\n}":                              "4: mail_plugins",
		"mail_plugins = quota\nplugin {\n  quota = fs:User\n}":                                           "4: plugin { quota }: the driver fs",
		"mail_plugins = quota\nplugin {\n  quota = count:U\n}":                                           "4: plugin { quota }: quota count backend: quota_vsizes",
		"protocol lmtp {\n  mail_plugins = quota\n}\nplugin {\n  quota = maildir:U\n  quota_rule = x\n}": "7: plugin { quota_rule }: invalid rule: x",
		"service quota-warning {\n  executable = script warn.sh\n}":                                      "3: service quota-warning { executable }: names no command",
		"protocols = imap\nprotocol imap {\n  first_valid_uid = 7\n}":                                    "4: first_valid_uid = 7: is not supported inside protocol imap",
		"local 10.0.0.1 {\n  ssl_cert = </x\n}":                                                          "3: ssl_cert",
		"remote 10.0.0.0/8 {\n  ssl = no\n}":                                                             "3: ssl = no",
		"remote 10.0.0.0/8 {\n  login_greeting = x\n}":                                                   "3: login_greeting",
		"auth_ssl_require_client_cert = yes":                                                             "2: auth_ssl_require_client_cert",
		"ssl_verify_client_cert = yes":                                                                   "2: ssl_verify_client_cert",
		"ssl_key_password = hunter2":                                                                     "2: ssl_key_password: ",
		"login_access_sockets = tcpwrap":                                                                 "2: login_access_sockets",
		"namespace {\n  inbox = yes\n  location = mbox:/elsewhere\n}":                                    "4: namespace { location",
		"namespace {\n  inbox = yes\n  prefix = %u/\n}":                                                  "4: namespace { prefix",
		"namespace {\n  inbox = yes\n}\nnamespace p {\n  type = shared\n}":                               "6: namespace { type",
		"protocols = lmtp\nprotocol lmtp {\n  postmaster_address = a@b.c\n  hostname = x\n}":             "5: hostname = x: is not supported inside",
		"mail_plugins = mail_log notify\nplugin {\n  mail_log_events = nosuch\n}":                        "2: mail_plugins: mail_log_events",
		"service doveadm {\n  inet_listener {\n    port = 12345\n  }\n}":                                 "3: service doveadm { inet_listener",
		"service imap {\n  executable = imap imap-postlogin\n}":                                          "3: service imap { executable",
		"service lmtp {\n  inet_listener lmtp {\n    haproxy = yes\n  }\n}":                              "4: inet_listener { haproxy",
		"passdb {\n  driver = static\n  args = nopassword\n  skip = found\n}":                            "5: Invalid value: found",
		"ssl_cipher_list = AES128-SHA":                                                                   "2: ssl_cipher_list",
		"ssl_options = nope":                                                                             "2: ssl_options",
		"mail_location = mdbox:~/mdbox":                                                                  "2: mail_location: mail driver \"mdbox\"",
		"mail_attachment_dir = /a\nmail_location = sdbox:~/d":                                            "3: mail_location: mail driver \"sdbox\"",
		"mail_location = mbox:/srv/%Hu":                                                                  "2: mail_location",
		"lmtp_rawlog_dir = /x":                                                                           "2: lmtp_rawlog_dir",
		"pop3_uidl_format = %m":                                                                          "2: pop3_uidl_format",
		"pop3_uidl_format = %f":                                                                          "2: pop3_uidl_format",
		"pop3_uidl_format = %g":                                                                          "2: pop3_uidl_format",
		"pop3_uidl_format = x":                                                                           "2: pop3_uidl_format",
	} {
		path := filepath.Join(t.TempDir(), "d.conf")
		os.WriteFile(path, []byte(goodLocation+text+"\n"), 0o600)
		err := check(path)
		if err == nil || !strings.Contains(err.Error(), path+":"+want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Error("a secret is in an error:", err)
		}
	}
}

// TestBuilt: what says the same in other words, or has no meaning here, is taken.
func TestBuilt(t *testing.T) {
	text := goodLocation + `protocols = imap pop3 lmtp
mbox_very_dirty_syncs = yes
mbox_write_locks = fcntl
ssl_cipher_list = ALL:!LOW:!SSLv2:!EXP:!aNULL
ssl_options = no_compression no_ticket
auth_master_user_separator = *
mail_plugins = notify imap_zlib quota
lmtp_save_to_detail_mailbox = yes
lmtp_proxy = yes
auth_cache_size = 10M
auth_debug = yes
ssl_dh = </nonexistent
ssl_prefer_server_ciphers = yes
default_vsz_limit = 1G
mail_fsync = always
mail_attachment_dir = /var/attachments
mail_attachment_fs = posix
mail_attachment_hash = %{sha512}
mail_attachment_min_size = 64k
plugin {
  sieve = ~/.dovecot.sieve
  quota = maildir:User quota
  quota_rule = *:storage=1G
  quota_warning = storage=95%% quota-warning 95 %u
}
protocol lda {
  mail_plugins = sieve
}
protocol lmtp {
  mail_plugins = $mail_plugins
  quota_full_tempfail = yes
  postmaster_address = a@b.c
}
service quota-status {
  executable = quota-status -p postfix
  inet_listener {
    port = 12340
  }
}
service quota-warning {
  executable = script /usr/local/bin/quota-warning.sh
  user = vmail
  unix_listener quota-warning {
    user = vmail
  }
}
protocol imap {
  mail_max_userip_connections = 50
  imap_idle_notify_interval = 1 min
  imap_client_workarounds = tb-extra-mailbox-sep, delay-newmail
}
protocol pop3 {
  pop3_uidl_format = %v.%u
  info_log_path = /nonexistent/info
  debug_log_path = /nonexistent/debug
  log_path = /nonexistent/log
}
service imap-login {
  process_min_avail = 4
  service_count = 0
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Sent {
    special_use = \Sent
  }
}
passdb {
  driver = passwd-file
  args = scheme=CRYPT username_format=%n /etc/%1Ld/users
  deny = yes
}
`
	path := filepath.Join(t.TempDir(), "d.conf")
	os.WriteFile(path, []byte(text), 0o600)
	if err := check(path); err != nil {
		t.Error(err)
	}
}

// TestDebian reads the configuration that Debian's package installs.
func TestDebian(t *testing.T) {
	if _, err := os.Stat("/etc/dovecot/conf.d"); err != nil {
		t.Skip("Debian's dovecot-core is not installed")
	}
	if err := check("/etc/dovecot/dovecot.conf"); err != nil {
		t.Error(err)
	}
}
