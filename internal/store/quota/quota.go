// Package quota holds mail to limits of octets and messages, as Dovecot's quota
// plugin does (plugin { quota = ... } of 2.3, quota NAME { } of 2.4). Parse reads
// the settings, an Account knows what one user's mail takes, and its Guard stands
// before a store and refuses what does not fit. mrad's IMAP sessions, deliver and
// doveadm use it.
//
// How much there is, is counted (count), kept in Maildir++'s file maildirsize
// (maildir), the size of all files (dirsize) or kept in a dict file (dict). Quotas of
// the file system need no help: the kernel refuses what is too much, and each store
// answers that as full.
package quota

import (
	"fmt"

	"packetboat/internal/store"
)

// Settings are the settings of plugin { } by their names, with those of the
// userdb over them: quota, quota_rule, quota2, quota_exceeded_message ...
type Settings map[string]string

// Config is what Settings say. The zero value limits nothing.
type Config struct {
	Roots    []*Root
	Exceeded string // quota_exceeded_message
	MaxMail  int64  // quota_max_mail_size: octets of one message; 0 = no limit
	Over     OverFlag
}

// Drivers of a Root.
const (
	Count   = "count"
	Maildir = "maildir"
	Dirsize = "dirsize"
	Dict    = "dict"
)

// Root is one quota: what counts, and how much of it there may be.
type Root struct {
	Name     string // as IMAP's GETQUOTA calls it
	Driver   string
	Limits   Limits // of all mail; zero = no limit
	Forced   bool   // Limits go before those that a maildirsize file names
	Rules    []Rule // of some mailboxes
	Warnings []Warning
	Grace    int64  // octets by which one delivery may pass the limit
	Percent  int64  // the same in percent of the limit
	Hidden   bool   // IMAP does not tell it
	Lax      bool   // noenforcing: it is counted, and nothing is refused
	OnlyIf   bool   // ignoreunlimited: a user without a limit is not counted
	Space    string // ns=: only this namespace, by its prefix
	InSpace  bool   // Space is set
	File     string // of a dict
	Virtual  bool   // quota_vsizes: octets with CRLF line ends
}

// Limits are octets and messages; 0 = no limit.
type Limits struct{ Bytes, Count int64 }

// none tells that nothing is limited.
func (l Limits) none() bool { return l == Limits{} }

// Usage is what there is: octets and messages.
type Usage struct{ Bytes, Count int64 }

// Rule changes the limit of the mailboxes that a pattern means.
type Rule struct {
	Mailbox string // "*" and "?" stand for any text and any character
	Ignore  bool   // what is there does not count
	Limits         // is added to the root's; below 0 is taken away
	percent Limits // of the root's, is added instead
}

// Error is why a message is not taken. It is a store.ErrOverQuota.
type Error struct {
	Kind Kind
	Text string // for the client
}

// Kind says which limit was passed.
type Kind uint8

// The values of Kind.
const (
	Full    Kind = iota // there is no room now
	Never               // the message is larger than the whole quota
	TooLong             // it is larger than quota_max_mail_size
)

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Is makes it a store.ErrOverQuota.
func (e *Error) Is(target error) bool { return target == store.ErrOverQuota }

// Texts of Dovecot.
const (
	fullText = "Quota exceeded (mailbox for user is full)"
	longText = "Mail size is larger than the maximum size allowed by server configuration"
)

// limits returns what holds for a mailbox, and whether what is there does not count.
// A user without a limit for all mail has none for a single mailbox either, as
// with Dovecot.
func (r *Root) limits(all Limits, mailbox string) (l Limits, ignored bool) {
	if all.none() {
		return all, false
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if !match(rule.Mailbox, mailbox) {
			continue
		}
		if rule.Ignore {
			return Limits{}, true
		}
		return Limits{max(all.Bytes+rule.Bytes+all.Bytes*rule.percent.Bytes/100, 0),
			max(all.Count+rule.Count+all.Count*rule.percent.Count/100, 0)}, false
	}
	return all, false
}

// grace returns by how many octets a delivery may pass a limit.
func (r *Root) grace(limit int64) int64 { return r.Grace + limit*r.Percent/100 }

// check says whether messages of these sizes fit. delivery allows the last one the
// grace, so that a user who is nearly full is not told so by each sender.
func (r *Root) check(used Usage, l Limits, sizes []int64, delivery bool) (Kind, bool) {
	grace := int64(0)
	if delivery {
		grace = r.grace(l.Bytes)
	}
	for _, size := range sizes {
		within := used.Bytes+size <= l.Bytes || used.Bytes < l.Bytes && used.Bytes+size <= l.Bytes+grace
		if l.Bytes > 0 && !within {
			if size > l.Bytes {
				return Never, false
			}
			return Full, false
		}
		if l.Count > 0 && used.Count+1 > l.Count {
			return Full, false
		}
		used.Bytes, used.Count = used.Bytes+size, used.Count+1
	}
	return 0, true
}

// match compares a name with a pattern of "*" and "?". INBOX is the same in any case.
func match(pattern, name string) bool {
	if len(name) == len("INBOX") && len(pattern) == len(name) && foldEqual(name, "INBOX") && foldEqual(pattern, "INBOX") {
		return true
	}
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func foldEqual(a, b string) bool {
	for i := range len(a) {
		if a[i]|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}

// bad is an error of the configuration, with the setting's name.
func bad(name, format string, args ...any) error {
	return fmt.Errorf(name+": "+format, args...)
}
