package mbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
)

// stored returns what a message looks like once it went through a delivery:
// the one place that says what changes.
func stored(msg string) string {
	var out strings.Builder
	header, own := true, false
	lines := strings.SplitAfter(msg, "\n")
	for i, line := range lines {
		if line == "" && i == len(lines)-1 {
			break
		}
		if header {
			switch {
			case line == "\n" || line == "\r\n":
				header, own = false, false
			case line[0] == ' ' || line[0] == '\t':
			default:
				name, _, ok := strings.Cut(line, ":")
				name = strings.ToLower(strings.TrimRight(name, " \t"))
				own = ok && slices.Contains([]string{"status", "x-status", "x-keywords", "x-uid", "x-imap", "x-imapbase", "content-length", "lines"}, name)
			}
			if own {
				continue
			}
		}
		if header && strings.HasPrefix(line, "From ") {
			line = ">" + line // headers are never unquoted
		}
		out.WriteString(line)
	}
	s := out.String()
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	if header {
		s += "\n"
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

func genMessage(t *rapid.T) string {
	headers := []string{"From: a@b", "Subject: x", "Status: RO", "X-UID: 99", "x-imapbase: 1 4294967295", "Content-Length: 3",
		"X-Status : A", " folded", "\tStatus: R", "Lines: 7", "no colon", "From a@b Mon Jan  1 00:00:00 2024", "X-Keywords: a b", "Statusx: y"}
	bodies := []string{"text", "", "From here to there", ">From quoted", ">>From twice", ">Fro", ">>>", "> From", "From", "From a\rb", strings.Repeat(">", 33000) + "From x", strings.Repeat(">", 33000), "From a@b Mon Jan  1 00:00:00 2024", ".", "8bit \xe4\xff", "\x00nul", "\rcr", "Status: RO", strings.Repeat("long", 20000)}
	var b strings.Builder
	end := rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(t, "end")
	for range rapid.IntRange(0, 5).Draw(t, "headers") {
		b.WriteString(rapid.SampledFrom(headers).Draw(t, "header") + end)
	}
	if rapid.Bool().Draw(t, "has body") {
		b.WriteString(end)
		for range rapid.IntRange(0, 6).Draw(t, "lines") {
			b.WriteString(rapid.SampledFrom(bodies).Draw(t, "line") + end)
		}
	}
	s := b.String()
	if rapid.Bool().Draw(t, "cut") {
		s = strings.TrimSuffix(s, end)
	}
	return s
}

// TestDeliverRoundTrip: what is delivered is read back, message by message.
func TestDeliverRoundTrip(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		var want []string
		var batch []Delivery
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			msg := genMessage(t)
			want = append(want, stored(msg))
			batch = append(batch, Delivery{Sender: mail.Address(rapid.String().Draw(t, "sender")), Body: strings.NewReader(msg)})
		}
		for _, err := range Deliver(path, DeliverOptions{}, batch) {
			if err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(Options{Inbox: path})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m, err := s.Open("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		snap, _ := m.Sync()
		if len(snap.Msgs) != len(want) {
			t.Fatalf("%d messages, want %d", len(snap.Msgs), len(want))
		}
		for i, msg := range snap.Msgs {
			r, err := m.Read(msg.UID, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != want[i] || int64(len(got)) != msg.Size {
				t.Fatalf("message %d: %v\ngot  %.300q (%d)\nwant %.300q (%d)\nsize %d", i, err, got, len(got), want[i], len(want[i]), msg.Size)
			}
			if h := strings.Index("\r\n"+want[i], "\r\n\r\n"); int64(h+2) != msg.Header {
				t.Fatalf("message %d: header %d, want %d of %.200q", i, msg.Header, h+2, want[i])
			}
		}
	})
}

// TestRandomSessions does random things to a mailbox and a plain list of what
// it should hold, and compares after each; other programs' changes are among them.
func TestRandomSessions(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		root := filepath.Join(dir, fmt.Sprint(n))
		os.Mkdir(root, 0o700)
		o := Options{Inbox: filepath.Join(root, "spool"), Folders: filepath.Join(root, "mail")}
		type item struct {
			uid   uint32
			flags store.Flag
			words string
			text  string
		}
		var model []item
		next := 0
		s, _ := Open(o)
		m, err := s.Open("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		m.ClaimRecent()
		validity := m.Snapshot().UIDValidity
		lastUID := uint32(0)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			step := rapid.SampledFrom([]string{"deliver", "deliver", "append", "flag", "expunge", "reopen", "reopen without cache", "mutt"}).Draw(t, "step")
			switch step {
			case "deliver":
				next++
				Deliver(o.Inbox, DeliverOptions{}, []Delivery{{Body: strings.NewReader(fmt.Sprintf("S: %d\n\nbody %d\n", next, next))}})
				model = append(model, item{text: fmt.Sprintf("S: %d\r\n\r\nbody %d\r\n", next, next)})
			case "append":
				next++
				text := fmt.Sprintf("S: %d\r\n\r\nbody %d\r\n", next, next)
				if _, err := m.Append([]store.New{{Body: strings.NewReader(text), Flags: store.Seen}}); err != nil {
					t.Fatal(err)
				}
				model = append(model, item{text: text, flags: store.Seen})
			case "flag", "expunge":
				snap, err := m.Sync()
				if err != nil {
					t.Fatal(err)
				}
				if len(model) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
				uid := snap.Msgs[i].UID
				if step == "expunge" {
					if _, err := m.Expunge([]uint32{uid}); err != nil {
						t.Fatal(err)
					}
					model = slices.Delete(slices.Clone(model), i, i+1)
					break
				}
				word := rapid.SampledFrom([]string{"Junk", "$Label1", "a-long-keyword-that-does-not-fit-the-padding-at-all-really-not"}).Draw(t, "word")
				if _, err := m.SetFlags([]uint32{uid}, store.Replace, store.Flagged, []string{word}); err != nil {
					t.Fatal(err)
				}
				model[i].flags, model[i].words = store.Flagged, word
			case "reopen", "reopen without cache":
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				if step != "reopen" && len(model) > 0 {
					os.RemoveAll(filepath.Join(root, "mail"))
				}
				s, _ = Open(o)
				if m, err = s.Open("INBOX"); err != nil {
					t.Fatal(err)
				}
				m.ClaimRecent()
			case "mutt": // marks everything read in its own way, moving all messages
				m.Flush()
				b, _ := os.ReadFile(o.Inbox)
				if bytes.Contains(b, []byte("Status: ")) {
					continue
				}
				b = bytes.ReplaceAll(b, []byte("\n\nbody"), []byte("\nStatus: RO\nContent-Length: 7\nLines: 1\n\nbody"))
				os.WriteFile(o.Inbox, b, 0o600)
				for i := range model {
					model[i].flags |= store.Seen
				}
				model = slices.Clone(model)
				for i := range model {
					model[i].text = "" // mutt's Lines: is shown; the text is not compared any more
				}
			}
			snap, err := m.Sync()
			if err != nil {
				t.Fatalf("after %s: %v", step, err)
			}
			if len(snap.Msgs) != len(model) || snap.UIDValidity != validity {
				t.Fatalf("after %s: %d messages of %d, want %d of %d", step, len(snap.Msgs), snap.UIDValidity, len(model), validity)
			}
			for i := range model {
				msg := &snap.Msgs[i]
				if model[i].uid == 0 {
					if msg.UID <= lastUID {
						t.Fatalf("after %s: a new message has the old UID %d", step, msg.UID)
					}
					model[i].uid, lastUID = msg.UID, msg.UID
				}
				r, err := m.Read(msg.UID, 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil || msg.UID != model[i].uid || msg.Flags != model[i].flags || strings.Join(snap.Words(msg.Keywords), " ") != model[i].words ||
					model[i].text != "" && string(got) != model[i].text || int64(len(got)) != msg.Size {
					t.Fatalf("after %s: message %d %v is %+v %v %q, want %+v", step, i, err, *msg, snap.Words(msg.Keywords), got, model[i])
				}
			}
		}
		m.Close()
	})
}

// FuzzScan feeds the scanner: it must end, keep messages in order and inside
// the file, and count what the reader gives out.
func FuzzScan(f *testing.F) {
	f.Add([]byte("From a@b Mon Jan  1 00:00:00 2024\nS: x\n\nbody\n\nFrom b@c Mon Jan  1 00:00:00 2024\nContent-Length: 5\n\nFrom x\n\n"))
	f.Add([]byte("From a@b Mon Jan  1 00:00:00 2024\r\nX-IMAP: 1 2\r\n\r\n\r\nFrom b@c Mon Jan  1 00:00:00 2024\r\n\r\n"))
	f.Add([]byte("\n\nFrom a@b Mon Jan  1 00:00:00 2024\nX-IMAPbase: 4294967295 4294967295 a b\nX-UID: 4294967295\nFrom a@b Mon Jan  1 00:00:00 2024\n"))
	f.Add([]byte("From "))
	f.Fuzz(func(t *testing.T, data []byte) {
		at := int64(0)
		s := format.NewScanner(bytes.NewReader(data), int64(len(data)), &format.Keywords{}, func(c *format.Scanned) {
			if c.Msg.Pos < at || c.Msg.Raw <= 0 || c.Msg.Pos+c.Msg.Raw > int64(len(data)) || int64(c.Rec.Hdr) > c.Msg.Raw || c.Msg.Size < 0 {
				t.Fatalf("%+v", c)
			}
			at = c.Msg.Pos + c.Msg.Raw
		})
		s.Run(0)
		path := filepath.Join(t.TempDir(), "m")
		os.WriteFile(path, data, 0o600)
		st, _ := Open(Options{Inbox: path})
		m, err := st.Open("INBOX")
		if err != nil {
			return
		}
		defer m.Close()
		for _, msg := range m.Snapshot().Msgs {
			r, err := m.Read(msg.UID, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(r); err != nil || int64(len(b)) != msg.Size {
				t.Fatalf("%v: %d octets, size %d", err, len(b), msg.Size)
			}
		}
	})
}

// TestNoRename holds that a mailbox keeps its inode: others wait for its lock.
func TestNoRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	Deliver(path, DeliverOptions{}, []Delivery{{Body: strings.NewReader("S: 1\n\none\n")}, {Body: strings.NewReader("S: 2\n\ntwo\n")}})
	before, _ := os.Stat(path)
	s, _ := Open(Options{Inbox: path, Folders: dir + "/mail"})
	m, _ := s.Open("INBOX")
	m.ClaimRecent()
	m.SetFlags([]uint32{1, 2}, store.Add, store.Seen, nil)
	m.Flush()
	m.Expunge([]uint32{1})
	m.Close()
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Fatal("the mailbox was replaced by another file")
	}
	list, _ := os.ReadDir(dir)
	if len(list) != 2 {
		t.Errorf("left behind: %v", list)
	}
}
