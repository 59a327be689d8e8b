package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/store/storetest"
)

// TestEvents: what each call tells, and in which order, over both kinds of mailboxes.
func TestEvents(t *testing.T) {
	for _, kind := range []string{"maildir:DIR/Maildir", "mbox:DIR/mail:INBOX=DIR/inbox"} {
		t.Run(kind[:4], func(t *testing.T) {
			inner, err := location.Open(strings.ReplaceAll(kind, "DIR", t.TempDir()), location.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var told []string
			st := New(inner, Options{Kinds: 1<<9 - 1, Name: func(s string) string { return "<" + s + ">" }, Tell: func(l string) { told = append(told, l) },
				Line: func(e Event) string {
					text := ""
					if e.Msg.UID != 0 {
						r, err := e.Read()
						if err != nil {
							t.Errorf("%+v cannot be read: %v", e, err)
							return "?"
						}
						b := make([]byte, 4)
						r.Read(b)
						r.Close()
						text = string(b)
					}
					return fmt.Sprintf("%d %s %s %d %d %v %s", e.Kind, e.Box, e.Other, e.Msg.UID, e.Msg.Flags, e.Words, text)
				}})
			defer st.Close()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(st.Create("a"))
			box, err := st.Open("INBOX")
			must(err)
			_, err = box.Append([]store.New{{Body: strings.NewReader("A: 1\n\nx\n")}, {Body: strings.NewReader("A: 2\n\nx\n"), Flags: store.Seen, Keywords: []string{"k"}}})
			must(err)
			set := func(op store.Op, f store.Flag, words ...string) {
				t.Helper()
				_, err := box.SetFlags([]uint32{1}, op, f, words)
				must(err)
			}
			set(store.Add, store.Deleted, "k")
			set(store.Add, store.Deleted) // nothing changes
			set(store.Remove, store.Deleted)
			set(store.Add, store.Flagged)
			to, err := st.Open("a")
			must(err)
			copied, ok, err := box.(store.Copier).CopyTo(to, []uint32{2})
			if err != nil || ok != (len(copied) == 1) {
				t.Fatal(copied, ok, err)
			}
			if !ok {
				_, err = to.Append([]store.New{{Body: strings.NewReader("A: 2\n\nx\n"), Flags: store.Seen, Keywords: []string{"k"}}})
				must(err)
			}
			_, err = box.Expunge([]uint32{1, 77})
			must(err)
			must(box.Close())
			must(to.Close())
			must(st.Rename("a", "b"))
			must(st.Delete("b"))
			if err := st.Delete("nosuch"); err == nil {
				t.Error("a folder that is not there is deleted")
			}
			arrived := fmt.Sprintf("%d <a> <INBOX> 1 1 [k] A: 2", Copy)
			gone := fmt.Sprintf("%d <b>  1 1 [k] A: 2", Expunge)
			want := []string{fmt.Sprintf("%d <a>  0 0 [] ", MailboxCreate), fmt.Sprintf("%d <INBOX>  1 0 [] A: 1", Save), fmt.Sprintf("%d <INBOX>  2 1 [k] A: 2", Save),
				fmt.Sprintf("%d <INBOX>  1 8 [] A: 1", Delete), fmt.Sprintf("%d <INBOX>  1 8 [k] A: 1", FlagChange), fmt.Sprintf("%d <INBOX>  1 0 [k] A: 1", Undelete),
				fmt.Sprintf("%d <INBOX>  1 4 [k] A: 1", FlagChange), arrived, fmt.Sprintf("%d <INBOX>  1 4 [k] A: 1", Expunge),
				fmt.Sprintf("%d <a> <b> 0 0 [] ", MailboxRename), gone, fmt.Sprintf("%d <b>  0 0 [] ", MailboxDelete)}
			if !slices.Equal(told, want) {
				t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestContract: a store that is watched is a store still.
func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		dir := t.TempDir()
		return storetest.Place{Open: func() (store.Store, error) {
			inner, err := location.Open("maildir:"+dir+"/Maildir", location.Options{})
			if err != nil {
				return nil, err
			}
			quiet := Options{Kinds: 1<<9 - 1, Name: func(s string) string { return s }, Line: func(Event) string { return "x" }, Tell: func(string) {}}
			return New(inner, quiet), nil
		}}
	})
}
