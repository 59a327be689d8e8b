package auth

import (
	"context"
	"strings"

	"packetboat/internal/auth/wire"
)

// master lets a master user in as somebody else (Dovecot's
// Authentication/MasterUsers): q is the master user, whose password one of the
// passdbs with master = yes must know, login the one whose mail is wanted. With
// pass = yes the other passdbs must list that one.
func (a *Auth) master(ctx context.Context, q *Query, login, password string) result {
	other := *q
	if err := a.setUser(&other, login); err != nil {
		a.info("auth", q, "login user: %v", err)
		a.burn(ctx, password)
		return result{}
	}
	q.Login = other.User
	r, b := a.run(ctx, a.masters, q, password, false)
	if !r.ok && !r.passed {
		return r
	}
	a.info(b.name(), q, "Master user logging in as %s", printable(other.User))
	q.User = other.User
	if r.ok {
		return r
	}
	if r, _ = a.run(ctx, a.passdbs, q, "", true); !r.ok && !r.temp {
		r.code = wire.CodeAuthzFail
	}
	return r
}

// masterOf divides "user*master" at auth_master_user_separator.
func (a *Auth) masterOf(name string) (login, master string) {
	if a.o.Separator != "" {
		if login, master, ok := strings.Cut(name, a.o.Separator[:1]); ok && login != "" {
			return login, master
		}
	}
	return "", name
}
