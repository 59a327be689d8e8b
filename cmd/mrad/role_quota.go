package main

import (
	"packetboat/cmd/internal/quotas"
	"packetboat/internal/serve/imapd"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/quota"
)

// Path tells where a mailbox is on disk, for package quota.
func (s *sharedStore) Path(name string) (string, error) {
	if p, ok := s.Store.(interface {
		Path(string) (string, error)
	}); ok {
		return p.Path(name)
	}
	return "", store.ErrNoMailbox
}

// quotaOf returns the quotas of a session's user; nil = there are none. A quota that
// cannot be read lets nobody in, as with Dovecot.
func (r *mailRole) quotaOf(s *session) (*quota.Account, error) {
	return quotas.Open(s.Quota, s.User, s.Mail, r.settings().BaseDir, func(text string) { r.log.DovecotError("mail", text) })
}

// limitSpaces puts the limits before the namespaces of an IMAP session.
func (r *mailRole) limitSpaces(s *session, list []tree.Namespace) (imapd.Quota, error) {
	a, err := r.quotaOf(s)
	if a == nil || err != nil {
		return nil, err
	}
	quotas.Limit(a, list)
	if !s.ShowQuota {
		return nil, nil
	}
	return a, nil
}

// limitStore puts the limits before a POP3 session's mail, so that what it deletes is
// entered.
func (r *mailRole) limitStore(s *session, st store.Store) (store.Store, error) {
	a, err := r.quotaOf(s)
	if a == nil || err != nil {
		return st, err
	}
	return a.Add(st, "", '/', true), nil
}
