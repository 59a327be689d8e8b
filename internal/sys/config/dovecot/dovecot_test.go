package dovecot

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"packetboat/internal/sys/config/base"
)

func dovecot(t *testing.T, text string) *Config {
	t.Helper()
	d, err := Parse(filepath.Join(t.TempDir(), "dovecot.conf"), text)
	if err != nil {
		t.Fatalf("%s", base.Report(err))
	}
	return d
}

func TestDovecotValues(t *testing.T) {
	cases := []struct{ name, text, key, want string }{
		{"comment", "login_greeting = a # b", "login_greeting", "a"},
		{"ambiguous", "hostname = c# d", "hostname", "c"},
		{"quoted", "login_greeting = \"a # b\"", "login_greeting", "a # b"},
		{"escaped", `login_greeting = "a \" b"`, "login_greeting", `a " b`},
		{"continued", "login_greeting = a \\\n   b", "login_greeting", "a b"},
		{"variable", "mail_plugins = a\nmail_plugins = $mail_plugins b", "mail_plugins", "a b"},
		{"of another", "hostname = h\nlogin_greeting = $hostname ready", "login_greeting", "h ready"},
		{"empty one", "mail_plugins = $mail_plugins b", "mail_plugins", " b"},
		{"time", "imap_idle_notify_interval = 120s", "imap_idle_notify_interval", "2 mins"},
		{"size", "imap_max_line_length = 1024k", "imap_max_line_length", "1 M"},
		{"last wins", "hostname = a\nhostname = b", "hostname", "b"},
		{"no space", "hostname=x", "hostname", "x"},
		{"default", "", "auth_mechanisms", "plain"},
		{"plugin", "plugin {\n  quota = a\n}\nplugin {\n quota_rule = b\n}", "plugin/quota", "a"},
		{"alias", "mail = mbox:~/m", "mail_location", "mbox:~/m"},
		{"old", "protocols = imap imaps pop3s managesieve", "protocols", "imap sieve pop3"},
		{"old ssl", "ssl_protocols = !SSLv3 !TLSv1", "ssl_min_protocol", "TLSv1.1"},
		{"crlf", "hostname = a\r\n", "hostname", "a"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := dovecot(t, c.text).Get(c.key); got != c.want {
				t.Errorf("%s = %q, want %q", c.key, got, c.want)
			}
		})
	}
}

func TestDovecotErrors(t *testing.T) {
	for text, want := range map[string]string{
		"nosuch = x":                         "dovecot.conf:1: Unknown setting: nosuch",
		"a {\n}":                             "dovecot.conf:1: Unknown setting: a { a",
		"service x { y = z }":                "dovecot.conf:1: Garbage after '{'",
		"service imap\n{":                    "dovecot.conf:1: Expecting '{'",
		"}":                                  "dovecot.conf:1: Unexpected '}'",
		"disable_plaintext_auth = maybe":     "dovecot.conf:1: Invalid boolean value: maybe (use yes or no)",
		"auth_failure_delay = 30":            "dovecot.conf:1: Time interval '30' is missing units (add e.g. 's' for seconds)",
		"\n!include nosuch":                  "dovecot.conf:2: No matches",
		"service auth {\n":                   "dovecot.conf:1: missing '}' of the section that starts here",
		"auth_cache_size = 1 X":              "dovecot.conf:1: Invalid size: 1 X",
		"protocol a {\nprotocol b {\n}\n}":   "dovecot.conf:2: Nested protocol { protocol { .. } } block not allowed",
		"passdb {\n  driver = pam\n  x=1\n}": "dovecot.conf:3: Unknown setting: passdb { x",
	} {
		_, err := Parse(filepath.Join(t.TempDir(), "dovecot.conf"), text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if d := dovecot(t, "hostname = $nosuch"); len(d.Unknown) != 1 || d.Get("hostname") != "$nosuch" {
		t.Errorf("an unknown $name: %v, %q", d.Unknown, d.Get("hostname"))
	}
	_, err := Parse("/d", "a = 1\nb = 2\nhostname = x\nhostnam = y\n")
	if err == nil || strings.Count(base.Report(err), "error: ") != 3 || !strings.Contains(base.Report(err), "hint: did you mean hostname?") {
		t.Errorf("not all errors at once: %v", base.Report(err))
	}
}

func TestDovecotIncludes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dovecot.conf":     "!include conf.d/*.conf\n!include_try missing.conf\n!include_try local.conf\nssl_cert = <cert.pem\n",
		"conf.d/10-a.conf": "hostname = a\n", "conf.d/20-b.conf": "hostname = b\n", "conf.d/.hidden.conf": "hostname = h\n",
		"local.conf": "login_greeting = l\n!include_try local.conf\n", "cert.pem": "CERT\n",
	} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Load(filepath.Join(dir, "dovecot.conf"))
	if err == nil || !strings.Contains(err.Error(), "local.conf:2: Recursive include file: ") {
		t.Fatalf("recursion: %v", err)
	}
	os.WriteFile(filepath.Join(dir, "local.conf"), []byte("login_greeting = l\n"), 0o644)
	d, err := Load(filepath.Join(dir, "dovecot.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		Cert     string `dovecot:"ssl_cert"`
		CertPath string `dovecot:"ssl_cert,path"`
	}
	if err := d.Decode(&o); err != nil || o.Cert != "CERT\n" || o.CertPath != filepath.Join(dir, "cert.pem") {
		t.Errorf("%+v %v", o, err)
	}
	if d.Get("hostname") != "b" || d.Get("login_greeting") != "l" {
		t.Error(d.Get("hostname"), d.Get("login_greeting"))
	}
}

const sampleDovecot = `
mail_location = mbox:~/mail:INBOX=/var/mail/%u
passdb {
  driver = passwd-file
  args = scheme=SHA512 /etc/dovecot/users
}
passdb {
  driver = pam
}
userdb {
  driver = passwd
}
namespace inbox {
  inbox = yes
  mailbox Sent {
    special_use = \Sent
    auto = subscribe
  }
  mailbox "Sent Messages" {
    special_use = \Sent
  }
}
namespace inbox {
  separator = /
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
  }
}
service imap-login {
  inet_listener imap {
    port = 0
  }
}
protocol imap {
  mail_plugins = $mail_plugins imap_quota
  mail_max_userip_connections = 20
}
remote 10.0.0.0/8 {
  disable_plaintext_auth = no
  protocol pop3 {
    mail_plugins = x
  }
}
local_name *.example.org {
  hostname = y
}
`

func TestDovecotBlocks(t *testing.T) {
	// Blocks and filters of a usual file, through every accessor.
	d := dovecot(t, strings.Replace(sampleDovecot, "disable_plaintext_auth", "login_trusted_networks", 1))
	p, err := d.Passdbs()
	if err != nil || len(p) != 2 || p[0].Driver != "passwd-file" || p[1].Driver != "pam" || p[0].Line != 3 || p[0].Skip != "never" {
		t.Errorf("%+v %v", p, err)
	}
	n, err := d.Namespaces()
	if err != nil || len(n) != 1 || !n[0].Inbox || n[0].Separator != "/" || len(n[0].Mailboxes) != 2 || n[0].Mailboxes[1].Name != "Sent Messages" ||
		!reflect.DeepEqual(n[0].Mailboxes[0].SpecialUse, []string{`\Sent`}) {
		t.Errorf("%+v %v", n, err)
	}
	auth, err := d.Service("auth")
	if err != nil || auth.User != "dovecot" || len(auth.Unix) != 7 || auth.Unix[6].Mode != 0o660 || auth.Unix[6].Path != "/var/spool/postfix/private/auth" {
		t.Errorf("%+v %v", auth, err)
	}
	login, err := d.Service("imap-login")
	if err != nil || len(login.Inet) != 2 || login.Inet[0].Port != 0 || login.Inet[1].Port != 993 || !login.Inet[1].SSL || login.VszLimit != -1 || login.Chroot != "login" {
		t.Errorf("%+v %v", login, err)
	}
}

func TestDovecotFilters(t *testing.T) {
	d := dovecot(t, strings.Replace(sampleDovecot, "disable_plaintext_auth", "login_trusted_networks", 1))
	type opts struct {
		Plugins []string      `dovecot:"mail_plugins"`
		PerIP   int           `dovecot:"mail_max_userip_connections"`
		Idle    time.Duration `dovecot:"imap_idle_notify_interval"`
		Line    int64         `dovecot:"imap_max_line_length"`
		Host    string        `dovecot:"hostname"`
	}
	var general, imap, pop3, name opts
	for c, o := range map[Context]*opts{
		{}: &general, {Protocol: "imap"}: &imap,
		{Protocol: "pop3", Remote: netip.MustParseAddr("10.1.2.3")}: &pop3,
		{LocalName: "mail.example.org"}:                             &name,
	} {
		if err := d.For(c).Decode(o); err != nil {
			t.Fatal(err)
		}
	}
	if len(general.Plugins) != 0 || general.PerIP != 10 || general.Idle != 2*time.Minute || general.Line != 65536 {
		t.Errorf("%+v", general)
	}
	if imap.PerIP != 20 || len(imap.Plugins) != 1 || imap.Plugins[0] != "imap_quota" || len(pop3.Plugins) != 1 || pop3.Plugins[0] != "x" || name.Host != "y" {
		t.Errorf("%+v %+v %+v", imap, pop3, name)
	}
}
