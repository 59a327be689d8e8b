package imapd

import (
	"errors"
	"slices"
	"strconv"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store/quota"
)

// Quota tells what of a user's limits is used up. The limits themselves are held by
// the stores (package quota).
type Quota interface {
	// Roots returns the quotas that a mailbox counts for; "" means all there are.
	Roots(mailbox string) ([]quota.Status, error)
}

// overQuota is the answer to a command for which there is no room.
func overQuota(err error) string {
	var e *quota.Error
	switch {
	case !errors.As(err, &e):
		return "[OVERQUOTA] Quota exceeded (mailbox for user is full)"
	case e.Kind == quota.TooLong:
		return "[LIMIT] " + e.Text
	}
	return "[OVERQUOTA] " + e.Text
}

// room says whether one more message of n octets fits with those that this command
// has brought already.
func (ap *appender) room(n int64) error {
	b, ok := ap.box.(quota.Bounded)
	if !ok {
		return nil
	}
	sizes := make([]int64, 0, len(ap.at)+1)
	for _, at := range ap.at {
		sizes = append(sizes, at.Size())
	}
	return b.Fits(append(sizes, n))
}

// withoutQuota answers the commands where they do not exist.
func (s *session) withoutQuota() error {
	return s.refuse("BAD Error in IMAP command " + s.cmd.name + ": Unknown command")
}

// oneString wants a name as the first argument.
func oneString(args []syntax.Arg) error {
	if len(args) == 0 {
		return syntax.Error("Missing arguments")
	}
	if !args[0].IsString() {
		return syntax.Error("Invalid arguments")
	}
	return nil
}

// getQuotaRoot: RFC 2087 section 4.3. A mailbox need not exist.
func (s *session) getQuotaRoot(args []syntax.Arg) error {
	if s.user.Quota == nil {
		return s.withoutQuota()
	}
	if err := oneString(args); err != nil {
		return err
	}
	name, err := s.mailboxName(args[0])
	var list []quota.Status
	if err == nil {
		list, err = s.user.Quota.Roots(name)
	}
	if err != nil {
		return s.failed(err, name, "")
	}
	if !slices.ContainsFunc(list, func(q quota.Status) bool { return q.Visible() }) {
		return s.done("OK No quota")
	}
	s.out.Text("* QUOTAROOT ")
	s.out.Name(name)
	for _, q := range list {
		s.out.Text(" ")
		s.out.Buf = syntax.AppendAString(s.out.Buf, q.Name)
	}
	s.out.Line()
	for _, q := range list {
		if q.Visible() {
			s.writeQuota(q)
		}
	}
	return s.done("OK Getquotaroot completed")
}

// getQuota: RFC 2087 section 4.2.
func (s *session) getQuota(args []syntax.Arg) error {
	if s.user.Quota == nil {
		return s.withoutQuota()
	}
	if err := oneString(args); err != nil {
		return err
	}
	root := string(args[0].Text)
	list, err := s.user.Quota.Roots("")
	if err != nil {
		return s.failed(err, root, "")
	}
	for _, q := range list {
		if q.Name == root {
			if q.Visible() {
				s.writeQuota(q)
			}
			return s.done("OK Getquota completed")
		}
	}
	return s.done("NO Quota root doesn't exist")
}

// setQuota: RFC 2087 section 4.1. Limits stand in the configuration.
func (s *session) setQuota(args []syntax.Arg) error {
	if s.user.Quota == nil {
		return s.withoutQuota()
	}
	if len(args) < 2 || !args[0].IsString() || args[1].Kind != syntax.List {
		return syntax.Error("Invalid arguments")
	}
	return s.done("NO Quota can be changed only by admin")
}

// writeQuota writes one QUOTA response: storage in units of 1024 octets (RFC 9208
// section 5.1), rounded up as Dovecot does.
func (s *session) writeQuota(q quota.Status) {
	s.out.Text("* QUOTA ")
	s.out.Buf = syntax.AppendAString(s.out.Buf, q.Name)
	s.out.Text(" (")
	space := ""
	item := func(name string, used, limit int64) {
		if limit > 0 {
			s.out.Text(space, name, " ", strconv.FormatInt(used, 10), " ", strconv.FormatInt(limit, 10))
			space = " "
		}
	}
	item("STORAGE", (q.Used.Bytes+1023)/1024, (q.Limits.Bytes+1023)/1024)
	item("MESSAGE", q.Used.Count, q.Limits.Count)
	s.out.Text(")")
	s.out.Line()
}
