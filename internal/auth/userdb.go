package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"packetboat/internal/sys/proc"
)

// ErrNoUser says that no userdb lists the user; any other error of User means
// that nobody could tell.
var ErrNoUser = errors.New("user not found from any userdbs")

// UserInfo is where a user's mail is and who reads it.
type UserInfo struct {
	User   string
	UID    int
	GID    int
	Home   string
	Mail   string // mail location with all variables expanded, as "mbox:/home/a/mail:INBOX=/var/mail/a"
	Fields Fields // every field as the userdb gave it
}

// userdb is one user database; it returns errUnknown for a user it does not list.
type userdb interface {
	name() string
	user(ctx context.Context, q *Query, pass Fields) (Fields, error)
}

// userBlock is a userdb with what its block says beside the driver.
type userBlock struct {
	userdb
	db DB
}

func (a *Auth) newUserdb(d DB) (*userBlock, error) {
	var u userdb
	var err error
	switch d.Driver {
	case "passwd":
		u = passwd{}
	case "passwd-file":
		var p *passwdFile
		p, err = newPasswdFile(d.Args)
		u = passwdFileUsers{p}
	case "static":
		args := parseFields(d.Args)
		_, all := args["allow_all_users"]
		delete(args, "allow_all_users")
		u = &staticUsers{a, args, all}
	case "prefetch":
		u = prefetch{}
	case "sql":
		u, err = a.newSQL(d.Args)
	case "ldap":
		u, err = a.newLDAP(d.Args)
	default:
		err = errors.New("unknown userdb driver")
	}
	if err == nil {
		err = d.check("found", "notfound")
	}
	if err != nil {
		return nil, err
	}
	return &userBlock{u, d}, nil
}

// User asks the userdbs, in their order, where the mail of name is. pass holds the
// fields of the passdb that let the user in, or is nil where nobody logged in
// (LMTP, doveadm).
func (a *Auth) User(ctx context.Context, name, service string, pass Fields) (*UserInfo, error) {
	q := &Query{Service: service}
	if err := a.setUser(q, name); err != nil {
		return nil, ErrNoUser
	}
	return a.userOf(ctx, q, pass)
}

// LoggedIn is User for an account whose name a passdb has confirmed: it is not
// normalised a second time.
func (a *Auth) LoggedIn(ctx context.Context, q *Query, pass Fields) (*UserInfo, error) {
	return a.userOf(ctx, q, pass)
}

// userOf asks the userdbs as their Rules say. One that could not be asked makes the
// answer an error, unless another one knows the user.
func (a *Auth) userOf(ctx context.Context, q *Query, pass Fields) (*UserInfo, error) {
	var c chain
	var fields Fields
	var broken error
	for _, b := range a.userdbs {
		if c.done || !b.db.wanted(q, c.good) {
			continue
		}
		f, err := b.user(ctx, q, pass)
		switch {
		case err == nil:
			fields = over(fields, merge(b.db.Default, f, b.db.Override, q))
			c.follow(b.db.Success, "return-ok")
		case errors.Is(err, errUnknown):
			c.follow(b.db.Failure, "continue")
		default:
			a.error(b.name(), q, "%v", err)
			broken = err
			c.follow(b.db.Internal, "continue")
		}
	}
	switch {
	case c.good:
		return a.userInfo(q, fields)
	case broken != nil:
		return nil, broken
	}
	return nil, ErrNoUser
}

// userInfo turns fields into a UserInfo.
func (a *Auth) userInfo(q *Query, f Fields) (*UserInfo, error) {
	if name := f["user"]; name != "" {
		q.User = name
	}
	u := &UserInfo{User: q.User, Home: f["home"], Fields: f}
	var err error
	if u.UID, err = userNumber(cmp.Or(f["uid"], a.o.MailUID)); err != nil {
		return nil, err
	}
	if u.GID, err = groupNumber(cmp.Or(f["gid"], a.o.MailGID)); err != nil {
		return nil, err
	}
	if err := a.valid(u); err != nil {
		return nil, err
	}
	q.UID, q.GID = strconv.Itoa(u.UID), strconv.Itoa(u.GID)
	if u.Home == "" && a.o.MailHome != "" {
		if u.Home, err = ExpandPath(a.o.MailHome, q); err != nil {
			return nil, err
		}
	}
	q.Home = u.Home
	if u.Mail, err = ExpandPath(cmp.Or(f["mail"], a.o.MailLocation), q); err != nil {
		return nil, err
	}
	if u.Mail, err = tilde(u.Mail, u.Home); err != nil {
		return nil, fmt.Errorf("user %s: %w", printable(q.User), err)
	}
	return u, nil
}

// valid holds a user against first_valid_uid and its like: a configuration
// error must never let mail be read as root.
func (a *Auth) valid(u *UserInfo) error {
	if u.UID < a.o.FirstUID || (a.o.LastUID > 0 && u.UID > a.o.LastUID) {
		return fmt.Errorf("user %s: uid %d is not allowed (first_valid_uid = %d, last_valid_uid = %d)",
			printable(u.User), u.UID, a.o.FirstUID, a.o.LastUID)
	}
	if u.GID < a.o.FirstGID || (a.o.LastGID > 0 && u.GID > a.o.LastGID) {
		return fmt.Errorf("user %s: gid %d is not allowed (first_valid_gid = %d, last_valid_gid = %d)",
			printable(u.User), u.GID, a.o.FirstGID, a.o.LastGID)
	}
	return nil
}

// tilde puts the home folder in place of "~/" at the start of each path of a
// mail location.
func tilde(mail, home string) (string, error) {
	parts := strings.Split(mail, ":")
	for i, p := range parts {
		key, path, ok := strings.Cut(p, "=")
		if !ok {
			key, path = "", p
		} else {
			key += "="
		}
		if path != "~" && !strings.HasPrefix(path, "~/") {
			continue
		}
		if home == "" {
			return "", errors.New("mail location wants a home folder, and the userdb gives none")
		}
		parts[i] = key + home + path[1:]
	}
	return strings.Join(parts, ":"), nil
}

// userNumber reads a uid field: a number or an account's name.
func userNumber(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return n, nil
	}
	if s == "" {
		return 0, errors.New("userdb gives no uid")
	}
	u, err := proc.LookupUser(s)
	if err != nil {
		return 0, fmt.Errorf("uid %q: %w", s, err)
	}
	return u.UID, nil
}

func groupNumber(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return n, nil
	}
	if s == "" {
		return 0, errors.New("userdb gives no gid")
	}
	n, err := proc.LookupGroup(s)
	if err != nil {
		return 0, fmt.Errorf("gid %q: %w", s, err)
	}
	return n, nil
}

// passwd is the accounts of this machine.
type passwd struct{}

func (passwd) name() string { return "passwd" }

func (passwd) user(_ context.Context, q *Query, _ Fields) (Fields, error) {
	u, err := proc.LookupUser(q.User)
	if errors.Is(err, proc.ErrNoUser) {
		return nil, errUnknown
	}
	if err != nil {
		return nil, err
	}
	return Fields{"uid": strconv.Itoa(u.UID), "gid": strconv.Itoa(u.GID), "home": u.Home, "system_groups_user": u.Name}, nil
}

// passwdFileUsers is a passwd-file as a userdb.
type passwdFileUsers struct{ *passwdFile }

func (p passwdFileUsers) user(_ context.Context, q *Query, _ Fields) (Fields, error) {
	return p.userFields(q)
}

// staticUsers gives every user the same fields. When nobody logged in it asks
// the passdbs whether the user exists (UserDatabase/Static).
type staticUsers struct {
	a    *Auth
	args Fields
	all  bool // allow_all_users=yes
}

func (s *staticUsers) name() string { return "static" }

func (s *staticUsers) user(ctx context.Context, q *Query, pass Fields) (Fields, error) {
	if pass == nil && !s.all {
		if err := s.exists(ctx, q); err != nil {
			return nil, err
		}
	}
	f := make(Fields)
	for k, v := range s.args {
		if k != "home" {
			f[k] = Expand(v, q)
			continue
		}
		home, err := ExpandPath(v, q)
		if err != nil {
			return nil, err
		}
		f[k] = home
	}
	return f, nil
}

// exists asks the passdbs. One that cannot look up without a password (PAM)
// is an error: "no such user" must not be guessed.
func (s *staticUsers) exists(ctx context.Context, q *Query) error {
	for _, p := range s.a.passdbs {
		if p.db.Deny {
			continue
		}
		_, err := p.lookup(ctx, q)
		if !errors.Is(err, errUnknown) {
			return err
		}
	}
	return errUnknown
}

// prefetch takes the userdb_ fields that the passdb gave.
type prefetch struct{}

func (prefetch) name() string { return "prefetch" }

func (prefetch) user(_ context.Context, _ *Query, pass Fields) (Fields, error) {
	f := make(Fields)
	for k, v := range pass {
		if k, ok := strings.CutPrefix(k, "userdb_"); ok {
			f[k] = v
		}
	}
	if f["uid"] == "" {
		return nil, errUnknown // as Dovecot: the next userdb answers
	}
	return f, nil
}
