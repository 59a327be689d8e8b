package imapd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// client is what a client believes after what it has been told: the UIDs by
// their sequence numbers, 0 for a message it has heard of but not asked about.
type client struct {
	*peer
	uids []string
}

// fataler is what a client tells of what it should not have heard.
type fataler interface {
	Fatalf(format string, args ...any)
}

// hear applies untagged answers as RFC 3501 section 7.4.1 says. answering is
// true during FETCH, STORE and SEARCH, when no expunge may be told.
func (c *client) hear(t fataler, lines []string, answering bool) {
	for _, l := range lines {
		w := strings.Fields(l)
		if len(w) < 3 {
			continue
		}
		n, err := strconv.Atoi(w[1])
		if err != nil {
			continue
		}
		switch w[2] {
		case "EXISTS":
			if n < len(c.uids) {
				t.Fatalf("EXISTS shrinks: %s", l)
			}
			for len(c.uids) < n {
				c.uids = append(c.uids, "")
			}
		case "EXPUNGE":
			if answering || n > len(c.uids) {
				t.Fatalf("%s with %d messages, answering %v", l, len(c.uids), answering)
			}
			c.uids = append(c.uids[:n-1], c.uids[n:]...)
		case "FETCH":
			c.fetched(t, n, l)
		}
	}
}

// fetched holds a UID that was told against what is known of the number.
func (c *client) fetched(t fataler, n int, l string) {
	if n > len(c.uids) {
		t.Fatalf("%s with %d messages", l, len(c.uids))
	}
	_, rest, ok := strings.Cut(l, "(UID ")
	if !ok {
		return
	}
	uid := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == ')' })[0]
	if c.uids[n-1] != "" && c.uids[n-1] != uid {
		t.Fatalf("message %d was UID %s, now %s", n, c.uids[n-1], uid)
	}
	c.uids[n-1] = uid
}

// TestTwoViews: two sessions do random things to one mailbox. Neither is ever
// told a number that it cannot know, and in the end both see the same.
func TestTwoViews(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		st := memory(t, [][]byte{[]byte("a: 1\n\nx"), []byte("a: 2\n\nx"), []byte("a: 3\n\nx")})
		var cs [2]*client
		for i := range cs {
			cs[i] = &client{peer: startOurs(t, st, Options{})}
			lines, _ := cs[i].do(t, "s SELECT INBOX")
			cs[i].hear(rt, lines, false)
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			c := cs[rapid.IntRange(0, 1).Draw(rt, "who")]
			command := drawCommand(rt, len(c.uids))
			lines, tagged := c.do(t, "a "+command)
			if !strings.HasPrefix(tagged, "a OK") {
				rt.Fatalf("%s: %s", command, tagged)
			}
			word, _, _ := strings.Cut(command, " ")
			c.hear(rt, lines, word == "FETCH" || word == "STORE" || word == "SEARCH")
		}
		agree(t, rt, cs)
	})
}

func drawCommand(rt *rapid.T, count int) string {
	commands := []string{"NOOP", "EXPUNGE", "APPEND INBOX {8+}\r\na: b\r\n\r\n", "UID FETCH 1:* FLAGS", "UID STORE 1:* -FLAGS (kw)", "SEARCH ALL"}
	if count > 0 {
		n := rapid.IntRange(1, count).Draw(rt, "n")
		commands = append(commands,
			fmt.Sprintf("FETCH %d UID", n), fmt.Sprintf("FETCH %d:* (UID FLAGS)", n),
			fmt.Sprintf("STORE %d +FLAGS (\\Deleted)", n), fmt.Sprintf("STORE %d +FLAGS.SILENT (\\Deleted)", n),
			fmt.Sprintf("STORE %d FLAGS (\\Seen kw)", n))
	}
	return rapid.SampledFrom(commands).Draw(rt, "command")
}

// agree lets both sessions hear all news and compares their mailboxes.
func agree(t *testing.T, rt *rapid.T, cs [2]*client) {
	var views [2]string
	for i, c := range cs {
		lines, _ := c.do(t, "n NOOP")
		c.hear(rt, lines, false)
		if len(c.uids) == 0 {
			continue
		}
		lines, tagged := c.do(t, "f FETCH 1:* (UID FLAGS)")
		if !strings.HasPrefix(tagged, "f OK") || len(lines) != len(c.uids) {
			rt.Fatalf("%d messages, but %v %s", len(c.uids), lines, tagged)
		}
		c.hear(rt, lines, true)
		views[i] = strings.ReplaceAll(strings.ReplaceAll(strings.Join(lines, "\n"), ` \Recent`, ""), `\Recent`, "")
	}
	if views[0] != views[1] {
		rt.Fatalf("first:\n%s\nsecond:\n%s", views[0], views[1])
	}
}
