package imapd

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store/dict"
	"packetboat/internal/store/memstore"
)

// numbered returns a store with n short messages.
func numbered(t *testing.T, n int) *memstore.Store {
	var msgs [][]byte
	for i := range n {
		msgs = append(msgs, fmt.Appendf(nil, "Subject: %d\n\nb\n", i))
	}
	return memory(t, msgs)
}

// TestInProgress: a long search tells how far it is, by its tag.
func TestInProgress(t *testing.T) {
	p := startOurs(t, numbered(t, 200), Options{Progress: time.Nanosecond})
	p.do(t, "a SELECT INBOX")
	lines, _ := p.do(t, "x7 SEARCH ALL")
	if len(lines) != 4 || lines[0] != `* OK [INPROGRESS ("x7" 63 200)] Still at it` || !strings.HasPrefix(lines[3], "* SEARCH 1 2 ") {
		t.Errorf("%q", lines)
	}
}

// TestObjectID: ids stay when a mailbox is renamed and a message copied; no two have
// the same.
func TestObjectID(t *testing.T) {
	p := startOurs(t, numbered(t, 2), Options{})
	_, created := p.do(t, "a CREATE x")
	id := regexp.MustCompile(`\[MAILBOXID \((\w+)\)\]`).FindStringSubmatch(created)
	if id == nil {
		t.Fatal(created)
	}
	p.do(t, "a RENAME x y")
	lines, _ := p.do(t, "a STATUS y (MAILBOXID)")
	if want := "* STATUS y (MAILBOXID (" + id[1] + "))"; len(lines) != 1 || lines[0] != want {
		t.Errorf("%q, want %s", lines, want)
	}
	_, other := p.do(t, "a CREATE x")
	if strings.Contains(other, "("+id[1]+")") {
		t.Errorf("another mailbox is %s", other)
	}
	p.do(t, "a SELECT INBOX")
	first, _ := p.do(t, "a FETCH 1:2 EMAILID")
	p.do(t, "a COPY 1 y")
	lines, _ = p.do(t, "a SELECT y")
	if !strings.Contains(strings.Join(lines, "|"), "* OK [MAILBOXID ("+id[1]+")]") {
		t.Errorf("%q", lines)
	}
	copied, why := p.do(t, "a FETCH 1 EMAILID")
	if len(copied) == 0 {
		t.Fatal(why, lines)
	}
	if copied[0] != first[0] || first[0] == strings.Replace(first[1], "* 2 ", "* 1 ", 1) {
		t.Errorf("%q %q", first, copied)
	}
	email := regexp.MustCompile(`EMAILID \(([^)]+)\)`).FindStringSubmatch(copied[0])
	if lines, why = p.do(t, "a SEARCH EMAILID "+email[1]); len(lines) != 1 || lines[0] != "* SEARCH 1" {
		t.Errorf("%q %s", lines, why)
	}
}

// TestAppendLimit: the limit is told, and holds for a message put together, too.
func TestAppendLimit(t *testing.T) {
	p := startOurs(t, numbered(t, 1), Options{MaxMessage: 40})
	lines, _ := p.do(t, "a CAPABILITY")
	if !strings.Contains(lines[0], " APPENDLIMIT=40") {
		t.Errorf("%q", lines)
	}
	if lines, _ = p.do(t, "a STATUS INBOX (APPENDLIMIT)"); lines[0] != "* STATUS INBOX (APPENDLIMIT 40)" {
		t.Errorf("%q", lines)
	}
	whole := `URL "/INBOX/;UID=1"`
	for _, c := range []string{"(TEXT {41+}\r\n" + strings.Repeat("x", 41) + ")", "(TEXT {30+}\r\n" + strings.Repeat("x", 30) + " " + whole + ")",
		"(" + whole + " " + whole + " " + whole + ")", "(" + whole + " TEXT {30+}\r\n" + strings.Repeat("x", 30) + ")"} {
		if _, tagged := p.do(t, "a APPEND INBOX CATENATE "+c); !strings.HasPrefix(tagged, "a NO [TOOBIG]") {
			t.Errorf("%s: %s", c, tagged)
		}
	}
	if _, tagged := p.do(t, "a APPEND INBOX CATENATE ("+whole+" "+whole+")"); !strings.HasPrefix(tagged, "a OK") {
		t.Error(tagged)
	}
}

// TestMonsters: what no client says is refused, none of it runs, and the session goes
// on, in bounded memory.
func TestMonsters(t *testing.T) {
	st := numbered(t, 3)
	u := User{Name: "alice", Store: st, Attributes: dict.Open(t.TempDir() + "/attributes")}
	big := strings.Repeat("(", 1_000_000)
	literal := "{20+}\r\na DELETE Precious\r\nx"
	for i, c := range []string{
		"SEARCH " + big, "FETCH 1 " + big, "LIST " + big, "NOTIFY SET " + big, "ESEARCH IN " + big + " ALL", "SETMETADATA INBOX " + big, "APPEND INBOX CATENATE " + big,
		"APPEND INBOX UTF8 " + big, "CREATE x " + big, "CANCELUPDATE " + big, "STATUS INBOX " + big,
		"SEARCH " + strings.Repeat("NOT ", 100_000), "SEARCH " + strings.Repeat("OR ", 10_000) + "ALL", "FETCH " + strings.Repeat("1,", 100_000) + "1 FLAGS",
		"UID FETCH 1:4294967295 (UID)", "UID FETCH 4294967296 (UID)", "FETCH 0 UID", "FETCH 99999999999999999999 UID", "UID SEARCH UID 1:*,*:1,4294967295",
		"LOGIN " + strings.Repeat(literal+" ", 1000), "SEARCH " + strings.Repeat("SUBJECT "+literal+" ", 2000), "NOSUCH " + strings.Repeat(literal+" ", 1000),
		"APPEND nope CATENATE (" + strings.Repeat("TEXT "+literal+" ", 500) + ")", "APPEND INBOX CATENATE (URL \"/INBOX/;UID=9\" " + strings.Repeat("TEXT "+literal+" ", 500) + ")",
		"APPEND INBOX CATENATE (FOO " + literal + " TEXT " + literal + ")", "APPEND INBOX UTF8 (" + literal + " " + literal + ")", "SETMETADATA INBOX (" + strings.Repeat("/private/x "+literal+" ", 300) + ")",
		"ESEARCH IN (mailboxes (" + strings.Repeat("x ", 3000) + ")) ALL", "GETMETADATA INBOX (" + strings.Repeat("/private/x ", 3000) + ")", "LIST \"\" " + strings.Repeat("*%", 3000),
	} {
		p := startUser(t, u, Options{})
		p.do(t, "b CREATE Precious")
		p.do(t, "b SELECT INBOX")
		go io.WriteString(p, "m "+c+"\r\nz NOOP\r\n")
		for {
			l, err := p.tryLine()
			if err != nil {
				t.Fatalf("%d %.60q: %v", i, c, err)
			}
			if strings.Contains(l, "Delete completed") {
				t.Errorf("%d %.60q: %s", i, c, l)
			}
			if strings.HasPrefix(l, "z OK") {
				break
			}
		}
		p.Close()
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 64<<20 {
		t.Errorf("%d octets are still held", m.HeapAlloc)
	}
	if _, err := st.Open("Precious"); err != nil {
		t.Error(err)
	}
}

// TestCutAnywhere: a session whose client goes in the middle of any command ends, and
// nothing of the command has happened.
func TestCutAnywhere(t *testing.T) {
	for _, c := range []string{"APPEND INBOX CATENATE (URL \"/INBOX/;UID=1\" TEXT {3+}\r\nabc)\r\n", "APPEND INBOX UTF8 (~{12+}\r\nSubject: x\r\n)\r\n",
		"SETMETADATA INBOX (/private/comment {3+}\r\nabc)\r\n", "MOVE 1 Other\r\n", "CREATE New (USE (\\Sent))\r\n", "NOTIFY SET STATUS (personal (MessageNew MessageExpunge))\r\n"} {
		for n := range len(c) - 1 {
			st := numbered(t, 1)
			st.Create("Other")
			d := dict.Open(t.TempDir() + "/attributes")
			p := startUser(t, User{Name: "alice", Store: st, Attributes: d}, Options{})
			p.do(t, "b SELECT INBOX")
			io.WriteString(p, "m "+c[:n])
			p.Close() // startUser's clean-up holds that the session ends
			list, err := st.List()
			box, _ := st.Open("INBOX")
			kept, _ := d.Below("")
			if err != nil || len(list) != 2 || len(box.Snapshot().Msgs) != 1 || len(kept) != 0 {
				t.Fatalf("%q has run: %d folders, %d messages, %q", c[:n], len(list), len(box.Snapshot().Msgs), kept)
			}
		}
	}
}

// TestOthersMail: another user's mailbox does not exist, whatever the command.
func TestOthersMail(t *testing.T) {
	p := startUser(t, User{Name: "alice", Store: numbered(t, 1), Attributes: dict.Open(t.TempDir() + "/attributes")}, Options{})
	p.do(t, "b SELECT INBOX")
	for _, name := range []string{"~bob/INBOX", "../bob/INBOX", "/var/mail/bob", "user/bob", "user.bob", "shared/bob", "#shared/bob", `"bob\\INBOX"`, "..", "~bob", "x/../../bob"} {
		for _, c := range []string{"SELECT %s", "EXAMINE %s", "STATUS %s (MESSAGES MAILBOXID)", "APPEND %s {3+}\r\nabc", "COPY 1 %s", "MOVE 1 %s", "SUBSCRIBE %s", "RENAME %s mine", "DELETE %s", "GETMETADATA %s /private/x",
			"SETMETADATA %s (/private/x y)", "ESEARCH IN (mailboxes (%s)) RETURN (COUNT) ALL", "ESEARCH IN (subtree (%s)) RETURN (COUNT) ALL"} {
			p.do(t, "b SELECT INBOX")
			lines, tagged := p.do(t, "m "+fmt.Sprintf(c, name))
			told := strings.Contains(strings.Join(lines, "|"), "bob")
			if told || !strings.HasPrefix(tagged, "m NO") && !strings.HasPrefix(c, "ESEARCH") {
				t.Errorf("%s: %q %s", fmt.Sprintf(c, name), lines, tagged)
			}
		}
	}
}
