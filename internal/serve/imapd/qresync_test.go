package imapd

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
)

// cached is what a client keeps of a mailbox between two visits.
type cached struct {
	modseq, validity string
	flags            map[string]string // by UID
}

var (
	fetchedIn  = regexp.MustCompile(`^\* \d+ FETCH \(UID (\d+) (?:MODSEQ \(\d+\) )?FLAGS (\([^)]*\))`)
	vanishedIn = regexp.MustCompile(`^\* VANISHED (?:\(EARLIER\) )?([0-9,:]+)`)
	highestIn  = regexp.MustCompile(`HIGHESTMODSEQ (\d+)`)
)

// hear applies answers.
func (c *cached) hear(lines []string) {
	for _, l := range lines {
		if m := fetchedIn.FindStringSubmatch(l); m != nil {
			c.flags[m[1]] = strings.ReplaceAll(strings.ReplaceAll(m[2], ` \Recent`, ""), `\Recent`, "")
		}
		if m := vanishedIn.FindStringSubmatch(l); m != nil {
			set, _ := syntax.ParseSet([]byte(m[1]))
			for uid := range c.flags {
				if n, _ := strconv.ParseUint(uid, 10, 32); set.Resolve(0).Contains(uint32(n)) {
					delete(c.flags, uid)
				}
			}
		}
		if m := highestIn.FindStringSubmatch(l); m != nil {
			c.modseq = m[1]
		}
		if m := validityIn.FindStringSubmatch(l); m != nil {
			c.validity = m[1]
		}
	}
}

// TestResync: a client that comes back with QRESYNC knows what one knows that
// fetches everything, whatever has happened meanwhile, and over every store.
func TestResync(t *testing.T) {
	for kind, where := range map[string]string{"memory": "", "mbox": "mbox:~/mail:INBOX=~/inbox", "maildir": "maildir:~/mail"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			mem := memory(t, threads(8))
			open := func() store.Store { return mem }
			if home := t.TempDir(); where != "" {
				open = func() store.Store {
					st, err := location.Open(strings.ReplaceAll(where, "~", home), location.Options{})
					if err != nil {
						t.Fatal(err)
					}
					return st
				}
				st := open()
				fill(t, st, threads(8))
				st.Close()
			}
			resync(t, open)
		})
	}
}

func resync(t *testing.T, open func() store.Store) {
	r := rand.New(rand.NewPCG(7, 7))
	c := &cached{modseq: "1", validity: "1", flags: map[string]string{}}
	for round := range 25 {
		st := open() // a new process sees what the one before has written
		back, gone := visit(t, st)
		back.do(t, "a ENABLE QRESYNC")
		lines, _ := back.do(t, fmt.Sprintf("a SELECT INBOX (QRESYNC (%s %s))", c.validity, c.modseq))
		if round == 0 {
			c.hear(lines)
			lines, _ = back.do(t, "a UID FETCH 1:* (FLAGS)")
		}
		c.hear(lines)
		other, done := visit(t, st)
		other.do(t, "b SELECT INBOX")
		fresh := &cached{flags: map[string]string{}}
		all, _ := other.do(t, "b UID FETCH 1:* (FLAGS)")
		fresh.hear(all)
		if fmt.Sprint(c.flags) != fmt.Sprint(fresh.flags) {
			t.Fatalf("round %d: the client knows %v, the mailbox is %v\n%s", round, c.flags, fresh.flags, strings.Join(lines, "\n"))
		}
		for range 1 + r.IntN(4) {
			other.do(t, []string{
				fmt.Sprintf(`b STORE %d +FLAGS (\Flagged k%d)`, 1+r.IntN(4), r.IntN(3)), fmt.Sprintf(`b UID STORE 1:* -FLAGS (\Flagged k%d)`, r.IntN(3)),
				fmt.Sprintf(`b STORE %d +FLAGS (\Deleted)`, 1+r.IntN(4)), "b EXPUNGE", "b APPEND INBOX {6+}\r\nx: y\r\n",
			}[r.IntN(5)])
		}
		if r.IntN(2) == 0 { // some hear of it while they are there
			lines, tagged := back.do(t, "a NOOP")
			c.hear(append(lines, tagged))
			last := 0
			for uid := range c.flags {
				n, _ := strconv.Atoi(uid)
				last = max(last, n)
			}
			lines, _ = back.do(t, fmt.Sprintf("a UID FETCH %d:* (FLAGS)", last+1)) // what EXISTS told of
			c.hear(lines)
		}
		back.do(t, "a LOGOUT")
		other.do(t, "b LOGOUT")
		ended(t, gone) // flags are on disk when the mailbox has been given back
		ended(t, done)
		st.Close()
	}
}

// visit starts a session whose end can be waited for.
func visit(t *testing.T, st store.Store) (*peer, <-chan error) {
	t.Helper()
	c, done := serveOn(t, st, Options{}, Start{Session: "s"})
	p := &peer{c, bufio.NewReaderSize(c, 64<<10)}
	p.line(t)
	return p, done
}
