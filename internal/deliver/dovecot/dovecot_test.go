package dovecot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/deliver"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/store/location"
	"packetboat/internal/store/quota"
)

// user opens the mail of a user below dir, in a Maildir or in mboxes.
func user(t *testing.T, dir, kind string, o Options) *User {
	t.Helper()
	where := kind + ":" + dir + "/mail"
	if kind == "mbox" {
		where += ":INBOX=" + dir + "/inbox"
		os.Mkdir(dir+"/mail", 0o700)
	}
	l, err := location.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	u := Open(o, deliver.Account{User: "u"}, l)
	t.Cleanup(u.Close)
	return u
}

func save(u *User, folder, body string) string {
	box, st := u.Save(folder, deliver.Message{Sender: "s@x", ReturnPath: true, To: "u", Body: strings.NewReader(body)}, strings.NewReader(body), nil)
	return fmt.Sprintf("%s: %d %s %s", box, st.Reply, st.Code, st.Text)
}

// TestFolders: a folder that is there gets the mail; one that is not is made and
// subscribed where that is asked for, else the inbox gets it.
func TestFolders(t *testing.T) {
	for _, kind := range []string{"maildir", "mbox"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			o := Options{Prefix: "P.", Separator: '.'}
			u := user(t, dir, kind, o)
			for folder, want := range map[string]string{"": "INBOX", "inbox": "INBOX", "P.New": "INBOX", "New": "INBOX", "P.a/b": "INBOX", "P.../x": "INBOX", "P.": "INBOX"} {
				if got := save(u, folder, "S: x\n\nhi\n"); got != want+": 250 2.0.0 saved mail to "+want {
					t.Errorf("%q: %s", folder, got)
				}
			}
			o.Autocreate, o.Autosubscribe = true, true
			u = user(t, dir, kind, o)
			for _, folder := range []string{"P.New", "P.New", "P.Lists.Go"} {
				if got := save(u, folder, "S: x\n\nhi\n"); got != folder+": 250 2.0.0 saved mail to "+folder {
					t.Errorf("%s", got)
				}
			}
			u.mu.Lock()
			st, _ := u.store()
			u.mu.Unlock()
			list, err := st.List()
			var got []string
			for _, f := range list {
				b, err := st.Open(f.Name)
				if err != nil {
					continue
				}
				s, _ := b.Sync()
				got = append(got, fmt.Sprint(f.Name, " ", len(s.Msgs), " ", f.Subscribed))
				b.Close()
			}
			if text := strings.Join(got, ", "); err != nil || !strings.Contains(text, "INBOX 7 false") || !strings.Contains(text, "New 2 true") || !strings.Contains(text, "Lists/Go 1 true") {
				t.Errorf("%s %v", text, err)
			}
		})
	}
}

// TestQuota: a full mailbox refuses, for now or for good; the file of a Maildir's
// quota says what came; RCPT is asked only where XQUOTA says so.
func TestQuota(t *testing.T) {
	body := "Subject: x\n\n" + strings.Repeat("y", 900) + "\n"
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"bounce":  {Options{}, "INBOX: 552 5.2.2 Quota exceeded (mailbox for user is full)"},
		"defer":   {Options{TempFail: true}, "INBOX: 452 4.2.2 Quota exceeded (mailbox for user is full)"},
		"toolong": {Options{}, "INBOX: 451 4.2.0 Mail size is larger than the maximum size allowed by server configuration"},
		"broken":  {Options{}, "INBOX: 451 4.3.0 quota: quota_rule: invalid rule: x"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.o.Quota = quota.Settings{"quota": "maildir:U", "quota_rule": "*:bytes=1500", "quota_grace": "0"}
			switch name {
			case "toolong":
				c.o.Quota["quota_max_mail_size"] = "800"
			case "broken":
				c.o.Quota["quota_rule"] = "x"
			}
			u := user(t, dir, "maildir", c.o)
			first := save(u, "", "Subject: x\n\n"+strings.Repeat("y", 600)+"\n")
			if name != "broken" && first != "INBOX: 250 2.0.0 saved mail to INBOX" {
				t.Error(first)
			}
			if got := save(u, "", body); got != c.want {
				t.Errorf("%s", got)
			}
			if st := u.Rcpt(&lmtpd.Rcpt{Size: 5000}); st != nil {
				t.Errorf("RCPT was refused: %+v", st)
			}
			if st := u.Rcpt(&lmtpd.Rcpt{Size: 5000, Ask: true}); st == nil || st.Outcome == mail.Sent {
				t.Errorf("XQUOTA: %+v", st)
			}
			if name != "bounce" {
				return
			}
			list, _ := os.ReadDir(filepath.Join(dir, "mail/new"))
			b, _ := os.ReadFile(filepath.Join(dir, "mail/maildirsize"))
			fi, _ := list[0].Info()
			if want := fmt.Sprintf("1500S\n%d 1\n", fi.Size()); len(list) != 1 || string(b) != want {
				t.Errorf("%d messages, %q, want %q", len(list), b, want)
			}
		})
	}
}

// TestBackend: as lmtpd calls it: headers by the settings, one answer a recipient.
func TestBackend(t *testing.T) {
	for address, want := range map[string]string{"": "Delivered-To: u+x@y\n", "final": "Delivered-To: u+x@y\n", "none": "", "original": "Delivered-To: o@z\n"} {
		u := user(t, t.TempDir(), "mbox", Options{Address: address})
		r := &lmtpd.Rcpt{Addr: "u+x@y", ORCPT: "rfc822;o+40z"}
		m := &lmtpd.Message{Sender: "s@x", Rcpts: []*lmtpd.Rcpt{r}}
		u.Deliver([]*lmtpd.Message{m})
		b, _ := os.ReadFile(u.loc.Inbox)
		_, rest, _ := strings.Cut(string(b), "\n")
		if r.Status.Text != "saved mail to INBOX" || !strings.HasPrefix(rest, "Return-Path: <s@x>\n"+want) || strings.Contains(rest, "Delivered") != (want != "") {
			t.Errorf("%s: %+v %s", address, r.Status, b)
		}
		if u.delivered(&lmtpd.Rcpt{Addr: "u", Delivered: "-"}) != "" {
			t.Error("one of several recipients is named")
		}
	}
}
