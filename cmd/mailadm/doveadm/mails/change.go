package mails

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/letter"
	"packetboat/cmd/mailadm/doveadm/query"
	"packetboat/internal/store"
)

// syncFailed is what is said of a mailbox that is named and is not there.
const syncFailed = "Mailbox %s: Mailbox sync failed"

// expunge deletes messages. A query that could mean more than its writer thought
// is refused.
func expunge(a *Args, now time.Time) (*Plan, error) {
	q, err := parseQuery(a.Rest, now)
	if err != nil {
		return nil, err
	}
	named, more := q.NamesMailbox()
	switch {
	case !named:
		return nil, &Problem{Code: ExitUsage, Text: "expunge: To avoid accidents, search query must contain MAILBOX in all search branches"}
	case !more:
		return nil, &Problem{Code: ExitUsage, Text: "expunge: To avoid accidents, each branch in search query must contain something else besides MAILBOX (e.g. just add \"all\" if you want everything)"}
	}
	empty := a.Has("d")
	return &Plan{Run: func(e *Env) {
		var emptied []string
		e.each(q, "Syncing mailbox '%s' failed", func(f *found) {
			if e.remove(f, f.uids()) && empty && len(f.seqs) == len(f.Snap.Msgs) && f.Mailbox != "INBOX" {
				emptied = append(emptied, f.Mailbox)
			}
		})
		for _, name := range emptied {
			e.deleteMailbox(name, false, true)
		}
	}}, nil
}

// remove expunges messages of a mailbox; it returns when that is on disk.
func (e *Env) remove(f *found, uids []uint32) bool {
	if len(uids) == 0 {
		return true
	}
	_, err := f.Box.Expunge(uids)
	if err != nil {
		e.failed(err, f.Mailbox, "Mailbox %s: Mailbox sync failed", f.Mailbox)
	}
	return err == nil
}

// systemFlags are the names of flags.
var systemFlags = map[string]store.Flag{`\ANSWERED`: store.Answered, `\FLAGGED`: store.Flagged, `\DELETED`: store.Deleted,
	`\SEEN`: store.Seen, `\DRAFT`: store.Draft, `\RECENT`: 0}

// flags changes flags and keywords.
func flags(op store.Op) func(*Args, time.Time) (*Plan, error) {
	return func(a *Args, now time.Time) (*Plan, error) {
		if len(a.Rest) < 2 {
			return nil, usage()
		}
		var f store.Flag
		var keywords []string
		for _, w := range strings.Fields(a.Rest[0]) {
			bit, ok := systemFlags[strings.ToUpper(w)]
			switch {
			case ok:
				f |= bit
			case w[0] == '\\':
				return nil, &Problem{Code: ExitTemp, Text: "Invalid system flag: " + w}
			default:
				keywords = append(keywords, w)
			}
		}
		q, err := parseQuery(a.Rest[1:], now)
		if err != nil {
			return nil, err
		}
		return &Plan{Run: func(e *Env) { e.setFlags(q, op, f, keywords) }}, nil
	}
}

func (e *Env) setFlags(q *query.Query, op store.Op, f store.Flag, keywords []string) {
	if slices.ContainsFunc(keywords, func(k string) bool { return strings.ContainsAny(k, "(){ %*\"\\]\x7f") }) {
		e.fail(ExitData, "Invalid keywords: Invalid characters in keyword")
		return
	}
	e.each(q, syncFailed, func(b *found) {
		if _, err := b.Box.SetFlags(b.uids(), op, f, keywords); err != nil {
			e.failed(err, b.Mailbox, "Mailbox %s: Mailbox sync failed", b.Mailbox)
		}
	})
}

// deduplicate expunges all but the first of messages with the same GUID, or with
// -m the same Message-ID, of a mailbox.
func deduplicate(a *Args, now time.Time) (*Plan, error) {
	q, err := parseQuery(a.Rest, now)
	if err != nil {
		return nil, err
	}
	byID := a.Has("m")
	return &Plan{Run: func(e *Env) {
		if !byID && !strings.HasPrefix(e.Location, "mbox:") {
			// Elsewhere Dovecot's GUIDs are made when mail is saved, not from what it says.
			e.fail(ExitTemp, "deduplicate by GUID is not built for this kind of mailbox: use -m (Message-ID)")
			return
		}
		e.each(q, syncFailed, func(f *found) { e.remove(f, e.doubles(f, byID)) })
	}}, nil
}

// noGUID is the GUID of messages without any of the fields that make one: they are
// not the same for that.
const noGUID = "d41d8cd98f00b204e9800998ecf8427e"

// doubles returns the messages whose like came before. None without the mark is one.
func (e *Env) doubles(f *found, byID bool) (uids []uint32) {
	seen := make(map[string]bool)
	for _, seq := range f.seqs {
		f.Set(seq)
		mark, err := f.GUID()
		if byID {
			mark = ""
			err = f.EachField("Message-ID", func(v []byte) bool { mark = strings.TrimSpace(string(v)); return false })
		}
		if err != nil {
			e.failed(err, f.Mailbox, "Mailbox %s: Reading UID %d failed", f.Mailbox, f.M.UID)
			return nil
		}
		if mark != "" && mark != noGUID && seen[mark] {
			uids = append(uids, f.M.UID)
		}
		seen[mark] = true
	}
	return uids
}

// resync reads mailboxes anew.
func resync(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) != 1 {
		return nil, usage()
	}
	return &Plan{Run: func(e *Env) { e.syncAll(a.Rest[0]) }}, nil
}

// index reads mailboxes, so that what is new in them is in their caches.
func index(a *Args, _ time.Time) (*Plan, error) {
	if n := a.Last("n", "0"); strings.Trim(n, "0123456789") != "" || n == "" {
		return nil, &Problem{Code: ExitUsage, Text: "Invalid -n parameter number: " + n}
	}
	return resync(a, time.Time{})
}

func (e *Env) syncAll(mask string) {
	for _, f := range e.folders() {
		if f.NoSelect || !query.MatchMailbox(mask, f.Name) {
			continue
		}
		box, err := e.Store.Open(f.Name)
		if err == nil {
			_, err = box.Sync()
			e.closeBox(box, f.Name)
		}
		if err != nil {
			e.failed(err, f.Name, "Mailbox %s: Mailbox sync failed", f.Name)
		}
	}
}

// purge has nothing to do: no store here keeps what was expunged.
func purge(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) > 0 {
		return nil, usage()
	}
	return &Plan{Run: func(*Env) {}}, nil
}

// totals are the figures of one mailbox.
type totals struct {
	messages, recent, unseen, size int64
}

func (t *totals) add(snap *store.Snapshot) {
	for i := range snap.Msgs {
		m := &snap.Msgs[i]
		t.messages++
		t.size += max(m.Size, 0) // what has gone meanwhile is Unknown
		if m.UID >= snap.FirstRecent {
			t.recent++
		}
		if m.Flags&store.Seen == 0 {
			t.unseen++
		}
	}
}

// firstSaved is when the first message that is there was saved.
func firstSaved(box store.Mailbox, snap *store.Snapshot, name string) string {
	if len(snap.Msgs) > 0 {
		l := letter.Letter{Box: box, Snap: snap, Mailbox: name}
		l.Set(1)
		if t, ok := l.Saved(); ok {
			return fmt.Sprint(t.Unix())
		}
	}
	return "never"
}
