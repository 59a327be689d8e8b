package trace

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

const log = `Nov 23 22:40:30 mail postfix/smtpd[1]: NOQUEUE: reject: RCPT from c[192.0.2.1]: 550 5.1.1 <bob@far.example>: no; from=<x@y> to=<bob@far.example> proto=ESMTP helo=<c>
Nov 23 22:40:31 mail postfix/smtpd[1]: 71C789C80FC: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=alice
2026-11-23T22:40:31.5+00:00 mail postfix/cleanup[2]: 71C789C80FC: message-id=<m1@x>
Nov 23 22:40:31 mail postfix/qmgr[3]: 71C789C80FC: from=<alice@mail.example.org>, size=1493, nrcpt=2 (queue active)
Nov 23 22:40:31 mail postfix/smtp[4]: 71C789C80FC: to=<bob@far.example>, orig_to=<info@x>, relay=h[192.0.2.9]:25, delay=0.4, delays=0/0/0/0, dsn=5.1.1, status=bounced (host h said: 550 (no=such) user)
Nov 23 22:40:31 mail postfix/smtp[4]: 71C789C80FC: to=<carl@far.example>, relay=none, delay=0.4, delays=0/0/0/0, dsn=4.4.1, status=deferred (connect to h: refused)
Nov 23 22:40:32 mail postfix/bounce[5]: 71C789C80FC: sender non-delivery notification: 72AA89C80FD
Nov 23 22:40:32 mail postfix/cleanup[2]: 72AA89C80FD: message-id=<m2@x>
Nov 23 22:40:32 mail postfix/qmgr[3]: 72AA89C80FD: from=<>, size=99, nrcpt=1 (queue active)
Nov 23 22:40:32 mail dovecot: lmtp(alice)<9><s>: msgid=<m2@x>: saved mail to INBOX
Nov 23 22:40:32 mail postfix/lmtp[6]: 72AA89C80FD: to=<alice@mail.example.org>, relay=mail[private/lmtp], delay=0.1, dsn=2.0.0, status=sent (250 2.0.0 saved)
Nov 23 22:40:32 mail postfix/qmgr[3]: 72AA89C80FD: removed
Nov 23 22:40:33 mail postfix/qmgr[3]: 99AA89C80FD: from=<other@x>, size=1, nrcpt=1 (queue active)
no line of a log
`

func story(what string) *Story {
	t := New(what)
	for range 2 {
		Lines(strings.NewReader(log), func(s string) { t.Find(s) })
	}
	Lines(strings.NewReader(log), t.Gather)
	return t.Story()
}

func TestTrace(t *testing.T) {
	for what, want := range map[string]string{
		"71C789C80FC": "71C789C80FC 72AA89C80FD", "bob@far.example": "71C789C80FC 72AA89C80FD", "BOB@far.example": "71C789C80FC 72AA89C80FD",
		"<m1@x>": "71C789C80FC 72AA89C80FD", "m2@x": "72AA89C80FD", "info@x": "71C789C80FC 72AA89C80FD", "nobody@x": "", "other@x": "99AA89C80FD", "alice": "71C789C80FC 72AA89C80FD",
	} {
		var got []string
		for _, m := range story(what).Messages {
			got = append(got, m.ID)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", what, s, want)
		}
	}
	s := story("bob@far.example")
	m := s.Messages[0]
	if len(s.Refused) != 1 || m.Client != "localhost[127.0.0.1]" || m.From != "alice@mail.example.org" || m.Size != "1493" || m.MessageID != "m1@x" || m.Removed ||
		len(m.Deliveries) != 2 || m.Deliveries[0].Status != "bounced" || m.Deliveries[0].Text != "host h said: 550 (no=such) user" || m.Deliveries[0].OrigTo != "info@x" ||
		m.Deliveries[1].Relay != "none" || len(m.Became) != 1 {
		t.Errorf("%+v", m)
	}
	if b := s.Messages[1]; !b.Removed || b.From != "<>" || !strings.Contains(b.Events[2].Text, "saved mail to INBOX") {
		t.Errorf("%+v", b)
	}
	var text, js bytes.Buffer
	m.Queue = &Queued{Folder: "deferred", NextTry: "soon", Recipients: []Waiting{{To: "a\x1b[2J@b", Reason: "later"}, {To: "x", Done: true}}}
	s.Print(&text)
	for _, want := range []string{"handed over by localhost[127.0.0.1]", "-> bob@far.example: bounced after 0.4 s by h[192.0.2.9]:25: host h said", "=> became 72AA89C80FD",
		"in the queue: deferred, next try soon", "a?[2J@b: waits later", "x: done", "The queue is done with it.", "Refused at the door"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if st := s.Messages[1].Stored; len(st) != 1 || st[0].Folder != "INBOX" || st[0].User == "" {
		t.Errorf("%+v", st)
	}
	if err := s.JSON(&js); err != nil {
		t.Fatal(err)
	}
	var back Story
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || len(back.Messages) != 2 || back.Messages[0].Deliveries[1].DSN != "4.4.1" {
		t.Errorf("%v %s", err, js.String())
	}
}

// TestStored: where a message ended, by each agent's line, and its UID there.
func TestStored(t *testing.T) {
	const head = "Nov 23 22:40:31 m postfix/cleanup[1]: AAAAAAA: message-id=<id@x>\n"
	for line, want := range map[string]Stored{
		"dovecot: lmtp(al)<7><S/1>: msgid=<id@x>: saved mail to INBOX":                                        {User: "al", Folder: "INBOX", UID: "al INBOX id@x"},
		"dovecot: lda(al)<7><S/1>: sieve: msgid=<id@x>: stored mail into mailbox 'Lists/go nuts'":             {User: "al", Folder: "Lists/go nuts", Rule: "sieve", UID: "al Lists/go nuts id@x"},
		"postfix/local[1]: AAAAAAA: to=<al@here>, relay=local, dsn=2.0.0, status=sent (delivered to mailbox)": {User: "al", Folder: "INBOX", UID: "al INBOX id@x"},
	} {
		text := head + "Nov 23 22:40:32 m " + line + "\n"
		tr := New("id@x")
		Lines(strings.NewReader(text), func(s string) { tr.Find(s) })
		Lines(strings.NewReader(text), tr.Gather)
		tr.Locate(func(user, folder, id string) string { return user + " " + folder + " " + id })
		want.Time = "Nov 23 22:40:32"
		m := tr.Story().Messages
		if len(m) != 1 || len(m[0].Stored) != 1 || m[0].Stored[0] != want {
			t.Errorf("%s: %+v", line, m)
		}
		var b bytes.Buffer
		tr.Story().Print(&b)
		if !strings.Contains(b.String(), "== in "+want.Folder+" of al") || !strings.Contains(b.String(), ", UID "+want.UID) {
			t.Error(b.String())
		}
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("71C789C80FC", log)
	f.Add("a@b", "Nov 23 22:40:31 m p/q[1]: AAAAAAA: to=<a@b>, status=\n\x00")
	f.Fuzz(func(t *testing.T, what, text string) {
		tr := New(what)
		Lines(strings.NewReader(text), func(s string) { tr.Find(s) })
		Lines(strings.NewReader(text), tr.Gather)
		var b bytes.Buffer
		tr.Story().Print(&b)
		if strings.ContainsAny(strings.ReplaceAll(b.String(), "\n", ""), "\x1b\x00\r") {
			t.Error("control bytes")
		}
	})
}
