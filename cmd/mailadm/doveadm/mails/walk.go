package mails

import (
	"slices"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/letter"
	"packetboat/cmd/mailadm/doveadm/query"
	"packetboat/internal/store"
)

// parseQuery reads a search query; the error is fatal.
func parseQuery(words []string, now time.Time) (*query.Query, error) {
	if len(words) == 0 {
		return nil, usage()
	}
	q, err := query.Parse(words, now)
	if err != nil {
		return nil, fatal(ExitTemp, err)
	}
	return q, nil
}

// folders returns the mailboxes that can be opened, INBOX last, as Dovecot lists
// a file system.
func (e *Env) folders() []store.Folder {
	list, err := e.Store.List()
	if err != nil {
		e.failed(err, "", "Listing mailboxes failed")
		return nil
	}
	i := slices.IndexFunc(list, func(f store.Folder) bool { return f.Name == "INBOX" })
	if i >= 0 {
		list = append(slices.Delete(slices.Clone(list), i, i+1), list[i])
	}
	return list
}

// found is a mailbox with the messages that match.
type found struct {
	letter.Letter
	guid string
	seqs []int
}

// uids returns the UIDs of the messages found.
func (f *found) uids() []uint32 {
	var list []uint32
	for _, seq := range f.seqs {
		list = append(list, f.Snap.Msgs[seq-1].UID)
	}
	return list
}

// each opens every mailbox that the query may mean and calls fn with what matches
// in it. missing is the text for a mailbox that the query names and that there is
// not, with one %s for its name; empty = nothing is said.
func (e *Env) each(q *query.Query, missing string, fn func(f *found)) {
	list := e.folders()
	for _, f := range list {
		if f.NoSelect || !q.May(query.Where{Name: f.Name}) {
			continue
		}
		e.one(q, f.Name, fn)
	}
	if missing == "" {
		return
	}
	for _, name := range q.Names() {
		if !slices.ContainsFunc(list, func(f store.Folder) bool { return query.MatchMailbox(name, f.Name) }) {
			e.failed(store.ErrNoMailbox, name, "%s", strings.ReplaceAll(missing, "%s", name))
		}
	}
}

func (e *Env) one(q *query.Query, name string, fn func(f *found)) {
	box, err := e.Store.Open(name)
	if err != nil {
		e.failed(err, name, "Syncing mailbox '%s' failed", name)
		return
	}
	defer e.closeBox(box, name)
	_, err = box.Sync()
	var snap *store.Snapshot
	if err == nil {
		snap, err = box.Look(nil) // queries, fetch and copies want sizes and dates
	}
	if err != nil {
		e.failed(err, name, "Syncing mailbox '%s' failed", name)
		return
	}
	f := &found{Letter: letter.Letter{Box: box, Snap: snap, Mailbox: name}, guid: letter.BoxGUID(box, snap, name)}
	w := query.Where{Name: name, GUID: f.guid}
	for seq := 1; seq <= len(snap.Msgs) && q.May(w); seq++ {
		f.Set(seq)
		ok, err := q.Match(&f.Letter, w, e.Now)
		if err != nil {
			e.failed(err, name, "Mailbox %s: Searching failed", name)
			return
		}
		if ok {
			f.seqs = append(f.seqs, seq)
		}
	}
	if len(f.seqs) > 0 {
		fn(f)
	}
}

// closeBox gives a mailbox back; what was changed is on disk then.
func (e *Env) closeBox(box store.Mailbox, name string) {
	if err := box.Close(); err != nil {
		e.failed(err, name, "Mailbox %s: Mailbox sync failed", name)
	}
}
