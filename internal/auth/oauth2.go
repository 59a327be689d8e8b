package auth

import (
	"context"
	"errors"
	"regexp"

	"packetboat/internal/auth/oauth2"
)

// oauthDB is the passdb oauth2: an authorization server judges tokens, which
// OAUTHBEARER and XOAUTH2 bring, or a password that is one or is traded for one.
type oauthDB struct{ db *oauth2.DB }

func newOAuth(path string) (*oauthDB, error) {
	if path == "" {
		return nil, errNoFile
	}
	db, err := oauth2.Open(path)
	if err == nil {
		err = CheckPattern(db.UserFormat)
	}
	if err == nil {
		err = CheckPattern(attribute.ReplaceAllString(db.PassAttrs, ""))
	}
	if err != nil {
		return nil, err
	}
	return &oauthDB{db}, nil
}

func (o *oauthDB) name() string { return "oauth2" }

// attribute is a member of the server's answer in pass_attrs.
var attribute = regexp.MustCompile(`%\{oauth2:([^}]*)\}`)

// verify implements judge.
func (o *oauthDB) verify(ctx context.Context, q *Query, token string) (Fields, error) {
	var err error
	if o.db.ByPassword() && q.Mech != "OAUTHBEARER" && q.Mech != "XOAUTH2" {
		token, err = o.db.Grant(ctx, q.User, token)
	}
	var got map[string]string
	if err == nil {
		got, err = o.db.Validate(ctx, token, Expand(o.db.UserFormat, q))
	}
	var bad *oauth2.ErrInvalid
	switch {
	case errors.As(err, &bad) && bad.Disabled:
		return nil, &refusal{"oauth2 failed: Token validation failed: " + bad.Text, "user_disabled"}
	case errors.As(err, &bad):
		return nil, said("oauth2 failed: " + bad.Text)
	case err != nil:
		return nil, errors.New("oauth2 failed: Token validation failed: " + err.Error())
	}
	f := Fields{}
	for name, value := range parseFields(o.db.PassAttrs) {
		// What the server says goes in last, so that nothing in it is a variable.
		f[name] = ""
		at := 0
		for _, m := range attribute.FindAllStringSubmatchIndex(value, -1) {
			f[name] += Expand(value[at:m[0]], q) + got[value[m[2]:m[3]]]
			at = m[1]
		}
		f[name] += Expand(value[at:], q)
	}
	return f, nil
}

// lookup: the server lists nobody.
func (o *oauthDB) lookup(context.Context, *Query) (*account, error) { return nil, errNoLookup }
