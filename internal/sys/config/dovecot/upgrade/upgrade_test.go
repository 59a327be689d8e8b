package upgrade

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/newer"

	"pgregory.net/rapid"
)

const corpus = "../../../../../../shared/corpus/expected/dovecot"

// roundTrip translates to 2.4 and back, and tells how many settings only came
// back through comments.
func roundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string) (settings, kept int) {
	t.Helper()
	d, err := dovecot.Parse("/etc/dovecot/dovecot.conf", text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	want := Flatten(d)
	there, err := Newer(d, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, there)
	}
	back, err := dovecot.Parse("/etc/dovecot/dovecot.conf", there)
	if err != nil {
		t.Fatalf("%v\n%s", err, there)
	}
	kept = len(back.Notes)
	Older(back)
	if got := Flatten(back); !reflect.DeepEqual(got, want) {
		for _, p := range slices.Sorted(maps.Keys(want)) {
			if !reflect.DeepEqual(want[p], got[p]) {
				t.Fatalf("%s:\n want %v\n got  %v\n%s", p, want[p], got[p], there)
			}
		}
		t.Fatalf("more came back than was there:\n want %v\n got %v", want, got)
	}
	for _, m := range want {
		settings += len(m)
	}
	return settings, kept
}

// TestCorpus translates what Dovecot 2.3 says of every public configuration.
func TestCorpus(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(corpus, "*.doveconf-n"))
	if len(files) == 0 {
		t.Skip("the corpus of public configurations is not here")
	}
	all, comments := 0, 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s := strings.ReplaceAll(string(text), "# hidden, use -P to show it", "</hidden")
		if _, err := dovecot.Parse(f, s); err != nil {
			continue // an error's output
		}
		n, k := roundTrip(t, s)
		all, comments = all+n, comments+k
	}
	t.Logf("%d settings, %d kept in comments (%.1f%%)", all, comments, 100*float64(comments)/float64(all))
	if all == 0 || comments*9 > all {
		t.Error("too much is only kept in comments")
	}
}

// TestTranslation holds single translations in both directions.
func TestTranslation(t *testing.T) {
	for old, want := range map[string]string{
		"disable_plaintext_auth = no":                                                                        "auth_allow_cleartext = yes",
		"mail_location = maildir:~/Maildir":                                                                  "mail_driver = maildir\nmail_path = ~/Maildir",
		"mail_location = mbox:~/mail:INBOX=/var/mail/%u":                                                     "mail_driver = mbox\nmail_path = ~/mail\nmail_inbox_path = /var/mail/%{user}",
		"mail_location = maildir:/v/%d/%n:LAYOUT=fs:INDEX=/i/%1Lu":                                           "mail_driver = maildir\nmail_path = /v/%{user | domain}/%{user | username}\nmailbox_list_layout = fs\nmail_index_path = /i/%{user | lower | substr(0, 1)}",
		"ssl_cert = </etc/c.pem\nssl_prefer_server_ciphers = yes":                                            "ssl_server_cert_file = /etc/c.pem\nssl_server_prefer_ciphers = server",
		"auth_username_format = %Ln":                                                                         "auth_username_format = %{user | username | lower}",
		"pop3_uidl_format = %08Xu%08Xv":                                                                      "pop3_uidl_format = %{uid | hex(8)}%{uidvalidity | hex(8)}",
		"passdb {\n  driver = passwd-file\n  args = scheme=PLAIN /etc/users\n}":                              "passdb passwd-file {\n  default_password_scheme = PLAIN\n  passwd_file_path = /etc/users\n}",
		"passdb {\n  driver = pam\n  args = session=yes imap\n}":                                             "passdb pam {\n  session = yes\n  service_name = imap\n}",
		"passdb {\n  driver = pam\n}\npassdb {\n  driver = pam\n}":                                           "passdb pam {\n}\npassdb pam2 {\n  driver = pam\n}",
		"userdb {\n  driver = static\n  args = uid=v gid=v home=/h/%2.256Nu\n}":                              "userdb static {\n  fields {\n    uid = v\n    gid = v\n    home = /h/%{user | md5 | substr(0, 8) % 256 | hex(2)}\n  }\n}",
		"service imap-login {\n  service_count = 0\n  inet_listener imap {\n    address = 127.0.0.1\n  }\n}": "service imap-login {\n  restart_request_count = unlimited\n  inet_listener imap {\n    listen = 127.0.0.1\n  }\n}",
		"plugin {\n  sieve = file:~/sieve;active=~/.dovecot.sieve\n}":                                        "sieve_script personal {\n  path = ~/sieve\n  active_path = ~/.dovecot.sieve\n}",
		"log_timestamp = \"%Y-%m-%d \"":                                                                      "log_timestamp = \"%Y-%m-%d \"",
		"namespace x {\n  type = shared\n  prefix = s/%%u/\n  location = maildir:%%h/M\n}":                   "namespace x {\n  type = shared\n  prefix = s/%{owner_user}/\n  mail_driver = maildir\n  mail_path = %{owner_home}/M\n}",
		"protocol imap {\n  mail_plugins = quota imap_quota\n}":                                              "protocol imap {\n  mail_plugins = quota imap_quota\n}",
	} {
		d, err := dovecot.Parse("/d.conf", old)
		if err != nil {
			t.Errorf("%q: %v", old, err)
			continue
		}
		text, err := Newer(d, nil)
		if err != nil || !strings.HasSuffix(strings.TrimSpace(text), want) {
			t.Errorf("%s\nbecomes\n%s, %v\nwant\n%s", old, text, err, want)
		}
		roundTrip(t, old)
	}
}

// TestSQL takes the external file of SQL in.
func TestSQL(t *testing.T) {
	d, err := dovecot.Parse("/d.conf", "passdb {\n  driver = sql\n  args = /etc/dovecot/sql.ext\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	text, err := Newer(d, func(path string) (string, error) {
		if path != "/etc/dovecot/sql.ext" {
			return "", errors.New("no such file")
		}
		return "driver = mysql\nconnect = host=db dbname=mail user=u password=p\npassword_query = SELECT password \\\n  FROM users WHERE user = '%u'\n", nil
	})
	if want := "sql_driver = mysql\nmysql db {\n  dbname = mail\n  user = u\n  password = p\n}\npassdb sql {\n  query = SELECT password FROM users WHERE user = '%{user}'\n}\n"; err != nil || !strings.Contains(text, want) {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestExpressions: a variable that goes to 2.4 comes back.
func TestExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := "%" + rapid.SampledFrom([]string{"", "1", "2.3", "-2.1", "0.4"}).Draw(t, "cut") + rapid.SampledFrom([]string{"", "L", "U", "M", "R", "LR"}).Draw(t, "mods") +
			rapid.SampledFrom([]string{"u", "n", "d", "h", "{session}", "{auth_user}"}).Draw(t, "name")
		text := rapid.StringMatching(`[a-z/@.:]{0,5}`).Draw(t, "before") + v + rapid.StringMatching(`[a-z/@.:]{0,5}`).Draw(t, "after")
		there, err := newer.ExpressionNewer("mail_home", text)
		if err != nil {
			t.Fatal(text, err)
		}
		if back, err := newer.Expression("mail_home", there); err != nil || strings.ReplaceAll(back, "%0.4", "%4") != strings.ReplaceAll(text, "%0.4", "%4") {
			t.Fatalf("%s -> %s -> %s, %v", text, there, back, err)
		}
	})
}
