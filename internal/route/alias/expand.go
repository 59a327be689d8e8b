package alias

import (
	"context"
	"fmt"
	"os"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

// Options are the parameters of local(8) that shape an expansion. OwnerSpecial
// and FrozenDelivered are on in Postfix; use Defaults where nothing is decoded.
type Options struct {
	Delimiter       string   `main:"recipient_delimiter"`
	OwnerSpecial    bool     `main:"owner_request_special"`
	ExpandOwner     bool     `main:"expand_owner_alias"`
	ResetOwner      bool     `main:"reset_owner_alias"`
	FrozenDelivered bool     `main:"frozen_delivered_to"`
	ToCommands      []string `main:"allow_mail_to_commands"` // of alias, forward, include
	ToFiles         []string `main:"allow_mail_to_files"`
	Propagate       []string `main:"propagate_unmatched_extensions"`
}

// Defaults returns what postconf(5) says when main.cf says nothing.
func Defaults() Options {
	return Options{OwnerSpecial: true, FrozenDelivered: true, ToCommands: []string{"alias", "forward"},
		ToFiles: []string{"alias", "forward"}, Propagate: []string{"canonical", "virtual"}}
}

// Map is one table of alias_maps; package table makes them.
type Map interface {
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
	Name() string
	// Owner returns the account whose rights the table's commands and files get.
	Owner() (int, error)
}

// Expander turns local recipients into destinations. All methods may be called
// from many goroutines.
type Expander struct {
	Options
	Maps []Map
	// Resolve completes and routes an address of an alias: local says that it is
	// ours and delivered by the same transport. Its error is a *mail.Status.
	Resolve func(addr mail.Address) (final mail.Address, local bool, err error)
	// Open opens an :include: file with the rights of account; empty: of the
	// file's owner. nil = as this process.
	Open func(path, account string) (*os.File, error)
	// Forward opens the .forward file of an account; nil = there are none. Its
	// errors: proc.ErrNoUser and fs.ErrNotExist say that there is no file, a
	// *disk.UntrustedError that it must not be believed, and every other one
	// defers the mail.
	Forward func(ctx context.Context, q ForwardQuery) (*ForwardFile, error)
	// OpenListed opens an :include: file that the .forward of q lists, as its
	// owner; nil = Open does.
	OpenListed func(path string, q ForwardQuery) (*os.File, error)
	// HomeOf returns an account's home folder, for ~/name.
	HomeOf func(account string) (string, error)
	// Warn is told what the log wants to know; nil = nobody.
	Warn func(format string, args ...any)
	// LookupUID finds accounts; nil = proc.LookupUID.
	LookupUID func(uid int) (*proc.User, error)
	// Trace is told each alias and each :include: file that is followed; nil in a
	// daemon, where it costs nothing.
	Trace func(Step)
}

// Step is an alias or a file that an expansion follows, for Expander.Trace.
type Step struct {
	Addr  mail.Address // the recipient that led here
	Name  string       // the alias
	Table string       // whose answer Value is; "" for a file
	Value string
	File  string // an :include: file
}

// DestKind says what is to be done with a Dest.
type DestKind uint8

// The values of DestKind.
const (
	Mailbox   DestKind = iota // deliver to local user User, who may not exist
	Forward                   // send to Addr as a new message
	ToCommand                 // run Text
	ToFile                    // append to Text
	Failed                    // nothing is to be done: Status is the answer
)

// Dest is one place where a message goes.
type Dest struct {
	Kind      DestKind
	Addr      mail.Address // the recipient that led here, for log and bounce
	Local     string       // its local part, extension included
	User, Ext string       // Local divided at recipient_delimiter
	Text      string       // command or path
	Account   string       // whose rights count for Text; empty = default_privs
	Listed    ForwardQuery // whose .forward lists Text; zero = an alias does
	Delivered mail.Address // for Delivered-To:
	Sender    mail.Address // the new sender, when Owned
	Owned     bool         // an owner- alias gives the sender
	Status    *mail.Status // with Failed
}

const (
	// maxLevel is where local(8) takes nesting for a loop. Its levels count the
	// calls inside it: an alias inside an alias is six further.
	maxLevel = 100
	perAlias = 6
	// maxDests bounds one expansion: what a typing mistake in a list of lists
	// could make of one message.
	maxDests = 100000
)

// state is one way through the expansion; it is copied at every step.
type state struct {
	level     int
	addr      mail.Address // the recipient now
	local     string
	user, ext string
	hasExt    bool
	unmatched string // extension that goes on to what is found
	from      string // the alias that led here
	via       string // "", alias, forward, include
	listed    ForwardQuery
	owner     string // set: recipients are forwarded, not delivered directly
	account   string // rights; empty = default
	uid       int    // of account; 0 = default
	sender    mail.Address
	owned     bool
	delivered mail.Address
}

// run is the expansion of one recipient.
type run struct {
	*Expander
	ctx    context.Context
	seen   map[string]bool
	looped func(mail.Address) bool
	verify bool // nothing will be delivered: where an alias or .forward leads is not asked
	dests  []Dest
}

// Expand returns where rcpt leads, at least one Dest. looped tells whether the
// message has been delivered to an address before (Delivered-To:); nil = never.
func (x *Expander) Expand(ctx context.Context, rcpt mail.Address, looped func(mail.Address) bool) []Dest {
	r := &run{Expander: x, ctx: ctx, seen: map[string]bool{}, looped: looped}
	r.recipient(state{level: perAlias / 2, addr: rcpt})
	return r.dests
}

// Verify is Expand for a probe: an alias or a .forward answers for all that it
// lists.
func (x *Expander) Verify(ctx context.Context, rcpt mail.Address, looped func(mail.Address) bool) []Dest {
	r := &run{Expander: x, ctx: ctx, seen: map[string]bool{}, looped: looped, verify: true}
	r.recipient(state{level: perAlias / 2, addr: rcpt})
	return r.dests
}

// once tells whether key is new in this expansion (been_here(3)).
func (r *run) once(key string) bool {
	if r.seen[key] {
		return false
	}
	r.seen[key] = true
	return true
}

func (r *run) warn(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(format, args...)
	}
}

// add appends a destination.
func (r *run) add(kind DestKind, s state, text string, status *mail.Status) {
	if len(r.dests) == maxDests {
		kind, status = Failed, mail.Bounce("5.4.6", "alias expansion of more than %d destinations", maxDests)
	}
	if len(r.dests) > maxDests {
		return
	}
	r.dests = append(r.dests, Dest{Kind: kind, Addr: s.addr, Local: s.local, User: s.user, Ext: s.ext, Text: text,
		Account: s.account, Listed: s.listed, Delivered: s.delivered, Sender: s.sender, Owned: s.owned, Status: status})
}

func (r *run) fail(s state, status *mail.Status) { r.add(Failed, s, "", status) }

// recipient begins with an address that is local: local(8)'s deliver_recipient.
func (r *run) recipient(s state) {
	if !r.once(fmt.Sprintf("recipient %d %s", s.level, s.addr.Fold())) {
		return
	}
	s.local = strings.ToLower(s.addr.Local())
	s.user, s.ext, s.hasExt = s.local, "", false
	if r.looped != nil && r.looped(s.addr) {
		r.fail(s, mail.Bounce("5.4.6", "mail forwarding loop for %s", s.addr))
		return
	}
	if s.delivered == "" {
		s.delivered = s.addr
	}
	if i := SplitAt(s.local, r.Delimiter, r.OwnerSpecial); i > 0 {
		s.user, s.ext, s.hasExt = s.local[:i], s.local[i+1:], true
		// An extension may become part of a file's name: no way out of a folder.
		if strings.Contains(s.ext, "/") {
			r.warn("%s: address with illegal extension: %s", s.addr, s.local)
			s.ext, s.hasExt = "", false
		}
	}
	r.names(s)
}

// names asks for the whole local part, then for the user without extension.
func (r *run) names(s state) {
	s.unmatched = ""
	if r.alias(s, s.local) {
		return
	}
	if s.hasExt {
		if contains(r.Propagate, "alias") {
			s.unmatched = s.ext
		}
		if r.alias(s, s.user) {
			return
		}
		s.unmatched = s.ext
	}
	// Mail that someone forwards to another local user becomes a message of its
	// own: its recipients have their own state in the queue.
	forwarded := s.owner != "" && !strings.EqualFold(s.owner, s.user)
	if forwarded || s.via == "include" {
		r.indirect(s)
		return
	}
	if r.forward(s) {
		return
	}
	if r.once("mailbox " + strings.ToLower(s.local)) {
		r.add(Mailbox, s, "", nil)
	}
}

// indirect sends to an address as a new message.
func (r *run) indirect(s state) {
	if r.once("indirect " + string(s.addr.Fold())) {
		r.add(Forward, s, "", nil)
	}
}

// alias expands name if a table knows it: deliver_alias. It returns whether the
// recipient is done with.
func (r *run) alias(s state, name string) bool {
	// An alias that lists its own name means the user of that name.
	if s.from != "" && strings.EqualFold(s.from, name) {
		return false
	}
	if s.level > maxLevel {
		r.warn("alias database loop for %s", name)
		r.fail(s, mail.Bounce("5.4.6", "alias database loop for %s", name))
		return true
	}
	s.from = name
	for _, m := range r.Maps {
		value, found, err := m.Lookup(r.ctx, name)
		if err != nil {
			r.warn("%s: lookup of '%s' failed: %v", m.Name(), name, err)
			r.fail(s, mail.Defer("4.3.0", "alias database unavailable"))
			return true
		}
		if found {
			r.expand(s, name, value, m)
			return true
		}
	}
	return false
}

// expand follows the value of an alias.
func (r *run) expand(s state, name, value string, m Map) {
	s.via = "alias"
	if r.Trace != nil {
		r.Trace(Step{Addr: s.addr, Name: name, Table: m.Name(), Value: value})
	}
	if r.verify {
		r.fail(s, mail.OK("2.0.0", "aliased to %s", value))
		return
	}
	if status := r.rights(&s, m); status != nil {
		r.fail(s, status)
		return
	}
	if status := r.setOwner(&s, name); status != nil {
		r.fail(s, status)
		return
	}
	if !r.FrozenDelivered {
		s.delivered = s.addr
	}
	items, err := Parse(value)
	if err != nil || len(items) == 0 {
		r.warn("%s: no recipient in alias lookup result for %s", m.Name(), name)
		r.fail(s, mail.Defer("4.3.0", "alias database unavailable"))
		return
	}
	for _, it := range items {
		r.item(s, it)
	}
}

// rights takes the table's owner: commands and files of a table that root owns
// run with default rights (aliases(5), SECURITY).
func (r *run) rights(s *state, m Map) *mail.Status {
	uid, err := m.Owner()
	if err != nil {
		r.warn("no owner UID for alias database %s", m.Name())
		return mail.Defer("4.3.0", "mail system configuration error")
	}
	s.account, s.uid, s.listed = "", 0, ForwardQuery{}
	if uid == 0 {
		return nil
	}
	u, err := r.lookupUID(uid)
	if err != nil {
		r.warn("cannot find alias database owner for %s: %v", m.Name(), err)
		return mail.Defer("4.3.0", "cannot find alias database owner")
	}
	s.account, s.uid = u.Name, uid
	return nil
}

func (r *run) lookupUID(uid int) (*proc.User, error) {
	if r.LookupUID != nil {
		return r.LookupUID(uid)
	}
	return proc.LookupUID(uid)
}

// setOwner finds owner-NAME, the address that problems are told to.
func (r *run) setOwner(s *state, name string) *mail.Status {
	if r.OwnerSpecial {
		owner := "owner-" + name
		for _, m := range r.Maps {
			value, found, err := m.Lookup(r.ctx, owner)
			if err != nil {
				r.warn("%s: lookup of '%s' failed: %v", m.Name(), owner, err)
				return mail.Defer("4.3.0", "alias database unavailable")
			}
			if found {
				return r.ownedBy(s, owner, value)
			}
		}
	}
	if r.ResetOwner {
		s.owner = ""
	}
	return nil
}

// ownedBy makes the owner- alias, or what it leads to, the sender.
func (r *run) ownedBy(s *state, owner, value string) *mail.Status {
	text := owner
	if items, _ := Parse(value); r.ExpandOwner && len(items) > 0 {
		text = items[0].Text
	}
	final, _, err := r.Resolve(mail.Address(text))
	if err != nil {
		return mail.AsStatus(err)
	}
	s.owner, s.sender, s.owned = string(final), final, true
	return nil
}

// item follows one member of an alias or an :include: file.
func (r *run) item(s state, it Item) {
	switch it.Kind {
	case Command:
		switch {
		case !contains(r.ToCommands, s.via):
			r.fail(s, mail.Bounce("5.7.1", "mail to command is restricted"))
		case r.once(fmt.Sprintf("command %s:%d %s", s.local, s.uid, it.Text)):
			r.add(ToCommand, s, it.Text, nil)
		}
	case File:
		switch {
		case !contains(r.ToFiles, s.via):
			r.fail(s, mail.Bounce("5.7.1", "mail to file is restricted"))
		case r.once(fmt.Sprintf("file %d %s", s.uid, it.Text)):
			r.add(ToFile, s, it.Text, nil)
		}
	case Include:
		r.include(s, it.Text)
	case Home:
		r.home(s, it.Text)
	default:
		r.address(s, it.Text)
	}
}

// address routes an address: one of ours is a recipient again.
func (r *run) address(s state, text string) {
	final, local, err := r.Resolve(mail.Address(text))
	if err != nil {
		r.fail(s, mail.AsStatus(err))
		return
	}
	if s.unmatched != "" && r.Delimiter != "" {
		user, domain := final.Split()
		final = mail.Address(user + r.Delimiter[:1] + s.unmatched)
		if domain != "" {
			final += mail.Address("@" + domain)
		}
	}
	s.addr, s.level = final, s.level+perAlias
	if local {
		r.recipient(s)
		return
	}
	r.indirect(s)
}

// SplitAt finds the delimiter of an address extension, or -1 (split_addr(3)).
func SplitAt(local, delims string, lists bool) int {
	for _, name := range [...]string{"mailer-daemon", "postmaster", "double-bounce"} {
		if strings.EqualFold(local, name) {
			return -1
		}
	}
	i := -1
	if delims != "" {
		i = strings.IndexAny(local, delims)
	}
	if i > 0 && local[i] == '-' && lists {
		l := strings.ToLower(local)
		if strings.HasPrefix(l, "owner-") || strings.HasSuffix(l, "-request") {
			return -1
		}
	}
	return i
}

func contains(list []string, word string) bool {
	for _, s := range list {
		if strings.EqualFold(s, word) {
			return true
		}
	}
	return false
}

// Follow returns where value leads, a list of addresses that stands in the
// place of from: luser_relay of local(8). Commands and files are restricted.
func (x *Expander) Follow(ctx context.Context, from Dest, value string, looped func(mail.Address) bool) []Dest {
	r := &run{Expander: x, ctx: ctx, seen: map[string]bool{}, looped: looped}
	s := state{level: perAlias, addr: from.Addr, local: from.Local, user: from.User, ext: from.Ext,
		account: from.Account, delivered: from.Delivered, sender: from.Sender, owned: from.Owned}
	items, err := Parse(value)
	if err != nil || len(items) == 0 {
		r.fail(s, mail.Defer("4.3.5", "mail system configuration error"))
		return r.dests
	}
	for _, it := range items {
		r.item(s, it)
	}
	return r.dests
}
