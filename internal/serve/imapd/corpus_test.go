package imapd

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"unicode/utf8"
)

// corpus returns the mails of ../shared/mailcorpus.
func corpus(t testing.TB) (names []string, msgs [][]byte) {
	t.Helper()
	all, _ := filepath.Glob("../../../../shared/mailcorpus/*")
	if len(all) == 0 {
		t.Skip("../shared/mailcorpus is not here")
	}
	sort.Strings(all)
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(name))
		msgs = append(msgs, b)
	}
	return names, msgs
}

// compare sends one command to both servers and counts the answers that agree.
func compare(t *testing.T, ours, theirs *peer, names []string, command string) (same, total int) {
	t.Helper()
	a, at := ours.do(t, command)
	b, bt := theirs.do(t, command)
	if strings.Fields(at)[1] != strings.Fields(bt)[1] {
		t.Errorf("%s: ours %q, Dovecot %q", command, at, bt)
	}
	if len(a) != len(b) {
		t.Errorf("%s: %d lines, Dovecot %d", command, len(a), len(b))
	}
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			same++
			continue
		}
		if os.Getenv("IMAPD_DIFF") != "" && i < len(names) {
			t.Logf("%s %s\n ours %.400q\n dove %.400q", command, names[i], a[i], b[i])
		}
	}
	return same, len(b)
}

// differs is how many answers are known not to be Dovecot's, and why.
//
// Four mails have an unquoted boundary that holds "=". Dovecot shows it whole
// in BODYSTRUCTURE, but looks only for what stands before the "=", so that it
// takes the closing line for the beginning of an empty part. Ours ends there,
// and so do the readers of mail. Dovecot's first answer to BODYSTRUCTURE writes
// "7BIT" where every later one has "7bit"; ours is the later one. A part that a
// boundary cuts off in its header is the fifth (b200520934f9).
var differs = map[string]int{
	"FETCH 1:* (BODYSTRUCTURE)":                        5,
	"FETCH 1:* (BODY)":                                 4,
	"FETCH 1:* (BODY.PEEK[1])":                         1,
	"FETCH 1:* (BODY.PEEK[2.MIME])":                    1,
	"FETCH 1:* (BODY.PEEK[2.HEADER.FIELDS (Subject)])": 1,
}

// TestCorpus holds FETCH of every mail of the corpus against Dovecot's.
func TestCorpus(t *testing.T) {
	names, msgs := corpus(t)
	theirs := startDovecot(t, dovecotHome(t, msgs))
	ours := startOurs(t, memory(t, msgs), Options{})
	ours.do(t, "a SELECT INBOX")
	theirs.do(t, "a SELECT INBOX")
	for _, c := range []string{"UID FETCH 1:* (RFC822.SIZE)", "FETCH 1:* (ENVELOPE)", "FETCH 1:* (BODYSTRUCTURE)", "FETCH 1:* (BODY)",
		"FETCH 1:* (BODY.PEEK[])", "FETCH 1:* (BODY.PEEK[HEADER])", "FETCH 1:* (BODY.PEEK[TEXT])", "FETCH 1:* (BODY.PEEK[1])",
		"FETCH 1:* (BODY.PEEK[2])", "FETCH 1:* (BODY.PEEK[1.1])", "FETCH 1:* (BODY.PEEK[1.2])", "FETCH 1:* (BODY.PEEK[2.1])", "FETCH 1:* (BODY.PEEK[1.MIME])", "FETCH 1:* (BODY.PEEK[2.MIME])",
		"FETCH 1:* (BODY.PEEK[1.HEADER])", "FETCH 1:* (BODY.PEEK[2.HEADER])", "FETCH 1:* (BODY.PEEK[2.TEXT])", "FETCH 1:* (BODY.PEEK[3])", "FETCH 1:* (BODY.PEEK[1.1.MIME])", "FETCH 1:* (BODY.PEEK[2.1.MIME])",
		"FETCH 1:* (BODY.PEEK[2.1.HEADER])", "FETCH 1:* (BODY.PEEK[1.1.1])", "FETCH 1:* (BODY.PEEK[2.1.1])",
		"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (From Subject Received)])", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS.NOT (Received From)])", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Nope)])",
		"FETCH 1:* (BODY.PEEK[2.HEADER.FIELDS (Subject)])", "FETCH 1:* (BODY.PEEK[1.HEADER.FIELDS (Subject)])", "FETCH 1:* (BODY.PEEK[]<10.100>)", "FETCH 1:* (BODY.PEEK[TEXT]<100.100000>)", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (From Date)]<5.20>)",
	} {
		same, total := compare(t, ours, theirs, names, "a "+c)
		if same != total {
			t.Logf("%s: %d of %d agree", c, same, total)
		}
		if total-same > differs[c] {
			t.Errorf("%s: %d answers differ from Dovecot's, %d are known", c, total-same, differs[c])
		}
	}
}

// searchDiffers is how many answers to a search are known not to be Dovecot's:
// a Date before 1970, in 3609 or with "AM" behind it (Dovecot's day is another
// than the field's), an encoded word with broken base64, a part with the
// transfer encoding "text/html", an address list that breaks off in a group.
var searchDiffers = map[string]int{
	"SUBJECT test": 1, "BODY the": 1, "TEXT the": 1, "BODY hello": 1,
	"SENTSINCE 1-Jan-2010": 3, "SENTBEFORE 1-Jan-2000": 5, "TO \", \"": 1,
}

// TestCorpusSearch holds SEARCH over the corpus against Dovecot's.
func TestCorpusSearch(t *testing.T) {
	_, msgs := corpus(t)
	theirs := startDovecot(t, dovecotHome(t, msgs))
	ours := startOurs(t, memory(t, msgs), Options{})
	ours.do(t, "a SELECT INBOX")
	theirs.do(t, "a SELECT INBOX")
	for _, q := range []string{
		"ALL", "SUBJECT test", "FROM example", "TO undisclosed", "BODY the", "TEXT the", "BODY hello", "TEXT received",
		"SUBJECT \"\"", "HEADER Message-ID example", "HEADER Received localhost", "HEADER X-Spam-Status \"\"", "CC com", "BCC a",
		"SENTSINCE 1-Jan-2010", "SENTBEFORE 1-Jan-2000", "SENTON 7-Dec-2001", "SINCE 14-Nov-2023", "BEFORE 15-Nov-2023", "ON 14-Nov-2023",
		"LARGER 10000", "SMALLER 300", "NOT LARGER 300", "OR SUBJECT spam BODY spam", "NOT (SUBJECT spam BODY spam)", "1:50 UNSEEN",
		"CHARSET UTF-8 BODY \"\u00e9\"", "CHARSET UTF-8 TEXT \"\u4f60\"", "CHARSET UTF-8 SUBJECT \"\u00fc\"", "CHARSET ISO-8859-1 TEXT \"\xe9\"",
		"BODY \"multi part\"", "TEXT boundary", "BODY boundary", "BODY mime", "BODY attachment", "TEXT \"content-type: text/html\"", "FROM \"@\"", "FROM \"<\"", "TO \", \"",
		"SUBJECT \"re: \"", "BODY \"<html\"", "BODY \"=20\"", "BODY xyz123", "TEXT test.txt", "HEADER Content-Type multipart", "HEADER To friends",
	} {
		command := "a SEARCH " + q
		if utf8.ValidString(q) && !isASCII(q) || !utf8.ValidString(q) {
			command = asLiteral(command)
		}
		a, at := ours.do(t, command)
		b, bt := theirs.do(t, command)
		if strings.Join(a, "\n") != strings.Join(b, "\n") || strings.Fields(at)[1] != strings.Fields(bt)[1] {
			if n := len(minus(a, b)) + len(minus(b, a)); n > searchDiffers[q] {
				t.Errorf("%s: ours only %v, Dovecot only %v (%s, %s)", q, minus(a, b), minus(b, a), at, bt)
			}
		}
	}
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

// asLiteral sends the quoted string of a command as a literal, for it holds 8-bit text.
func asLiteral(command string) string {
	head, text, _ := strings.Cut(command, `"`)
	text = strings.TrimSuffix(text, `"`)
	return fmt.Sprintf("%s{%d+}\r\n%s", head, len(text), text)
}

// minus returns the words of a that are not in b.
func minus(a, b []string) (only []string) {
	have := map[string]bool{}
	for _, w := range strings.Fields(strings.Join(b, " ")) {
		have[w] = true
	}
	for _, w := range strings.Fields(strings.Join(a, " ")) {
		if !have[w] {
			only = append(only, w)
		}
	}
	return only
}
