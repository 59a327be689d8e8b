package extras

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/audit"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/config"
)

func open(t *testing.T, where string) store.Store {
	t.Helper()
	st, err := location.Open(where, location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// uids returns what is in a folder.
func uids(t *testing.T, st store.Store, name string) (list []uint32) {
	t.Helper()
	box, err := st.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	snap, err := box.Sync()
	if err != nil {
		t.Fatal(err)
	}
	for i := range snap.Msgs {
		list = append(list, snap.Msgs[i].UID)
	}
	return list
}

func fill(t *testing.T, st store.Store, name string, n int) {
	t.Helper()
	if err := st.Create(name); err != nil {
		t.Fatal(err)
	}
	box, err := st.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	for range n { // delivered long ago
		if _, err := box.Append([]store.New{{Body: strings.NewReader("A: b\n\nx\n"), Date: time.Now().Add(-1000 * 24 * time.Hour)}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExpire: what is above the number goes first, then what was saved too long ago;
// the date of delivery does not count. An mbox begins to count when a message is
// seen for the first time.
func TestExpire(t *testing.T) {
	const day = 24 * time.Hour
	for _, kind := range []string{"maildir", "mbox"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			where := "maildir:" + dir + "/Maildir"
			if kind == "mbox" {
				where = "mbox:" + dir + "/mail:INBOX=" + dir + "/inbox"
			}
			st := open(t, where)
			fill(t, st, "Trash", 3)
			now := time.Now()
			for _, step := range []struct {
				e    Expire
				at   time.Duration
				want []uint32
			}{{Expire{Age: 30 * day}, 0, []uint32{1, 2, 3}}, {Expire{Age: 30 * day}, 29 * day, []uint32{1, 2, 3}}, {Expire{Max: 2}, 0, []uint32{2, 3}},
				{Expire{Max: 5, Age: 30 * day}, 29 * day, []uint32{2, 3}}, {Expire{Age: 30 * day}, 31 * day, nil}} {
				if err := step.e.expunge(st, "Trash", now.Add(step.at)); err != nil {
					t.Fatal(err)
				}
				if got := uids(t, st, "Trash"); !slices.Equal(got, step.want) {
					t.Errorf("%+v after %v leaves %v, want %v", step.e, step.at, got, step.want)
				}
			}
			fill(t, st, "Old", 2)
			fill(t, st, "Older", 2)
			fill(t, st, "Sent", 2)
			s := Session{Fail: func(text string) { t.Error(text) }, Options: Options{Expire: []Expire{{Name: "Old*", Max: 1}, {Name: "nosuch", Max: 1}, {Space: 7, Name: "Sent", Max: 1}}}}
			s.End([]tree.Namespace{{Store: st, Separator: '.'}})
			if a, b, c := len(uids(t, st, "Old")), len(uids(t, st, "Older")), len(uids(t, st, "Sent")); a != 1 || b != 1 || c != 2 {
				t.Errorf("Old %d, Older %d, Sent %d", a, b, c)
			}
		})
	}
}

// TestLastLogin: the note that Dovecot's plugin makes, in the units asked for.
func TestLastLogin(t *testing.T) {
	home := t.TempDir()
	for _, c := range []struct{ key, precision, name string }{{"last-login/%u", "s", "shared/last-login/ann"}, {"%s/%r", "ms", "shared/imap/192.0.2.1"}} {
		s := Session{Service: "imap", User: "ann", Home: home, Remote: "192.0.2.1", Fail: func(text string) { t.Error(text) },
			Options: Options{LoginDict: "~/seen", LoginKey: c.key, Precision: c.precision}}
		before := time.Now()
		s.Begin()
		b, err := os.ReadFile(filepath.Join(home, "seen"))
		if err != nil {
			t.Fatal(err)
		}
		_, value, found := strings.Cut("\n"+string(b), "\n"+c.name+"\n")
		value, _, _ = strings.Cut(value, "\n")
		if !found || value < stamp(before, c.precision) || value > stamp(time.Now(), c.precision) {
			t.Errorf("%+v: %q", c, b)
		}
	}
	failed := ""
	s := Session{Service: "imap", User: "ann", Fail: func(text string) { failed = text }, Options: Options{LoginDict: "~/seen", LoginKey: "x", Precision: "s"}}
	if s.Begin(); !strings.Contains(failed, "no home") {
		t.Errorf("without a home: %q", failed)
	}
}

// TestRead: what a configuration asks for, and what it may not.
func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		"mail_plugins = mail_log\n": "",
		"mail_plugins = mail_log notify\nplugin {\n  mail_log_events = delete nosuch\n}\n":                     `unknown event "nosuch"`,
		"mail_plugins = mail_log notify\nplugin {\n  mail_log_fields = uid, colour\n}\n":                       `unknown field "colour"`,
		"mail_plugins = last_login\nplugin {\n  last_login_dict = redis:host=x\n}\n":                           "only file:PATH",
		"mail_plugins = last_login\nplugin {\n  last_login_dict = file:/x\n  last_login_precision = days\n}\n": "none of s, ms",
		"mail_plugins = last_login\nplugin {\n  last_login_dict = file:/%Hu\n}\n":                              "unknown variable",
		"mail_plugins = last_login\n": "",
	} {
		conf, err := config.ParseDovecot("d.conf", text)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Read(conf, "imap")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err == nil && !o.Empty() {
			t.Errorf("%q: %+v", text, o)
		}
	}
	conf, err := config.ParseDovecot("d.conf", "protocol pop3 {\n  mail_plugins = mail_log notify\n}\nnamespace {\n  inbox = yes\n  mailbox Trash {\n    autoexpunge = 30 days\n  }\n  mailbox Junk {\n    autoexpunge_max_mails = 7\n  }\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	all, err := ReadAll(conf)
	if err != nil || all["imap"].Events != 0 || all["pop3"].Events != 1<<8-1-audit.MailboxCreate || !slices.Equal(all["pop3"].Fields, strings.Fields(defaultFields)) ||
		!slices.Equal(all["imap"].Expire, []Expire{{0, "Trash", 30 * 24 * time.Hour, 0}, {0, "Junk", 0, 7}}) {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestClip: a stranger's words cannot make lines of their own.
func TestClip(t *testing.T) {
	for in, want := range map[string]string{"a\r\nb\x00\x1b": "a??b??", "\xff": "?", "\u0085": "?", strings.Repeat("x", 80): strings.Repeat("x", 80),
		strings.Repeat("x", 81): strings.Repeat("x", 77) + "...", strings.Repeat("x", 76) + "ééé": strings.Repeat("x", 76) + "..."} {
		if got := clip(in, 80); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
