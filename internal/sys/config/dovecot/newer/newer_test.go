package newer_test

import (
	"strings"
	"testing"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/newer"
)

const head = "# 2.4\ndovecot_config_version = 2.4.1\ndovecot_storage_version = 2.4.0\n"

// TestErrors: what 2.4 does not know is an error with its place and a hint.
func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"mail_location = mbox:~/m":                          "4: mail_location: Unknown setting: mail_location|Dovecot 2.4 has mail_driver",
		"ssl_cert = </c":                                    "4: ssl_cert: Unknown setting: ssl_cert|Dovecot 2.4 calls it ssl_server_cert_file",
		"disable_plaintext_auth = no":                       "4: disable_plaintext_auth: Unknown setting|Dovecot 2.4 calls it auth_allow_cleartext",
		"auth_alow_cleartext = no":                          "4: auth_alow_cleartext: Unknown setting|did you mean auth_allow_cleartext?",
		"plugin {\n}":                                       "4: Unknown section name: plugin|",
		"passdb {\n}":                                       "4: passdb { } is missing section name|",
		"passdb pam {\n  args = x\n}":                       "5: args: Unknown setting: args|",
		"unix_listener x {\n}":                              "4: Unknown section name: unix_listener|",
		"mail_driver = mbox\nmail_path = /%{user | nosuch}": "5: mail_path: the filter \"nosuch\"|use variables such as",
		"mail_driver = mbox\nmail_path = /%u":               "|",
		"mail_path = ~/m":                                   "4: mail_path: mail_driver is not set|",
		"hostname = $SET:nosuch":                            "4: hostname: Unknown setting: nosuch|",
		"}":                                                 "4: Unexpected '}'|",
		"service auth {":                                    "4: missing '}'|",
		"service auth { }":                                  "4: Garbage after '{'|",
		"@g = x":                                            "Unknown group @g=x|",
		"group @g x {\n  @h = y\n}":                         "5: Recursive include groups not allowed|",
		"ssl_server_prefer_ciphers = yes":                   "4: ssl_server_prefer_ciphers: Invalid value: yes|write client or server",
		"verbose_proctitle = maybe":                         "4: Invalid boolean value: maybe|",
	} {
		_, err := dovecot.Parse("/d.conf", head+text+"\n")
		text1, hint, _ := strings.Cut(want, "|")
		got := base.Report(err)
		if text1 == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(got, text1) || !strings.Contains(got, hint) {
			t.Errorf("%q:\ngot  %swant %s", text, got, want)
		}
	}
	_, err := dovecot.Parse("/d.conf", "\ndovecot_config_version = 2.4.0\nnosuch = 1\nhostname = x\nnosuch2 = 2\n")
	if n := strings.Count(base.Report(err), "error: "); n != 2 {
		t.Errorf("%d errors at once:\n%s", n, base.Report(err))
	}
}

// TestMeaning: sections, lists, groups and references say what their long forms say.
func TestMeaning(t *testing.T) {
	for _, c := range []struct{ text, name, want string }{
		{"ssl_server {\n  cert_file = /c\n}", "ssl_cert", "</c"},
		{"ssl_server {\n  ssl_server_cert_file = /c\n}", "ssl_cert", "</c"},
		{"mail_plugins {\n  a = yes\n  b = yes\n  a = no\n}", "mail_plugins", "b"},
		{"mail_plugins = a\nmail_plugins {\n  b = yes\n}", "mail_plugins", "a b"},
		{"auth_mechanisms {\n  login = yes\n}", "auth_mechanisms", "plain login"},
		{"hostname = a\nlogin_greeting = $SET:hostname ready", "login_greeting", "a ready"},
		{"group @x one {\n  hostname = g\n}\n@x = one", "hostname", "g"},
		{"group @x one {\n  hostname = g\n}\n@x = one\nhostname = h", "hostname", "h"},
		{"\"hostname\" = q", "hostname", "q"},
		{"hostname = a \\\n  b", "hostname", "a b"},
		{"auth_allow_cleartext = yes", "disable_plaintext_auth", "no"},
		{"imap_id_send {\n  name = *\n  support-url = x\n}", "imap_id_send", "name * support-url x"},
		{"mail_home = /h/%{user | domain | upper}/%{user | username | substr(0, 2)}", "mail_home", "/h/%Ud/%2n"},
		{"mail_home = 100%/%{user}", "mail_home", "100%%/%u"},
		{"mail_driver = maildir\nmail_path = ~/M\nmailbox_list_layout = fs\nmailbox_list_utf8 = yes", "mail_location", "maildir:~/M:LAYOUT=fs:UTF-8"},
		{"deliver_log_format = msgid=%{msgid}: %{message}", "deliver_log_format", "msgid=%m: %$"},
		{"log_timestamp = \"%Y-%m-%d \"", "log_timestamp", "%Y-%m-%d "},
	} {
		d, err := dovecot.Parse("/d.conf", head+c.text+"\n")
		if err != nil || d.Get(c.name) != c.want {
			t.Errorf("%q: %v, %s = %q, want %q", c.text, err, c.name, get(d, c.name), c.want)
		}
	}
}

func get(d *dovecot.Config, name string) string {
	if d == nil {
		return ""
	}
	return d.Get(name)
}

// TestVersion: only a first setting chooses the syntax.
func TestVersion(t *testing.T) {
	for text, want := range map[string]int{
		"dovecot_config_version = 2.4.0\n": 1, "# x\n\n  dovecot_config_version = 2.4.0\n": 3, "hostname = x\ndovecot_config_version = 2.4.0\n": 0, "": 0,
	} {
		if _, line := newer.Version(text); line != want {
			t.Errorf("%q: line %d, want %d", text, line, want)
		}
	}
}
