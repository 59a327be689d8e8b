package maildir

// GUID returns the mailbox's id: 32 hex digits of the head of dovecot-uidlist, as
// Dovecot has it. It is empty for a list that has none.
func (m *mailbox) GUID() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.list.Load()
	return m.list.GUID(), err
}

// SaveDate returns when a message came into the mailbox, in seconds since 1970: like
// Dovecot's maildir, the time when its file was last moved or linked.
func (m *mailbox) SaveDate(uid uint32) (int64, error) {
	f, st, err := m.openFile(uid)
	if err != nil {
		return 0, err
	}
	f.Close()
	return st.Ctime / 1e9, nil
}
