package quota

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"

	"packetboat/internal/store"
)

// User is whose mail it is.
type User struct {
	Name string
	Root string // folder of a Maildir, where maildirsize is
	// Dirs are the files and folders that dirsize adds up; empty = Root.
	Dirs []string
	// Run runs a command of a warning; nil = none is run. It must not wait.
	Run func(Command)
}

// Account is the quotas of one user over all his namespaces. It is safe for many
// goroutines.
type Account struct {
	c *Config
	u User

	mu     sync.Mutex
	spaces []*space
	told   bool // the over flag was checked
}

// space is a namespace whose mail counts.
type space struct {
	store     store.Store
	prefix    string
	separator string
	inbox     bool
	sums      map[string]sum // of mailboxes, by name in the store
}

// sum is what a mailbox holds.
type sum struct {
	snap *store.Snapshot
	Usage
	raw int64 // octets on disk
}

func (s sum) octets(virtual bool) Usage {
	if !virtual {
		s.Bytes = s.raw
	}
	return s.Usage
}

// New returns the account of u.
func New(c *Config, u User) *Account { return &Account{c: c, u: u} }

// Add makes a namespace count and returns its store with the limits before it.
// Names of rules are those that clients use: with the prefix and separator. inbox
// says that INBOX is here.
func (a *Account) Add(st store.Store, prefix string, separator byte, inbox bool) store.Store {
	sp := &space{store: st, prefix: prefix, separator: string(separator), inbox: inbox, sums: map[string]sum{}}
	a.mu.Lock()
	a.spaces = append(a.spaces, sp)
	a.mu.Unlock()
	return &guard{Store: st, a: a, sp: sp}
}

// name is a mailbox's name as clients and rules use it.
func (sp *space) name(inner string) string {
	if inner == "INBOX" && sp.inbox {
		return inner
	}
	return sp.prefix + strings.ReplaceAll(inner, "/", sp.separator)
}

// counts tells whether a namespace's mail counts for a root.
func (sp *space) counts(r *Root) bool { return !r.InSpace || r.Space == sp.prefix }

// Status is one root as GETQUOTA tells it.
type Status struct {
	Name    string
	Used    Usage
	Limits  Limits
	Counted bool // it knows the number of messages
}

// Visible tells whether a client is shown a root: one with a limit.
func (s *Status) Visible() bool { return !s.Limits.none() }

// Roots returns all roots of a mailbox, those without a limit as well. A name that
// no mailbox has yet has them, too; empty means all there are.
func (a *Account) Roots(mailbox string) (list []Status, err error) {
	for _, r := range a.c.Roots {
		if r.Hidden || mailbox != "" && !a.covers(r, mailbox) {
			continue
		}
		used, all, err := a.used(r)
		if err != nil {
			return nil, err
		}
		list = append(list, Status{r.Name, used, all, r.Driver != Dirsize})
	}
	return list, nil
}

// covers tells whether a mailbox lies in a namespace that counts for r.
func (a *Account) covers(r *Root, mailbox string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	best := (*space)(nil)
	for _, sp := range a.spaces {
		if strings.EqualFold(mailbox, "INBOX") && sp.inbox {
			best = sp
			break
		}
		if strings.HasPrefix(mailbox, sp.prefix) && (best == nil || len(sp.prefix) > len(best.prefix)) {
			best = sp
		}
	}
	return best != nil && best.counts(r)
}

// used returns what a root holds, and its limits.
func (a *Account) used(r *Root) (Usage, Limits, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.usedLocked(r)
}

func (a *Account) usedLocked(r *Root) (used Usage, l Limits, err error) {
	l = r.Limits
	switch r.Driver {
	case Maildir:
		f := a.sizeFile(r)
		if used, err = f.read(); err == nil && !r.Forced && !f.limits.none() {
			l = f.limits
		}
	case Dirsize:
		used.Bytes, err = dirsize(a.dirs())
	case Dict:
		used, err = readDict(r.File)
		if errors.Is(err, errNoDict) {
			if used, err = a.count(r); err == nil {
				err = writeDict(r.File, used)
			}
		}
	default:
		used, err = a.count(r)
	}
	return used, l, err
}

func (a *Account) dirs() []string {
	if len(a.u.Dirs) > 0 {
		return a.u.Dirs
	}
	return []string{a.u.Root}
}

func (a *Account) sizeFile(r *Root) *sizeFile {
	return &sizeFile{path: filepath.Join(a.u.Root, "maildirsize"), limits: r.Limits, forced: r.Forced, walk: func() (Usage, error) { return a.walk(r) }}
}

// Recalc counts what is kept in files anew.
func (a *Account) Recalc() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.c.Roots {
		var err error
		switch r.Driver {
		case Maildir:
			_, err = a.sizeFile(r).recalc()
		case Dict:
			var used Usage
			if used, err = a.count(r); err == nil {
				err = writeDict(r.File, used)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Check says whether messages of these sizes may come to a mailbox; its error is
// an *Error where they may not. delivery says that it is new mail from outside,
// which may pass a limit by the grace.
func (a *Account) Check(mailbox string, sizes []int64, delivery bool) error {
	for _, n := range sizes {
		if a.c.MaxMail > 0 && n > a.c.MaxMail {
			return &Error{TooLong, longText}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.c.Roots {
		if r.Lax {
			continue
		}
		used, all, err := a.usedLocked(r)
		if err != nil {
			return err
		}
		l, _ := r.limits(all, mailbox)
		if kind, ok := r.check(used, l, sizes, delivery); !ok {
			return &Error{kind, a.c.Exceeded}
		}
	}
	return nil
}

// Changed notes that a mailbox took in (or lost, with numbers below 0) messages of
// so many octets. octets are those on disk, virtual those with CRLF line ends. kept
// says that the store itself has entered it into maildirsize.
func (a *Account) Changed(mailbox string, octets, virtual, messages int64, kept bool) {
	if messages == 0 && octets == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.c.Roots {
		_, ignored := r.limits(r.Limits, mailbox)
		change := Usage{virtual, messages}
		switch r.Driver {
		case Maildir:
			change.Bytes = octets
			if kept == ignored { // what does not count is taken out again
				n := int64(1)
				if ignored {
					n = -1
				}
				a.sizeFile(r).add(Usage{n * octets, n * messages})
			}
		case Dict:
			if !r.Virtual {
				change.Bytes = octets
			}
			if !ignored {
				addDict(r.File, change)
			}
		}
		if !ignored {
			a.warn(r, change)
		}
	}
}

// warn runs the command of a limit that was passed by a change that has happened.
func (a *Account) warn(r *Root, change Usage) {
	if len(r.Warnings) == 0 || a.u.Run == nil {
		return
	}
	now, all, err := a.usedLocked(r)
	if err != nil {
		return
	}
	if c, ok := r.passed(all, Usage{now.Bytes - change.Bytes, now.Count - change.Count}, now); ok {
		a.u.Run(c)
	}
}

// Begin checks the userdb's over flag at the begin of a session, and runs
// quota_over_script where it is wrong.
func (a *Account) Begin() {
	if a.c.Over.Command.Socket == "" || a.u.Run == nil || a.c.Over.Lazy {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told {
		return
	}
	a.told = true
	over := false
	for _, r := range a.c.Roots {
		used, all, err := a.usedLocked(r)
		if err != nil {
			return
		}
		over = over || all.Bytes > 0 && used.Bytes > all.Bytes || all.Count > 0 && used.Count > all.Count
	}
	if o := a.c.Over; o.wrong(over) {
		c := o.Command
		c.Args = append(append([]string{}, c.Args...), o.Value)
		a.u.Run(c)
	}
}
