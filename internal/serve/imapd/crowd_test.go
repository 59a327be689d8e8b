package imapd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/location"
)

// crowdSize is the number of clients that work on one mailbox at once.
const crowdSize = 20

// worker ends one client of a crowd, and fails the test.
type worker struct{ *testing.T }

// Fatalf implements fataler.
func (w worker) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	runtime.Goexit()
}

// TestCrowd: twenty clients do random things to one mailbox at once, of both kinds.
// None is told a number that it cannot know, and in the end all see the same, which is
// what a new client and a new process see. With IMAPD_CROWD=10m it takes as long.
func TestCrowd(t *testing.T) {
	for _, kind := range []string{"mbox:~/mail:INBOX=~/inbox", "maildir:~/Maildir"} {
		t.Run(kind[:strings.IndexByte(kind, ':')], func(t *testing.T) {
			home := t.TempDir()
			where := strings.ReplaceAll(kind, "~", home)
			if err := os.Mkdir(filepath.Join(home, "mail"), 0o700); err != nil {
				t.Fatal(err)
			}
			st := openAt(t, where)
			fill(t, st, [][]byte{[]byte("a: 1\n\nx\n"), []byte("a: 2\n\nx\n"), []byte("a: 3\n\nx\n")})
			want := crowd(t, st)
			st.Close()
			if got := fresh(t, openAt(t, where)); got != want {
				t.Errorf("a new process sees\n%s\nthe clients saw\n%s", got, want)
			}
		})
	}
}

func openAt(t *testing.T, where string) store.Store {
	st, err := location.Open(where, location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// crowd runs the clients and returns what all of them see.
func crowd(t *testing.T, st store.Store) string {
	var end time.Time
	if d, err := time.ParseDuration(os.Getenv("IMAPD_CROWD")); err == nil {
		end = time.Now().Add(d)
	}
	var cs [crowdSize]*client
	for i := range cs {
		cs[i] = &client{peer: startOurs(t, st, Options{})}
	}
	var wg sync.WaitGroup
	for i, c := range cs {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			w := worker{t}
			lines, _ := c.do(t, "s SELECT INBOX")
			c.hear(w, lines, false)
			for n := 0; n < 15 || time.Now().Before(end); n++ {
				c.random(w, rnd)
			}
		})
	}
	wg.Wait()
	want := fresh(t, st)
	for i, c := range cs {
		lines, _ := c.do(t, "n NOOP")
		c.hear(worker{t}, lines, false)
		if got := c.sees(t); got != want {
			t.Errorf("client %d sees\n%s\nwant\n%s", i, got, want)
		}
	}
	return want
}

// random sends one command.
func (c *client) random(w worker, rnd *rand.Rand) {
	commands := []string{"NOOP", "EXPUNGE", "APPEND INBOX {8+}\r\na: b\r\n\r\n", "APPEND INBOX (\\Seen) {8+}\r\na: c\r\n\r\n", "UID FETCH 1:* FLAGS", "UID STORE 1:2 -FLAGS (kw)", "SEARCH ALL", "UID SEARCH RETURN (COUNT) UNSEEN",
		"UID COPY 1:3 INBOX", "UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (a)])"}
	if n := len(c.uids); n > 0 {
		i := 1 + rnd.IntN(n)
		commands = append(commands, fmt.Sprintf("FETCH %d UID", i), fmt.Sprintf("STORE %d +FLAGS (\\Deleted)", i), fmt.Sprintf("STORE %d +FLAGS.SILENT (\\Deleted kw)", i), fmt.Sprintf("STORE %d FLAGS (\\Seen)", i))
	}
	command := commands[rnd.IntN(len(commands))]
	lines, tagged := c.do(w, "a "+command)
	expunged := strings.HasPrefix(tagged, "a NO [EXPUNGEISSUED]") // others were faster
	if !strings.HasPrefix(tagged, "a OK") && !expunged {
		w.Fatalf("%s: %s", command, tagged)
	}
	word, _, _ := strings.Cut(command, " ")
	c.hear(w, lines, slices.Contains([]string{"FETCH", "STORE", "SEARCH"}, word))
}

// fresh returns what a new client sees.
func fresh(t *testing.T, st store.Store) string {
	p := startOurs(t, st, Options{})
	p.do(t, "a EXAMINE INBOX")
	return (&client{peer: p}).sees(t)
}

// sees returns UIDs and flags of all messages.
func (c *client) sees(t *testing.T) string {
	lines, tagged := c.do(t, "f UID FETCH 1:* (UID FLAGS)")
	if !strings.HasPrefix(tagged, "f OK") {
		t.Fatal(tagged)
	}
	return strings.ReplaceAll(strings.ReplaceAll(strings.Join(lines, "\n"), ` \Recent`, ""), `\Recent`, "")
}
