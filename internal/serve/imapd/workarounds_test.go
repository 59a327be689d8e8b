package imapd

import (
	"strings"
	"testing"
)

// TestDelayedNotVanished: mail that delay-newmail holds back is not told as vanished
// to a client with QRESYNC, nor covered by the HIGHESTMODSEQ it hears of.
func TestDelayedNotVanished(t *testing.T) {
	st := memory(t, [][]byte{[]byte("Subject: a\r\n\r\nx\r\n"), []byte("Subject: b\r\n\r\nx\r\n")})
	c := startOurs(t, st, Options{Workarounds: []string{"delay-newmail"}})
	other := startOurs(t, st, Options{})
	c.do(t, "a ENABLE QRESYNC")
	c.do(t, "a SELECT INBOX")
	other.do(t, "b APPEND INBOX {14+}\r\nSubject: x\r\n\r\n")
	for _, command := range []string{"a FETCH 1 FLAGS", "a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", "a UID FETCH 1:9 (FLAGS) (CHANGEDSINCE 1 VANISHED)", "a ENABLE CONDSTORE"} {
		lines, _ := c.do(t, command)
		for _, l := range lines {
			if strings.Contains(l, "VANISHED") || strings.Contains(l, "EXISTS") || strings.HasPrefix(l, "* 3 ") {
				t.Errorf("%s: %s", command, l)
			}
		}
	}
	if lines, _ := c.do(t, "a NOOP"); !strings.Contains(strings.Join(lines, "\n"), "* 3 EXISTS") {
		t.Errorf("NOOP: %q", lines)
	}
	if lines, _ := c.do(t, "a UID FETCH 3 (FLAGS) (CHANGEDSINCE 1 VANISHED)"); len(lines) != 1 || !strings.HasPrefix(lines[0], "* 3 FETCH") {
		t.Errorf("after NOOP: %q", lines)
	}
}
