package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"packetboat/internal/auth/scheme"
)

// Fields are the extra fields that a database gives with an account.
type Fields map[string]string

// account is what a passdb knows of a user: the stored password, or nothing
// where the database judges by itself.
type account struct {
	stored scheme.Stored
	any    bool // nopassword: every password is right
	fields Fields
}

// passdb is one password database. It returns errUnknown for a user whom it
// does not list; every other error means that it could not be asked.
type passdb interface {
	name() string
	lookup(ctx context.Context, q *Query) (*account, error)
}

// judge is a passdb that never shows a password but says yes or no (PAM).
type judge interface {
	verify(ctx context.Context, q *Query, password string) (Fields, error)
}

// Verdicts of a passdb. A *refusal is a mismatch with a text of the database's.
var (
	errUnknown  = errors.New("unknown user")
	errMismatch = error(said("Password mismatch"))
)

// said is an error in Dovecot's words, for the log.
type said string

func (s said) Error() string { return string(s) }

// refusal is a wrong password with the text that the log tells of it.
type refusal struct{ text, code string }

func (r *refusal) Error() string { return r.text }

// block is a passdb with what its block says beside the driver.
type block struct {
	passdb
	db DB
}

func (a *Auth) newPassdb(d DB) (*block, error) {
	var p passdb
	var err error
	switch d.Driver {
	case "passwd-file":
		p, err = newPasswdFile(d.Args)
	case "static":
		p = &static{parseFields(d.Args)}
	case "pam":
		p, err = newPAMDB(d.Args, a.o.PAM)
	case "shadow":
		p, err = newShadow()
	case "sql":
		p, err = a.newSQL(d.Args)
	case "ldap":
		p, err = a.passdbLDAP(d.Args)
	case "oauth2":
		p, err = newOAuth(d.Args)
	default:
		err = fmt.Errorf("unknown passdb driver")
	}
	if err == nil {
		err = d.check("authenticated", "unauthenticated")
	}
	if err != nil {
		return nil, err
	}
	return &block{p, d}, nil
}

// result is a judged request.
type result struct {
	fields Fields
	ok     bool
	passed bool // a passdb said yes, but left it to the next ones
	temp   bool
	code   string
	reason string
}

// check asks the passdbs in their order whether password is the user's. When
// none says yes and one could not be asked, nobody knows, and the failure is
// temporary.
func (a *Auth) check(ctx context.Context, q *Query, password string) result {
	r, _ := a.run(ctx, a.passdbs, q, password, false)
	return r
}

// run asks the blocks of list as their Rules say. known means that the user has
// proved who it is already: it must only be listed. last is the block that said
// yes last.
func (a *Auth) run(ctx context.Context, list []*block, q *Query, password string, known bool) (out result, last *block) {
	var c chain
	var fields Fields
	hashed, asked := known, false
	for _, b := range list {
		if c.done || !b.db.wanted(q, c.good) {
			continue
		}
		asked = true
		got, err := a.askOne(ctx, b, q, password, known, &hashed)
		switch {
		case b.db.Deny && errors.Is(err, errUnknown):
		case b.db.Deny:
			a.info(b.name(), q, "User is denied")
			return result{}, nil
		case err == nil:
			r := a.admit(b, q, over(fields, got))
			if !r.ok {
				return r, nil
			}
			fields, last, out.passed = r.fields, b, true
			c.follow(b.db.success(), "return-ok")
		case a.tell(b, q, err, &out, a.given(password)):
			c.follow(b.db.Internal, "continue")
		default:
			c.follow(b.db.Failure, "continue")
		}
	}
	if !hashed {
		a.burn(ctx, password)
	}
	switch {
	case c.good:
		return result{ok: true, fields: fields}, last
	case !asked && len(list) > 0:
		a.error("auth", q, "All password databases were skipped")
		out.temp = true
	}
	return out, last
}

// over puts the fields of a later passdb over those of a former one that left the
// decision to it.
func over(old, new Fields) Fields {
	if len(old) == 0 {
		return new
	}
	f := maps.Clone(old)
	maps.Copy(f, new)
	return f
}

// askOne asks one passdb for a password, or whether it lists the user.
func (a *Auth) askOne(ctx context.Context, b *block, q *Query, password string, known bool, hashed *bool) (Fields, error) {
	if !known {
		return a.ask(ctx, b, q, password, hashed)
	}
	acc, err := b.lookup(ctx, q)
	if errors.Is(err, errNoLookup) {
		return nil, errUnknown
	}
	if err != nil {
		return nil, err
	}
	return acc.fields, nil
}

// tell logs why a passdb did not say yes, and what was given of the password; broken means that it could not be asked.
func (a *Auth) tell(b *block, q *Query, err error, out *result, given string) (broken bool) {
	var r *refusal
	switch {
	case errors.Is(err, errUnknown), errors.As(err, new(said)):
		a.info(b.name(), q, "%v%s", err, given)
	case errors.As(err, &r):
		a.info(b.name(), q, "%v%s", err, given)
		out.code = r.code
	case errors.Is(err, context.Canceled):
		out.temp, broken = true, true // the client has gone; that is no failure of ours
	default:
		a.error(b.name(), q, "%v", err)
		out.temp, broken = true, true
	}
	return broken
}

// ask asks one passdb. hashed is set when a slow compare was made.
func (a *Auth) ask(ctx context.Context, b *block, q *Query, password string, hashed *bool) (Fields, error) {
	if j, ok := b.passdb.(judge); ok {
		*hashed = true
		return j.verify(ctx, q, password)
	}
	q.password = password
	acc, err := b.lookup(ctx, q)
	q.password = ""
	if err != nil {
		return nil, err
	}
	if acc.any || b.db.Deny {
		return acc.fields, nil
	}
	*hashed = true
	ok, err := a.match(ctx, acc.stored, q.User, password)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errMismatch
	}
	return acc.fields, nil
}

// match compares, as many at once as there are processors: an ARGON2ID compare
// holds 64 MiB, and a thousand strangers may ask together.
func (a *Auth) match(ctx context.Context, s scheme.Stored, user, password string) (bool, error) {
	if err := a.enter(ctx); err != nil {
		return false, err
	}
	defer func() { <-a.hashing }()
	return s.Match(user, password)
}

// enter waits for a place among those that compute hashes.
func (a *Auth) enter(ctx context.Context) error {
	select {
	case a.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// burn spends the time of a hash, so that an unknown user answers no faster
// than a wrong password (security.md 27); the fixed delay of a failure then
// hides what is left.
func (a *Auth) burn(ctx context.Context, password string) {
	if a.enter(ctx) != nil {
		return // the client has gone: nobody measures
	}
	defer func() { <-a.hashing }()
	scheme.Burn(password)
}

// admit applies the extra fields of a success (PasswordDatabase/ExtraFields).
func (a *Auth) admit(b *block, q *Query, fields Fields) result {
	fields = merge(b.db.Default, fields, b.db.Override, q)
	if nets, ok := fields["allow_nets"]; ok && !allowed(nets, q.Remote) {
		a.info(b.name(), q, "allow_nets check failed: IP not in allowed networks")
		return result{}
	}
	if _, ok := fields["nologin"]; ok {
		return result{fields: fields, reason: fields["reason"]}
	}
	if proxy(fields) {
		a.error(b.name(), q, "proxy is not supported")
		return result{temp: true}
	}
	if name := fields["user"]; name != "" {
		q.User = name
	}
	return result{fields: fields, ok: true}
}

func proxy(f Fields) bool {
	_, always := f["proxy"]
	_, maybe := f["proxy_maybe"]
	return always || maybe
}

// merge puts a block's default_fields under and its override_fields over what
// the database said; their %variables are expanded, the database's own too.
func merge(def string, fields Fields, over string, q *Query) Fields {
	out := make(Fields)
	for k, v := range parseFields(def) {
		out[k] = Expand(v, q)
	}
	for k, v := range fields {
		out[k] = v
	}
	for k, v := range parseFields(over) {
		out[k] = Expand(v, q)
	}
	return out
}

// parseFields reads "key=value key=value".
func parseFields(s string) Fields {
	f := make(Fields)
	for _, word := range strings.Fields(s) {
		k, v, _ := strings.Cut(word, "=")
		f[k] = v
	}
	return f
}

// allowed tells whether ip is in one of the networks of allow_nets; "local"
// stands for a client without an address.
func allowed(nets, ip string) bool {
	addr, err := netip.ParseAddr(ip)
	for net := range strings.SplitSeq(nets, ",") {
		if net == "local" && ip == "" {
			return true
		}
		if err == nil && inside(net, addr.Unmap()) {
			return true
		}
	}
	return false
}

func inside(net string, addr netip.Addr) bool {
	if p, err := netip.ParsePrefix(net); err == nil {
		return p.Contains(addr)
	}
	one, err := netip.ParseAddr(net)
	return err == nil && one.Unmap() == addr
}

// static is the passdb and userdb of that name: the same fields for everybody.
type static struct{ args Fields }

func (s *static) name() string { return "static" }

func (s *static) lookup(_ context.Context, q *Query) (*account, error) {
	acc := &account{fields: make(Fields)}
	for k, v := range s.args {
		switch k {
		case "password":
			acc.stored = scheme.Parse(Expand(v, q), "PLAIN")
		case "nopassword":
			acc.any = true
		default:
			acc.fields[k] = Expand(v, q)
		}
	}
	if !acc.any && acc.stored.Scheme == "" {
		return nil, errors.New("no password and no nopassword in the passdb's args")
	}
	return acc, nil
}
