package auth

import (
	"bytes"
	"context"
	"strings"
)

// plain is PLAIN (RFC 4616): authorization id NUL user NUL password.
type plain struct {
	a     *Auth
	q     *Query
	asked bool
}

func newPlain(a *Auth, q *Query) dialogue { return &plain{a: a, q: q} }

func (p *plain) next(ctx context.Context, response []byte) outcome {
	if response == nil && !p.asked {
		p.asked = true
		return outcome{more: true}
	}
	f := bytes.Split(response, []byte{0})
	// RFC 4616 section 2: two NULs exactly, user and password not empty.
	if len(f) != 3 || len(f[1]) == 0 {
		p.a.info("plain", p.q, "invalid input")
		return outcome{}
	}
	return p.a.password(ctx, "plain", p.q, string(f[0]), string(f[1]), string(f[2]))
}

// password judges user and password, for PLAIN and LOGIN. An authorization
// id other than the user's own name asks to be somebody else, and so does
// auth_master_user_separator in the name: only a master user may.
func (a *Auth) password(ctx context.Context, mech string, q *Query, authzid, user, password string) outcome {
	login, user := a.masterOf(user)
	if login == "" && authzid != user {
		login = authzid
	}
	if err := a.setUser(q, user); err != nil {
		a.info(mech, q, "%v", err)
		a.burn(ctx, password)
		return outcome{try: password}
	}
	if password == "" || strings.IndexByte(password, 0) >= 0 {
		a.info(mech, q, "Empty or invalid password")
		return outcome{}
	}
	out := outcome{try: password}
	if login != "" && len(a.masters) > 0 {
		out.result = a.master(ctx, q, login, password)
		return out
	}
	out.result = a.check(ctx, q, password)
	if out.ok && login != "" {
		a.info(mech, q, "login as another user is not allowed")
		return outcome{try: password, result: result{code: "authz_fail"}}
	}
	return out
}
