package extras

import (
	"strings"
	"time"

	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// End removes what autoexpunge says is old, as Dovecot does when a session ends.
// list is the namespaces in the order of the configuration.
func (s *Session) End(list []tree.Namespace) {
	now := time.Now()
	for _, e := range s.Expire {
		if e.Space >= len(list) {
			continue
		}
		n := &list[e.Space]
		for _, name := range e.folders(n) {
			if err := e.expunge(n.Store, name, now); err != nil {
				s.Fail("Failed to autoexpunge mailbox '" + name + "': " + err.Error())
			}
		}
	}
}

// folders returns the names of the folders that a block means: one, or those that
// its pattern fits.
func (e *Expire) folders(n *tree.Namespace) []string {
	sep := n.Separator
	if sep == 0 {
		sep = '/'
	}
	if !strings.ContainsAny(e.Name, "*?") {
		return []string{strings.ReplaceAll(e.Name, string(sep), "/")}
	}
	all, err := n.Store.List()
	if err != nil {
		return nil
	}
	fits := syntax.NewMatcher(strings.ReplaceAll(e.Name, string(sep), "/"), '/')
	var names []string
	for _, f := range all {
		if !f.NoSelect && fits(f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

// expunge removes the first messages of a folder: those above the number that may
// stay, then those that were saved too long ago, up to the first younger one.
func (e *Expire) expunge(st store.Store, name string, now time.Time) error {
	box, err := st.Open(name)
	if err == store.ErrNoMailbox {
		return nil
	}
	if err != nil {
		return err
	}
	defer box.Close()
	if _, err := box.Sync(); err != nil {
		return err
	}
	snap, err := box.Look(nil)
	if err != nil {
		return err
	}
	saved := saves{ids: ident.Messages{Box: box}, now: now}
	if x, ok := box.(interface{ Index() *index.File }); ok {
		saved.ids.Index = x.Index()
	}
	saved.note(snap)
	var old []uint32
	for i := range snap.Msgs {
		m := &snap.Msgs[i]
		tooMany := e.Max > 0 && len(snap.Msgs)-len(old) > e.Max
		if !tooMany && (e.Age <= 0 || !saved.before(m, now.Add(-e.Age))) {
			break
		}
		old = append(old, m.UID)
	}
	if len(old) == 0 {
		return nil
	}
	_, err = box.Expunge(old)
	return err
}

// saves knows since when messages are in a folder.
type saves struct {
	ids ident.Messages
	now time.Time
}

// note keeps now as the save date of all messages that have none. An mbox does not
// tell when a message was moved here, and to take its date of delivery for that
// would remove what somebody threw away a minute ago.
func (s *saves) note(snap *store.Snapshot) {
	if _, tells := s.ids.Box.(ident.Saver); tells {
		return
	}
	var fresh []uint32
	for i := range snap.Msgs {
		if !s.ids.Kept(&snap.Msgs[i]) {
			fresh = append(fresh, snap.Msgs[i].UID)
		}
	}
	s.ids.KeepSaveDate(fresh, s.now)
}

// before tells whether a message was saved before a moment; where nobody knows it
// was not.
func (s *saves) before(m *store.Msg, limit time.Time) bool {
	if _, tells := s.ids.Box.(ident.Saver); !tells && !s.ids.Kept(m) {
		return false
	}
	date, err := s.ids.SaveDate(m)
	return err == nil && !date.After(limit)
}
