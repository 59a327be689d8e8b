package mails

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/query"
	"packetboat/internal/serve/imapd/spool"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
)

// batch is how many messages are appended under one lock.
const batch = 100

// carry is copy and move.
func carry(how string) func(*Args, time.Time) (*Plan, error) {
	return func(a *Args, now time.Time) (*Plan, error) {
		if len(a.Rest) < 2 {
			return nil, usage()
		}
		dest, words := a.Rest[0], a.Rest[1:]
		if strings.EqualFold(words[0], "user") {
			return nil, &Problem{Code: ExitUsage, Text: how + " from another user is not built",
				Hint: "a process that works as one user cannot read another's mail; use doveadm fetch -u SOURCE text and doveadm save -u USER"}
		}
		q, err := parseQuery(words, now)
		if err != nil {
			return nil, err
		}
		return &Plan{Run: func(e *Env) { e.carry(q, dest, how == "move") }}, nil
	}
}

func (e *Env) carry(q *query.Query, dest string, remove bool) {
	to, err := e.Store.Open(dest)
	if err != nil {
		e.failed(err, dest, "Can't open mailbox '%s'", dest)
		return
	}
	defer e.closeBox(to, dest)
	e.each(q, syncFailed, func(f *found) {
		if e.appendAll(to, dest, f) && remove {
			e.remove(f, f.uids())
		}
	})
}

// appendAll copies what was found; false when it was not all. The messages are
// spooled before the store is locked.
func (e *Env) appendAll(to store.Mailbox, dest string, f *found) bool {
	for seqs := range slices.Chunk(f.seqs, batch) {
		if err := appendSome(to, f, seqs); err != nil {
			e.failed(err, dest, "Copying messages to mailbox %s failed", dest)
			return false
		}
	}
	return true
}

func appendSome(to store.Mailbox, f *found, seqs []int) error {
	var sp spool.Spool
	defer sp.Close()
	var msgs []store.New
	var at []spool.Place
	for _, seq := range seqs {
		m := f.Snap.Msgs[seq-1]
		r, err := f.Box.Read(m.UID, 0, -1)
		if err != nil {
			return err
		}
		place, err := sp.Take(r)
		r.Close()
		if err != nil {
			return err
		}
		at = append(at, place)
		msgs = append(msgs, store.New{Flags: m.Flags, Keywords: f.Snap.Words(m.Keywords), Date: time.Unix(m.Date, 0)})
	}
	_, err := sp.Append(to, msgs, at)
	return err
}

// save stores the message on standard input.
func save(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) > 0 {
		return nil, &Problem{Code: ExitUsage, Usage: true}
	}
	name := a.Last("m", "INBOX")
	return &Plan{Run: func(e *Env) {
		box, err := e.Store.Open(name)
		if err != nil {
			e.failed(err, name, "Failed to open mailbox %s", name)
			return
		}
		defer e.closeBox(box, name)
		if err := saveTo(box, e.In); err != nil {
			e.failed(err, name, "Mailbox %s: Saving mail", name)
		}
	}}, nil
}

func saveTo(box store.Mailbox, in io.Reader) error {
	var sp spool.Spool
	defer sp.Close()
	at, err := sp.Take(withoutFrom(in))
	if err == nil {
		_, err = sp.Append(box, make([]store.New, 1), []spool.Place{at})
	}
	return err
}

// withoutFrom leaves out a From_ line that stands before the message.
func withoutFrom(r io.Reader) io.Reader {
	in := bufio.NewReader(r)
	if b, err := in.Peek(5); err == nil && bytes.Equal(b, []byte("From ")) {
		in.ReadString('\n')
	}
	return in
}

// importCommand copies the mail of another location below a mailbox.
func importCommand(a *Args, now time.Time) (*Plan, error) {
	if len(a.Rest) < 3 {
		return nil, usage()
	}
	if a.Has("U") {
		return nil, &Problem{Code: ExitUsage, Text: "import -U is not built", Hint: "name the location by its path"}
	}
	q, err := parseQuery(a.Rest[2:], now)
	if err != nil {
		return nil, err
	}
	return &Plan{Run: func(e *Env) { e.importAll(a.Rest[0], a.Rest[1], q, a.Has("s")) }}, nil
}

func (e *Env) importAll(from, parent string, q *query.Query, subscribe bool) {
	src, err := location.Open(from, e.Options)
	if err != nil {
		e.fail(ExitData, "%v", err)
		return
	}
	defer src.Close()
	source := *e
	source.Store = src
	source.each(q, "", func(f *found) {
		name := f.Mailbox
		if parent != "" {
			name = parent + "/" + name
		}
		if err := e.Store.Create(name); err != nil && !errors.Is(err, store.ErrExists) && name != "INBOX" {
			e.failed(err, name, "Can't create mailbox %s", name)
			return
		}
		to, err := e.Store.Open(name)
		if err != nil {
			e.failed(err, name, "Can't open mailbox '%s'", name)
			return
		}
		defer e.closeBox(to, name)
		e.appendAll(to, name, f)
		if subscribe {
			e.Store.Subscribe(name, true)
		}
	})
	if e.code == 0 {
		e.code = source.code
	}
}
