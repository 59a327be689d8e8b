package imapd

import (
	"io"
	"strings"
	"testing"
	"time"

	"packetboat/internal/serve/imapd/notify"
	"packetboat/internal/store/memstore"
)

// hears reads lines until one holds each of the words, or fails after a long time.
func (p *peer) hears(t *testing.T, words ...string) {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		for {
			l, err := p.tryLine()
			if err != nil {
				return
			}
			ok := true
			for _, w := range words {
				ok = ok && strings.Contains(l, w)
			}
			if ok {
				found <- l
				return
			}
		}
	}()
	select {
	case <-found:
	case <-time.After(30 * time.Second):
		t.Fatalf("nothing is told of %q", words)
	}
}

// TestNotify: what others do is told between commands, of the selected mailbox and of
// those that were named; a command goes on in the middle of it.
func TestNotify(t *testing.T) {
	st := memory(t, [][]byte{[]byte("Subject: a\n\nb\n")})
	a, b := startOurs(t, st, Options{}), startOurs(t, st, Options{})
	b.do(t, "b CREATE two")
	a.do(t, "a SELECT INBOX")
	_, tagged := a.do(t, "a NOTIFY SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge FlagChange)) (mailboxes two (MessageNew MessageExpunge FlagChange)) (personal (MailboxName SubscriptionChange))")
	if !strings.HasPrefix(tagged, "a OK") {
		t.Fatal(tagged)
	}
	b.do(t, "b SELECT INBOX")
	b.do(t, "b STORE 1 +FLAGS (\\Flagged)")
	a.hears(t, "* 1 FETCH", `\Flagged`)
	b.do(t, "b APPEND INBOX {18+}\r\nSubject: two\r\n\r\nxy")
	a.hears(t, "* 2 EXISTS")
	a.hears(t, "* 2 FETCH", "UID 2", "Subject: two")
	b.do(t, "b APPEND two {18+}\r\nSubject: two\r\n\r\nxy")
	a.hears(t, "* STATUS two", "MESSAGES 1", "UIDNEXT 2", "UNSEEN 1")
	b.do(t, "b SELECT two")
	b.do(t, "b STORE 1 +FLAGS (\\Seen)")
	a.hears(t, "* STATUS two", "UNSEEN 0")
	b.do(t, "b CREATE three")
	a.hears(t, "* LIST", "three")
	b.do(t, "b SUBSCRIBE three")
	a.hears(t, "* LIST", `\Subscribed`, "three")
	b.do(t, "b DELETE three")
	a.hears(t, "* LIST", `\NonExistent`, "three")
	b.do(t, "b SELECT INBOX")
	io.WriteString(a, "a NO")
	b.do(t, "b STORE 1 +FLAGS (\\Deleted)")
	b.do(t, "b EXPUNGE")
	io.WriteString(a, "OP\r\n")
	a.hears(t, "* 1 EXPUNGE")
	a.hears(t, "a OK NOOP")
	io.WriteString(a, "a IDLE\r\n")
	a.hears(t, "+ idling")
	b.do(t, "b APPEND two {18+}\r\nSubject: two\r\n\r\nxy")
	a.hears(t, "* STATUS two", "MESSAGES 2")
	io.WriteString(a, "DONE\r\n")
	a.hears(t, "a OK Idle")
	if _, tagged = a.do(t, "a NOTIFY NONE"); !strings.HasPrefix(tagged, "a OK") {
		t.Error(tagged)
	}
}

// TestNotifyDelayed: with selected-delayed no number changes its meaning between
// commands.
func TestNotifyDelayed(t *testing.T) {
	st := memory(t, [][]byte{[]byte("Subject: a\n\nb\n"), []byte("Subject: b\n\nb\n")})
	a, b := startOurs(t, st, Options{}), startOurs(t, st, Options{})
	a.do(t, "a SELECT INBOX")
	a.do(t, "a NOTIFY SET (selected-delayed (MessageNew MessageExpunge))")
	b.do(t, "b SELECT INBOX")
	b.do(t, "b STORE 1 +FLAGS (\\Deleted)")
	b.do(t, "b EXPUNGE")
	b.do(t, "b APPEND INBOX {18+}\r\nSubject: two\r\n\r\nxy")
	a.hears(t, "* 3 EXISTS") // the first one still counts
	lines, _ := a.do(t, "a NOOP")
	if strings.Join(lines, "|") != "* 1 EXPUNGE" && !strings.Contains(strings.Join(lines, "|"), "* 1 EXPUNGE") {
		t.Errorf("%q", lines)
	}
}

// TestNotifyOverflow: more mailboxes than can be watched are told so, and the session
// goes on.
func TestNotifyOverflow(t *testing.T) {
	st := memstore.New()
	for i := range notify.MaxBoxes + 1 {
		if err := st.Create("x" + strings.Repeat("y", i%90) + string(rune('a'+i/90))); err != nil {
			t.Fatal(err)
		}
	}
	a := startOurs(t, st, Options{})
	lines, tagged := a.do(t, "a NOTIFY SET (personal (MessageNew MessageExpunge))")
	if len(lines) != 1 || !strings.Contains(lines[0], "[NOTIFICATIONOVERFLOW]") || !strings.HasPrefix(tagged, "a OK") {
		t.Errorf("%q %q", lines, tagged)
	}
}
