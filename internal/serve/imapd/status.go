package imapd

import (
	"slices"
	"strings"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
	"packetboat/internal/store/names"
)

// statusItems are the items of STATUS in the order in which Dovecot answers
// them, whatever the order of the question.
var statusItems = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ", "SIZE"}

// statusSet says which of statusItems are wanted.
type statusSet [len(statusItems)]bool

const statusSize = len(statusItems) - 1 // SIZE

// status: RFC 3501 section 6.3.10; SIZE is RFC 8438's.
func (s *session) status(args []syntax.Arg) error {
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
	name, err := s.mailboxName(args[0])
	var snap *store.Snapshot
	if err == nil {
		snap, err = s.peek(name, want)
	}
	if err != nil {
		return s.failed(err, name, "")
	}
	if want[slices.Index(statusItems[:], "HIGHESTMODSEQ")] {
		s.enableCondstore()
	}
	given, _ := names.Decode(string(args[0].Text)) // Dovecot answers with the name as it was asked for
	s.writeStatus(given, name, snap, want)
	if s.box != nil && s.tree.Same(s.view.Name, name) {
		// RFC 3501 section 6.3.10: a client should not ask this.
		return s.done("OK [CLIENTBUG] Status on selected mailbox completed")
	}
	return s.done("OK Status completed")
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
func (s *session) peek(name string, want statusSet) (*store.Snapshot, error) {
	box, err := s.tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer box.Close()
	snap, err := box.Sync()
	if err == nil && want[statusSize] {
		snap, err = box.Look(nil)
	}
	return snap, err
}

// writeStatus writes the items wanted of the mailbox name, which the client calls given.
func (s *session) writeStatus(given, name string, snap *store.Snapshot, want statusSet) {
	s.out.Text("* STATUS ")
	s.out.Name(given)
	s.out.Text(" (")
	first := true
	for i, item := range statusItems {
		if !want[i] {
			continue
		}
		if !first {
			s.out.Text(" ")
		}
		first = false
		s.out.Text(item, " ")
		if item == "RECENT" && s.box != nil && s.tree.Same(s.view.Name, name) {
			s.out.Num(int64(s.view.Recents)) // this session has them
			continue
		}
		s.out.Num(statusValue(snap, item))
	}
	s.out.Text(")")
	s.out.Line()
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
		case item == "UNSEEN" && m.Flags&store.Seen == 0:
			n++
		case item == "RECENT" && m.UID >= snap.FirstRecent:
			n++
		}
	}
	return n
}
