package mails

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/letter"
	"packetboat/cmd/mailadm/doveadm/query"
	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/store/names"
)

// mailboxCommands are the commands "doveadm mailbox ...".
func mailboxCommands() map[string]*Command {
	const attributes = "Mailbox attributes not enabled"
	meta := func(text string) func(*Args, time.Time) (*Plan, error) {
		return func(*Args, time.Time) (*Plan, error) {
			return &Plan{Run: func(e *Env) { e.fail(ExitData, "%s: %s", text, attributes) }}, nil
		}
	}
	return map[string]*Command{
		"create":         {Usage: "[-s] [-g <guid>] <mailbox> [...]", Options: "sg:", Prepare: create},
		"delete":         {Usage: "[-e] [-r] [-s] [-Z] <mailbox> [...]", Options: "ersZ", Prepare: deleteCommand},
		"list":           {Usage: "[-7|-8] [-s] [<mailbox mask> [...]]", Options: "78s", Prepare: list},
		"path":           {Usage: "[-t <type>] <mailbox>", Options: "t:", Prepare: path},
		"rename":         {Usage: "[-s] <old name> <new name>", Options: "s", Prepare: rename},
		"status":         {Usage: "<fields> <mailbox> [...]", Options: "t", Prepare: status},
		"subscribe":      {Usage: "<mailbox> [...]", Prepare: subscribe(true)},
		"unsubscribe":    {Usage: "<mailbox> [...]", Prepare: subscribe(false)},
		"metadata get":   {Usage: "[-s] <mailbox> <key>", Options: "s", Prepare: meta("Failed to get attribute")},
		"metadata set":   {Usage: "[-s] <mailbox> <key> <value>", Options: "s", Prepare: meta("Failed to set attribute")},
		"metadata unset": {Usage: "[-s] <mailbox> <key>", Options: "s", Prepare: meta("Failed to unset attribute")},
		"metadata list":  {Usage: "[-s] [-p] <mailbox> [<key prefix>]", Options: "sp", Prepare: meta("Failed to iterate attributes")},
		"update": {Usage: "[--mailbox-guid guid] [--uid-validity uid] [--min-next-uid uid] [--min-first-recent-uid uid] [--min-highest-modseq seq] [--min-highest-pvt-modseq seq] <mailbox>",
			Long:    []string{"mailbox-guid", "uid-validity", "min-next-uid", "min-first-recent-uid", "min-highest-modseq", "min-highest-pvt-modseq"},
			Prepare: unbuilt("mailbox update", "the numbers of a mailbox are kept by its store and cannot be set")},
		"cache decision": {Usage: "--all --fields <fields> [--last-used <timestamp>] [--decision <decision>] <mailbox> [...]", Long: []string{"all", "fields", "last-used", "decision"},
			Prepare: unbuilt("mailbox cache", "caches are made anew by themselves; doveadm force-resync reads a mailbox again")},
		"cache remove": {Usage: "<search string>", Prepare: unbuilt("mailbox cache", "caches are made anew by themselves; doveadm force-resync reads a mailbox again")},
		"cache purge":  {Usage: "<mailbox> [...]", Prepare: unbuilt("mailbox cache", "caches are made anew by themselves; doveadm force-resync reads a mailbox again")},
	}
}

// list prints the names of mailboxes, or of subscriptions.
func list(a *Args, _ time.Time) (*Plan, error) {
	masks := a.Rest
	if len(masks) == 0 {
		masks = []string{"*"}
	}
	return &Plan{Columns: []show.Column{{Key: "mailbox", Hide: true}}, Run: func(e *Env) {
		all := e.folders()
		if len(masks) == 1 && !strings.ContainsAny(masks[0], "*%") && !a.Has("s") {
			all = []store.Folder{{Name: masks[0]}} // a name is shown as it is, as Dovecot does
		}
		for _, f := range all {
			gone := f.NoSelect && !f.HasChildren
			if a.Has("s") && !f.Subscribed || !a.Has("s") && gone {
				continue
			}
			name := f.Name
			if a.Has("7") {
				name = names.Encode(name)
			}
			if slices.ContainsFunc(masks, func(m string) bool { return query.MatchMailbox(m, f.Name) }) {
				e.Out.Value(name)
			}
		}
	}}, nil
}

func create(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) == 0 {
		return nil, usage()
	}
	if a.Has("g") {
		return nil, &Problem{Code: ExitTemp, Text: "mailbox create -g is not built", Hint: "leave -g out: the store gives the mailbox its identifier"}
	}
	return &Plan{Run: func(e *Env) {
		for _, name := range a.Rest {
			if err := e.Store.Create(strings.TrimSuffix(name, "/")); err != nil {
				e.failed(err, name, "Can't create mailbox %s", name)
				continue
			}
			if a.Has("s") {
				e.subscribe(name, true)
			}
		}
	}}, nil
}

func (e *Env) subscribe(name string, on bool) {
	if err := e.Store.Subscribe(name, on); err != nil {
		e.failed(err, name, "Can't %ssubscribe mailbox %s", map[bool]string{false: "un"}[on], name)
	}
}

func subscribe(on bool) func(*Args, time.Time) (*Plan, error) {
	return func(a *Args, _ time.Time) (*Plan, error) {
		if len(a.Rest) == 0 {
			return nil, usage()
		}
		return &Plan{Run: func(e *Env) {
			for _, name := range a.Rest {
				e.subscribe(name, on)
			}
		}}, nil
	}
}

// deleteCommand deletes mailboxes; -e only empty ones, -r with their children.
func deleteCommand(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) == 0 {
		return nil, usage()
	}
	return &Plan{Run: func(e *Env) {
		for _, name := range a.Rest {
			for _, n := range e.withChildren(name, a.Has("r")) {
				e.deleteMailbox(n, a.Has("s"), a.Has("e"))
			}
		}
	}}, nil
}

// withChildren returns a mailbox, and with deep set those below it, deepest first.
func (e *Env) withChildren(name string, deep bool) []string {
	if !deep {
		return []string{name}
	}
	var all []string
	for _, f := range e.folders() {
		if strings.HasPrefix(f.Name, name+"/") && (!f.NoSelect || f.HasChildren) {
			all = append(all, f.Name)
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(all)))
	if !slices.ContainsFunc(e.folders(), func(f store.Folder) bool { return f.Name == name && f.NoSelect && len(all) > 0 }) {
		all = append(all, name)
	}
	return all
}

func (e *Env) deleteMailbox(name string, unsubscribe, mustBeEmpty bool) {
	if mustBeEmpty {
		if n, err := e.count(name); err == nil && n > 0 {
			e.fail(ExitData, "Can't delete mailbox %s: Mailbox isn't empty", name)
			return
		}
	}
	if err := e.Store.Delete(name); err != nil {
		e.failed(err, name, "Can't delete mailbox %s", name)
		return
	}
	if unsubscribe {
		e.subscribe(name, false)
	}
}

func (e *Env) count(name string) (int, error) {
	box, err := e.Store.Open(name)
	if err != nil {
		return 0, err
	}
	defer e.closeBox(box, name)
	snap, err := box.Sync()
	if err != nil {
		return 0, err
	}
	return len(snap.Msgs), nil
}

func rename(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) != 2 {
		return nil, usage()
	}
	from, to := a.Rest[0], a.Rest[1]
	return &Plan{Run: func(e *Env) {
		if err := e.Store.Rename(from, to); err != nil {
			if err == store.ErrExists {
				e.fail(ExitData, "Can't rename mailbox %s to %s: Target mailbox already exists", from, to)
				return
			}
			e.failed(err, from, "Can't rename mailbox %s to %s", from, to)
			return
		}
		if a.Has("s") {
			e.subscribe(from, false)
			e.subscribe(to, true)
		}
	}}, nil
}

// statusFields are the fields of mailbox status in their order; the sums are those
// that -t adds up.
var (
	statusFields = []string{"messages", "recent", "uidnext", "uidvalidity", "unseen", "highestmodseq", "vsize", "guid", "firstsaved"}
	statusSums   = []string{"messages", "recent", "unseen", "vsize"}
)

func status(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) < 2 {
		return nil, usage()
	}
	want := make(map[string]bool)
	for _, f := range strings.Fields(a.Rest[0]) {
		known := statusFields
		if f == "all" {
			for _, k := range known {
				want[k] = true
			}
			continue
		}
		if !slices.Contains(known, f) {
			return nil, &Problem{Code: ExitUsage, Text: "Unknown status field: " + f}
		}
		want[f] = true
	}
	sums := a.Has("t")
	fields := slices.DeleteFunc(slices.Clone(statusFields), func(f string) bool {
		return !want[f] || sums && !slices.Contains(statusSums, f)
	})
	p := &Plan{}
	if !sums {
		p.Columns = append(p.Columns, show.Column{Key: "mailbox", Hide: true})
	}
	for _, f := range fields {
		p.Columns = append(p.Columns, show.Column{Key: f})
	}
	p.Run = func(e *Env) { e.status(fields, a.Rest[1:], sums) }
	return p, nil
}

func (e *Env) status(fields, masks []string, sums bool) {
	all := e.folders()
	var total totals
	for _, f := range all {
		if slices.ContainsFunc(masks, func(m string) bool { return query.MatchMailbox(m, f.Name) }) {
			plain := slices.Contains(masks, f.Name)
			if f.NoSelect {
				if plain {
					e.fail(ExitNotFound, "Mailbox %s: Failed to lookup mailbox status: Mailbox isn't selectable", f.Name)
				}
				continue
			}
			e.statusOf(f.Name, fields, sums, &total)
		}
	}
	for _, m := range masks {
		if !strings.ContainsAny(m, "*%") && !slices.ContainsFunc(all, func(f store.Folder) bool { return query.MatchMailbox(m, f.Name) }) {
			e.failed(store.ErrNoMailbox, m, "Mailbox %s: Failed to lookup mailbox status", m)
		}
	}
	if sums {
		for _, f := range fields {
			e.Out.Value(total.field(f))
		}
	}
}

func (e *Env) statusOf(name string, fields []string, sums bool, total *totals) {
	box, err := e.Store.Open(name)
	if err != nil {
		e.failed(err, name, "Mailbox %s: Failed to lookup mailbox status", name)
		return
	}
	defer e.closeBox(box, name)
	snap, err := box.Sync()
	if err == nil && (slices.Contains(fields, "vsize") || slices.Contains(fields, "firstsaved")) {
		snap, err = box.Look(nil)
	}
	if err != nil {
		e.failed(err, name, "Mailbox %s: Failed to lookup mailbox status", name)
		return
	}
	total.add(snap)
	if sums {
		return
	}
	var own totals
	own.add(snap)
	e.Out.Value(name)
	for _, f := range fields {
		switch f {
		case "uidnext":
			e.Out.Value(fmt.Sprint(snap.UIDNext))
		case "uidvalidity":
			e.Out.Value(fmt.Sprint(snap.UIDValidity))
		case "highestmodseq":
			e.Out.Value(fmt.Sprint(snap.ModSeq))
		case "guid":
			e.Out.Value(letter.BoxGUID(box, snap, name))
		case "firstsaved":
			e.Out.Value(firstSaved(box, snap, name))
		default:
			e.Out.Value(own.field(f))
		}
	}
}

// field returns one of the figures that can be added up.
func (t *totals) field(name string) string {
	n := map[string]int64{"messages": t.messages, "recent": t.recent, "unseen": t.unseen, "vsize": t.size}[name]
	return fmt.Sprint(n)
}

// path prints where a mailbox is on disk.
func path(a *Args, _ time.Time) (*Plan, error) {
	kind := a.Last("t", "index")
	if len(a.Rest) != 1 || !slices.Contains([]string{"mailbox", "index", "control", "dir"}, kind) {
		return nil, usage()
	}
	return &Plan{Columns: []show.Column{{Key: "path", Hide: true}}, Run: func(e *Env) {
		s, ok := e.Store.(interface{ Path(string) (string, error) })
		if !ok {
			e.fail(ExitTemp, "this kind of store does not tell its paths")
			return
		}
		p, err := s.Path(a.Rest[0])
		if err != nil {
			e.failed(err, a.Rest[0], "Mailbox %s", a.Rest[0])
			return
		}
		if kind == "index" || kind == "control" {
			p = e.controlOf(a.Rest[0], p)
		}
		e.Out.Value(p)
	}}, nil
}

// controlOf is the folder in which the mailbox's cache is: .imap beside its file.
func (e *Env) controlOf(name, file string) string {
	l, err := location.Parse(e.Location)
	if err != nil {
		return ""
	}
	root := l.Control
	if root == "" {
		root = filepath.Join(l.Folders, ".imap")
	}
	switch rel, err := filepath.Rel(l.Folders, file); {
	case strings.EqualFold(name, "INBOX"):
		return filepath.Join(root, "INBOX")
	case l.Control != "" && err == nil:
		return filepath.Join(root, rel)
	}
	return filepath.Join(filepath.Dir(file), ".imap", filepath.Base(file))
}
