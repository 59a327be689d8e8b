package alias

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// ForwardQuery is what the names of forward_path stand for, beside those of the
// account: $user $extension $local $domain $recipient $recipient_delimiter. It can
// be compared. The zero value stands for no .forward at all.
type ForwardQuery struct {
	User   string       `json:"user,omitempty"`
	Local  string       `json:"local,omitempty"` // with the extension
	Ext    string       `json:"ext,omitempty"`
	HasExt bool         `json:"has_ext,omitempty"` // an empty extension counts too
	Addr   mail.Address `json:"addr,omitempty"`
	Delim  string       `json:"delim,omitempty"` // the delimiter that stood before Ext
}

// ForwardFile is an open .forward of an account.
type ForwardFile struct {
	*os.File
	Path      string
	UID       int  // the account's
	Extension bool // the path holds the extension, so it goes no further
}

// Value returns what a name of local_expand(3) stands for; u may be nil.
func (q ForwardQuery) Value(name string, u *proc.User) (string, bool) {
	switch name {
	case "user":
		return q.User, true
	case "local":
		return q.Local, true
	case "domain":
		return q.Addr.Domain(), true
	case "recipient":
		return string(q.Addr), true
	case "extension":
		return q.Ext, q.HasExt
	case "recipient_delimiter":
		return q.Delim, q.Delim != ""
	}
	if u != nil && name == "home" {
		return u.Home, true
	}
	if u != nil && name == "shell" {
		return u.Shell, true
	}
	return "", false
}

// Path fills in one element of forward_path; chars is forward_expansion_filter.
// It is not ok where a name stands for nothing: there is no such file then.
func (q ForwardQuery) Path(element string, u *proc.User, chars string) (path string, extension, ok bool) {
	path, undefined := Names(element, func(name string) (string, bool) {
		v, known := q.Value(name, u)
		extension = extension || name == "extension" && known
		return Safe(v, chars), known
	})
	return path, extension, !undefined && path != ""
}

// Query is the question for the .forward of a recipient.
func (d *Dest) Query(delims string) ForwardQuery {
	return query(d.User, d.Local, d.Ext, len(d.Local) > len(d.User), d.Addr, delims)
}

func query(user, local, ext string, hasExt bool, addr mail.Address, delims string) ForwardQuery {
	q := ForwardQuery{User: user, Local: local, Ext: ext, HasExt: hasExt, Addr: addr}
	if len(local) > len(user) {
		q.Delim = local[len(user) : len(user)+1]
	} else if delims != "" {
		q.Delim = delims[:1]
	}
	return q
}

// forward follows the recipient's .forward: deliver_dotforward of local(8). It
// returns whether the recipient is done with.
func (r *run) forward(s state) bool {
	// Who lists himself in his .forward means his mailbox.
	if r.Forward == nil || s.from != "" && strings.EqualFold(s.from, s.user) {
		return false
	}
	q := query(s.user, s.local, s.ext, s.hasExt, s.addr, r.Delimiter)
	f, err := r.Forward(r.ctx, q)
	var odd *disk.UntrustedError
	switch {
	case errors.Is(err, proc.ErrNoUser), errors.Is(err, fs.ErrNotExist):
		return false
	case errors.As(err, &odd):
		if _, why, unread := strings.Cut(odd.Why, "cannot be opened: "); unread && why != "" {
			r.warn("cannot open file %s: %s", odd.Path, strings.ToUpper(why[:1])+why[1:])
		} else {
			r.warn("file %s %s", odd.Path, odd.Why)
		}
		return false
	case err != nil:
		if st, ok := errors.AsType[*mail.Status](err); ok {
			r.fail(s, st)
			return true
		}
		r.warn("error looking up passwd info for %s: %v", s.user, err)
		r.fail(s, mail.Defer("4.0.0", "user lookup error"))
		return true
	}
	defer f.Close()
	if r.verify {
		r.fail(s, mail.OK("2.0.0", "forward via file: %s", f.Path))
		return true
	}
	return r.dotForward(s, q, f)
}

// dotForward follows what an open .forward lists. A file that lists nothing is
// like none.
func (r *run) dotForward(s state, q ForwardQuery, f *ForwardFile) bool {
	if !r.once("forward " + f.Path) {
		return r.seen["forward-done "+f.Path] // else it leads to itself
	}
	if r.Trace != nil {
		r.Trace(Step{Addr: s.addr, Name: s.user, File: f.Path})
	}
	if !r.FrozenDelivered {
		s.delivered = s.addr
	}
	// The user's rights, whoever owns the file (root may). Other local users that
	// he lists get a message of their own, since he counts as an owner.
	s.account, s.uid, s.listed = s.user, f.UID, q
	s.via, s.from, s.owner = "forward", s.user, s.user
	if f.Extension || !contains(r.Propagate, "forward") {
		s.unmatched = ""
	}
	before := len(r.dests)
	n := r.list(s, f, f.Path)
	if n > 0 {
		r.once("forward-done " + f.Path)
	}
	return n > 0 || len(r.dests) > before
}

// list follows a file whose lines are lists of addresses of their own, "#" in
// the first column begins a comment. It returns how many members there were.
func (r *run) list(s state, f io.Reader, path string) (n int) {
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxIncludeLine)
	for sc.Scan() {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		items, err := Parse(sc.Text())
		if err != nil {
			r.fail(s, mail.Defer("4.3.5", "mail system configuration error"))
			return n
		}
		for _, it := range items {
			r.item(s, it)
			n++
		}
	}
	if sc.Err() != nil {
		r.warn("read file %s: %v", path, sc.Err())
		r.fail(s, mail.Defer("4.3.0", "error reading forwarding file: %v", sc.Err()))
	}
	return n
}

// home follows "~/name", a file below the home folder of whose .forward it is.
func (r *run) home(s state, text string) {
	var home string
	if s.account != "" && r.HomeOf != nil {
		home, _ = r.HomeOf(s.account)
	}
	switch {
	case !strings.HasPrefix(text, "~/"):
		r.warn("bad home directory syntax for: %s", text)
	case home == "":
		r.warn("unknown home directory for: %s", text)
	case home[0] != '/':
		r.warn("bad home directory for: %s", text)
	default:
		r.item(s, Item{File, home + text[1:]})
		return
	}
	r.fail(s, errConfig())
}
