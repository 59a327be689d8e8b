package auth

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"packetboat/internal/sys/proc"
)

// lister is a userdb that can name its users.
type lister interface {
	users(a *Auth) ([]string, error)
}

// ErrNoList says that some userdb cannot name its users (static with PAM behind
// it, SQL without iterate_query).
var ErrNoList = errors.New("this userdb cannot list its users")

// Users calls each for every user of the userdbs whose name matches mask ("*"
// and "?"), each once. With an error the list is not whole. It serves doveadm -A.
func (a *Auth) Users(_ context.Context, mask string, each func(name string)) error {
	var failed error
	told := make(map[string]bool)
	for _, b := range a.userdbs {
		l, ok := b.userdb.(lister)
		if !ok {
			failed = ErrNoList
			continue
		}
		names, err := l.users(a)
		if err != nil {
			failed = err
		}
		for _, name := range names {
			if !told[name] && MatchMask(mask, name) {
				told[name] = true
				each(name)
			}
		}
	}
	return failed
}

// MatchMask tells whether a user's name matches a mask: "*" is any text, "?" any
// one octet; nothing else is special (doveadm(1)).
func MatchMask(mask, name string) bool {
	quoted := strings.NewReplacer(`\`, `\\`, "[", `\[`).Replace(mask)
	// path.Match's "*" stops at a slash, which no user's name needs as such.
	ok, err := path.Match(strings.ReplaceAll(quoted, "/", "\x01"), strings.ReplaceAll(name, "/", "\x01"))
	return err == nil && ok
}

// users lists the accounts of the machine between first_valid_uid and last_valid_uid.
func (passwd) users(a *Auth) (names []string, err error) {
	list, err := proc.Accounts()
	for _, u := range list {
		if u.UID >= a.o.FirstUID && (a.o.LastUID <= 0 || u.UID <= a.o.LastUID) {
			names = append(names, u.Name)
		}
	}
	return names, err
}

// users lists the file, where there is one for all domains.
func (p passwdFileUsers) users(*Auth) ([]string, error) {
	if strings.Contains(p.path, "%") {
		return nil, ErrNoList
	}
	c, err := p.load(p.path)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(c.users)), nil
}

// Passdb returns what the passdbs say of a user, without a password; it serves
// doveadm auth lookup. It returns ErrNoUser for one that none lists, and an
// error where a passdb cannot look up (PAM).
func (a *Auth) Passdb(ctx context.Context, name, service string) (user string, fields Fields, err error) {
	q := &Query{Service: service}
	if err := a.setUser(q, name); err != nil {
		return "", nil, ErrNoUser
	}
	for _, b := range a.passdbs {
		acc, err := b.lookup(ctx, q)
		if errors.Is(err, errUnknown) {
			continue
		}
		if err != nil || b.db.Deny {
			return "", nil, errors.Join(ErrNoUser, err)
		}
		fields := merge(b.db.Default, acc.fields, b.db.Override, q)
		// What belongs to the userdb, and the password, is not told.
		maps.DeleteFunc(fields, func(k, _ string) bool { return strings.HasPrefix(k, "userdb_") || k == "password" || k == "user" })
		return q.User, fields, nil
	}
	return "", nil, ErrNoUser
}
