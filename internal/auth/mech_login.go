package auth

import "context"

// login is LOGIN (draft-murchison-sasl-login): it asks for the name, then for
// the password.
type login struct {
	a       *Auth
	q       *Query
	user    string
	hasUser bool
}

func newLogin(a *Auth, q *Query) dialogue { return &login{a: a, q: q} }

func (l *login) next(ctx context.Context, response []byte) outcome {
	switch {
	case response == nil && !l.hasUser:
		return outcome{more: true, challenge: []byte("Username:")}
	case !l.hasUser:
		l.user, l.hasUser = string(response), true
		return outcome{more: true, challenge: []byte("Password:")}
	}
	return l.a.password(ctx, "login", l.q, "", l.user, string(response))
}
