package folders

import (
	"slices"
	"strings"

	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
)

// statusItems are the items of STATUS in the order in which Dovecot answers
// them, whatever the order of the question.
var statusItems = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ", "SIZE", "DELETED", "APPENDLIMIT", "MAILBOXID"}

// statusSet says which of statusItems are wanted.
type statusSet [len(statusItems)]bool

const (
	statusSize = 6 // SIZE
	statusID   = len(statusItems) - 1
)

// Status: RFC 3501 section 6.3.10; SIZE is RFC 8438's.
func (c *Commands) Status(args []syntax.Arg) error {
	if len(args) < 2 {
		return syntax.Error("Missing arguments")
	}
	if !args[0].IsString() || args[1].Kind != syntax.List {
		return syntax.Error("Invalid arguments")
	}
	want, err := statusWanted(args[1].List)
	if err != nil {
		return err
	}
	name, err := c.MailboxName(args[0])
	var seen peeked
	if err == nil {
		seen, err = c.peek(name, want)
	}
	if err != nil {
		return c.Failed(err, name, "")
	}
	if want[slices.Index(statusItems[:], "HIGHESTMODSEQ")] {
		c.EnableModSeqs()
	}
	given, _ := c.decode(string(args[0].Text)) // Dovecot answers with the name as it was asked for
	c.writeStatus(given, name, seen, want)
	if c.isSelected(name) {
		// RFC 3501 section 6.3.10: a client should not ask this.
		return c.Done("OK [CLIENTBUG] Status on selected mailbox completed")
	}
	return c.Done("OK Status completed")
}

func statusWanted(list []syntax.Arg) (want statusSet, err error) {
	if len(list) == 0 {
		return want, syntax.Error("Empty status list")
	}
	for _, a := range list {
		known := false
		for i, item := range statusItems {
			if a.Is(item) {
				want[i], known = true, true
			}
		}
		if !known {
			return want, syntax.Error("Invalid status item " + strings.ToUpper(string(a.Text)))
		}
	}
	return want, nil
}

// peek looks into a mailbox without selecting it, also at the sizes if asked.
func (c *Commands) peek(name string, want statusSet) (p peeked, err error) {
	box, err := c.Tree.Open(name)
	if err != nil {
		return p, err
	}
	defer box.Close()
	p.snap, err = box.Sync()
	if err == nil && want[statusSize] {
		p.snap, err = box.Look(nil)
	}
	if err == nil && want[statusID] {
		p.id = ident.Of(box)
	}
	return p, err
}

// peeked is what was found in a mailbox.
type peeked struct {
	snap *store.Snapshot
	id   string // MAILBOXID
}

// writeStatus writes the items wanted of the mailbox name, which the client calls given.
func (c *Commands) writeStatus(given, name string, seen peeked, want statusSet) {
	c.Out.Text("* STATUS ")
	c.Out.Name(given)
	c.Out.Text(" (")
	first := true
	for i, item := range statusItems {
		if !want[i] {
			continue
		}
		if !first {
			c.Out.Text(" ")
		}
		first = false
		c.Out.Text(item, " ")
		if item == "RECENT" && c.isSelected(name) {
			_, recents := c.Selected()
			c.Out.Num(int64(recents)) // this session has them
			continue
		}
		switch {
		case item == "MAILBOXID": // RFC 8474 section 4.3
			c.Out.Text("(", seen.id, ")")
		case item == "APPENDLIMIT" && c.Limit <= 0: // RFC 7889 section 4
			c.Out.Text("NIL")
		case item == "APPENDLIMIT":
			c.Out.Num(c.Limit)
		default:
			c.Out.Num(statusValue(seen.snap, item))
		}
	}
	c.Out.Text(")")
	c.Out.Line()
}

func statusValue(snap *store.Snapshot, item string) (n int64) {
	switch item {
	case "MESSAGES":
		return int64(len(snap.Msgs))
	case "UIDNEXT":
		return int64(snap.UIDNext)
	case "HIGHESTMODSEQ":
		return int64(snap.ModSeq)
	case "UIDVALIDITY":
		return int64(snap.UIDValidity)
	}
	for i := range snap.Msgs {
		m := &snap.Msgs[i]
		switch {
		case item == "SIZE":
			n += max(m.Size, 0)
		case item == "DELETED" && m.Flags&store.Deleted != 0:
			n++
		case item == "UNSEEN" && m.Flags&store.Seen == 0:
			n++
		case item == "RECENT" && m.UID >= snap.FirstRecent:
			n++
		}
	}
	return n
}
