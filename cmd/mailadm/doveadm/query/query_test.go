package query

import (
	"strings"
	"testing"
	"time"
)

// TestErrors holds the texts against those of doveadm 2.3.19.
func TestErrors(t *testing.T) {
	for in, want := range map[string]string{
		"or": "Missing argument", "seen or": "Missing argument", "not": "Missing argument", "(": "Missing ')'", ")": "Unexpected ')'",
		"or seen flagged": "Use parenthesis when mixing ANDs and ORs", "uid x": "Invalid UID messageset", "0": "Invalid messageset",
		"larger x": "Invalid size: x", "since 1x": "Invalid search date parameter: 1x", "since 2026-1-2": "Invalid search date parameter: 2026-1-2",
		"header x": "Missing parameter for search key (for search key: HEADER)", "older 1d": "Invalid search interval parameter",
		"undelete": "Unknown argument UNDELETE", "modseq x": "Invalid MODSEQ value",
	} {
		if _, err := Parse(strings.Fields(in), time.Now()); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestValues(t *testing.T) {
	now := time.Unix(1795468197, 0)
	for in, want := range map[string]int64{"2007-04-13": 1176422400, "13-Apr-2007": 1176422400, "1176418800": 1176418800,
		"1w": 1795468197 - 604800, "2hours": 1795468197 - 7200, "5m": 1795468197 - 300, "3 days": 1795468197 - 259200} {
		if got, _, ok := parseDate(in, now); !ok || got != want {
			t.Errorf("%s: %d %v, want %d", in, got, ok, want)
		}
	}
	for in, want := range map[string]int64{"1": 1, "50k": 51200, "1M": 1 << 20, "2GB": 2 << 30, "1T": 1 << 40, "7b": 7} {
		if got, ok := parseSize(in); !ok || got != want {
			t.Errorf("%s: %d %v, want %d", in, got, ok, want)
		}
	}
	for _, c := range []struct {
		mask, name string
		want       bool
	}{{"*", "a/b", true}, {"%", "a/b", false}, {"a/%", "a/b", true}, {"inbox", "INBOX", true}, {"S*t", "Sent", true}, {"S*x", "Sent", false}, {"", "", true}} {
		if got := MatchMailbox(c.mask, c.name); got != c.want {
			t.Errorf("%v: %v", c, got)
		}
	}
}

// TestNamesMailbox holds the guard of expunge: no branch without a mailbox, none
// with a mailbox alone.
func TestNamesMailbox(t *testing.T) {
	for in, want := range map[string][2]bool{
		"mailbox x all": {true, true}, "mailbox x": {true, false}, "all": {false, true}, "mailbox x or all": {false, false},
		"not mailbox x all": {false, true}, "( mailbox x or mailbox y ) seen": {true, true}, "( mailbox x or seen ) all": {false, true},
		"not ( mailbox x seen )": {false, true},
	} {
		q, err := Parse(strings.Fields(in), time.Now())
		if err != nil {
			t.Fatal(in, err)
		}
		named, more := q.NamesMailbox()
		if named != want[0] || named && more != want[1] {
			t.Errorf("%s: %v %v", in, named, more)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"mailbox INBOX ( seen or not flagged ) uid 1:*,3", "savedbefore 2w larger 1T", "not not not )", "header x y or 5:4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := Parse(strings.Fields(s), time.Unix(1795468197, 0))
		if err == nil {
			q.May(Where{Name: "INBOX"})
			q.NamesMailbox()
			q.Names()
		}
	})
}
