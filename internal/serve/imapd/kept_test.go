package imapd

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir"
	"packetboat/internal/store/mbox"
)

// oddMails are messages whose headers and texts are not kept alike.
func oddMails() (list []string) {
	list = []string{
		"",
		"\r\nonly a body with subject: needle\r\n",
		"Subject: no end",
		"Subject: NUL \x00 needle\r\nFrom: a@b\r\n\r\nx\r\n",
		"subject : blank before the colon\r\nFrom : a@b\r\n\r\n\r\n",
		" Subject: begins with a blank\r\nTo: x@y\r\n\r\nneedle\r\n",
		"Subject: =?utf-8?B?TsOEREVM?=\r\nFrom: =?utf-8?Q?M=C3=BCller?= <m@x>\r\nTo: (c) \"a\\\"b\" <q@z>,\r\n\t g:;\r\nX-Odd: Needle\r\nX-Odd: two\r\n\r\nn\r\n",
		"Date: Mon, 2 Mar 2020 23:59:59 -0800\r\nFrom: a@b\r\nSubject: one\r\nSubject: needle two\r\nReferences: <a@b>\r\n <c@d>\r\n\r\nbody\r\n",
		"Date: nonsense\r\nSubject:\r\n\r\n",
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nSubject: part Needle\r\n\r\nab\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\nTmVlZGxlIGlu\r\nIGJhc2U2NA==\r\n--x--\r\n",
		"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nN=C4DEL ne=\r\nedle\r\n",
		"Subject: " + strings.Repeat("long ", 20000) + "needle\r\nTo: a@b\r\n\r\n" + strings.Repeat("x", 40000) + "needle\r\n",
	}
	for i := range 300 {
		list = append(list, fmt.Sprintf("From: u%d@example.org\r\nSubject: message %d\r\nDate: Mon, %d Mar 2020 10:00:00 +0000\r\n\r\n%s\r\n", i, i, i%28+1, strings.Repeat(fmt.Sprint("text ", i*7), i)))
	}
	return list
}

// askers are commands whose answers come out of the index when they can.
var askers = []string{
	"FETCH 1:* (ENVELOPE)", "FETCH 1:* (BODY BODYSTRUCTURE)", "UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date References)])",
	"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Subject)]<3.7>)", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Odd Subject)])", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Odd)]<2.5>)",
	"FETCH 1:* (BODY.PEEK[HEADER.FIELDS.NOT (Subject)])", "FETCH 300:1 (ENVELOPE BODY)",
	`SEARCH FROM "ller"`, `SEARCH SUBJECT "needle"`, `SEARCH SUBJECT ""`, `SEARCH HEADER From "m@x"`, `SEARCH HEADER X-Odd "needle"`, `SEARCH HEADER X-Odd ""`,
	`SEARCH TO "q@z"`, `SEARCH SENTSINCE 5-Mar-2020`, `SEARCH SENTON 2-Mar-2020 NOT FROM "u1"`, `SEARCH SENTBEFORE 1-Jan-1971`,
	`SEARCH BODY "needle"`, `SEARCH TEXT "needle"`, `SEARCH BODY "needle"`, `SEARCH BODY "ne"`, `SEARCH NOT TEXT "text 700"`, `SEARCH OR BODY "text 1400text" SUBJECT "message 7"`,
	"SEARCH CHARSET UTF-8 TEXT \"n\u00e4del\"", `SEARCH TEXT "nothing holds this"`, `SEARCH BODY "nothing holds this" TEXT "message"`,
}

// answers are what a session says to all askers.
func answers(t *testing.T, st store.Store) (all []string) {
	p := startOurs(t, st, Options{})
	p.do(t, "a EXAMINE INBOX")
	for _, c := range askers {
		lines, tagged := p.do(t, "a "+c)
		all = append(all, c+"\n"+strings.Join(lines, "\n")+"\n"+tagged[strings.IndexByte(tagged, ' '):])
	}
	p.do(t, "a LOGOUT")
	for i := range all {
		all[i], _, _ = strings.Cut(all[i], " completed (")
		all[i] = strings.ReplaceAll(all[i], `\Recent`, "") // who came first is no matter of the index
	}
	return all
}

// TestKeptAnswers holds that what comes out of the index is what comes out of
// the messages: without one, while it is made, out of it, and after the file
// was damaged.
func TestKeptAnswers(t *testing.T) {
	for kind, open := range map[string]func(dir string, keep bool) (store.Store, error){
		"mbox": func(dir string, keep bool) (store.Store, error) {
			o := mbox.Options{Inbox: filepath.Join(dir, "inbox")}
			if keep {
				o.Folders = filepath.Join(dir, "mail")
			}
			return mbox.Open(o)
		},
		"maildir": func(dir string, keep bool) (store.Store, error) {
			o := maildir.Options{Root: filepath.Join(dir, "Maildir"), Index: "MEMORY"}
			if keep {
				o.Index = ""
			}
			return maildir.Open(o)
		},
	} {
		t.Run(kind, func(t *testing.T) { keptAnswers(t, open) })
	}
}

func keptAnswers(t *testing.T, open func(dir string, keep bool) (store.Store, error)) {
	dir := t.TempDir()
	plain, err := open(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	fillOdd(t, plain)
	want := answers(t, plain)
	plain.Close()
	check := func(when string) {
		st, err := open(dir, true)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		for range 2 {
			got := answers(t, st)
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s: %s\n%s", when, askers[i], firstDifference(got[i], want[i]))
				}
			}
		}
	}
	check("new")
	check("opened again")
	damage(t, dir)
	check("damaged")
}

func fillOdd(t *testing.T, s store.Store) {
	box, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	var msgs []store.New
	for _, m := range oddMails() {
		msgs = append(msgs, store.New{Body: strings.NewReader(m), Date: time.Unix(1e9, 0)})
	}
	if _, err := box.Append(msgs); err != nil {
		t.Fatal(err)
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for ; i < min(len(g), len(w)) && g[i] == w[i]; i++ {
	}
	return fmt.Sprintf("line %d of %d and %d\n got  %.300q\n want %.300q", i, len(g), len(w), append(g, "")[i], append(w, "")[i])
}

// damage changes an octet in every few hundred of all index files.
func damage(t *testing.T, dir string) {
	found := 0
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "packetboat.index" {
			return err
		}
		found++
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(b) / 2; i < len(b); i += 700 {
			b[i] ^= 0x55
		}
		return os.WriteFile(path, b, 0o600)
	})
	if found == 0 {
		t.Error("there is no index")
	}
}
