package maildir

import (
	"strings"

	"packetboat/internal/store/maildir/uidlist"
)

// POP3 returns what POP3 may call a message: the name of its file without flags
// (pop3_uidl_format %f), and the name that dovecot-uidlist has kept for it from
// another server, which comes before every format; empty where there is none.
func (m *mailbox) POP3(uid uint32) (file, saved string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state.Load()
	if i := find(s.snap, uid); i >= 0 {
		file = uidlist.Base(s.files[i].name)
	}
	m.list.Load() // a list that cannot be read now says nothing
	for w := range strings.FieldsSeq(m.list.Ext[uid]) {
		if w[0] == 'P' {
			saved = w[1:]
		}
	}
	return file, saved
}
