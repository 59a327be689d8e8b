// Package limits writes what IMAP tells of quotas (RFC 2087), in Dovecot's words.
package limits

import (
	"errors"
	"slices"
	"strconv"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store"
	"packetboat/internal/store/quota"
)

// Over is the answer, behind "NO ", to a command for which there is no room.
func Over(err error) string {
	var e *quota.Error
	switch {
	case !errors.As(err, &e):
		return "[OVERQUOTA] Quota exceeded (mailbox for user is full)"
	case e.Kind == quota.TooLong:
		return "[LIMIT] " + e.Text
	}
	return "[OVERQUOTA] " + e.Text
}

// Room says whether one more message of n octets fits into a mailbox with those that a
// command has brought already.
func Room(box store.Mailbox, before []int64, n int64) error {
	if b, ok := box.(quota.Bounded); ok {
		return b.Fits(append(before, n))
	}
	return nil
}

// Any tells whether one of the quotas limits anything.
func Any(list []quota.Status) bool {
	return slices.ContainsFunc(list, func(q quota.Status) bool { return q.Visible() })
}

// Roots writes QUOTAROOT of a mailbox, and QUOTA of each root that has a limit.
func Roots(out *wire.Output, mailbox string, list []quota.Status) {
	out.Text("* QUOTAROOT ")
	out.Name(mailbox)
	for _, q := range list {
		out.Text(" ")
		out.Buf = syntax.AppendAString(out.Buf, q.Name)
	}
	out.Line()
	for _, q := range list {
		One(out, q)
	}
}

// One writes one QUOTA response, if there is a limit: storage in units of 1024 octets
// (RFC 9208 section 5.1), rounded up as Dovecot does.
func One(out *wire.Output, q quota.Status) {
	if !q.Visible() {
		return
	}
	out.Text("* QUOTA ")
	out.Buf = syntax.AppendAString(out.Buf, q.Name)
	out.Text(" (")
	space := ""
	item := func(name string, used, limit int64) {
		if limit > 0 {
			out.Text(space, name, " ", strconv.FormatInt(used, 10), " ", strconv.FormatInt(limit, 10))
			space = " "
		}
	}
	item("STORAGE", (q.Used.Bytes+1023)/1024, (q.Limits.Bytes+1023)/1024)
	item("MESSAGE", q.Used.Count, q.Limits.Count)
	out.Text(")")
	out.Line()
}
