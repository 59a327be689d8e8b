package auth

import (
	"context"
	"encoding/json"
	"strings"

	"packetboat/internal/auth/oauth2"
)

// oauth is OAUTHBEARER (RFC 7628) and Google's XOAUTH2: the client shows a token
// that it has from an authorization server, and a passdb oauth2 asks the server.
type oauth struct {
	a      *Auth
	q      *Query
	google bool // XOAUTH2
	failed *outcome
	asked  bool
}

func newOAuthBearer(a *Auth, q *Query) dialogue { return &oauth{a: a, q: q} }
func newXOAuth2(a *Auth, q *Query) dialogue     { return &oauth{a: a, q: q, google: true} }

func (o *oauth) next(ctx context.Context, response []byte) outcome {
	switch {
	case o.failed != nil: // RFC 7628 section 3.2.3: the client has only to acknowledge
		return *o.failed
	case response == nil && !o.asked:
		o.asked = true
		return outcome{more: true}
	}
	user, token := oauth2.Bearer(string(response), o.google)
	if user == "" || token == "" {
		o.a.info(strings.ToLower(o.name()), o.q, "invalid input")
		return outcome{}
	}
	if err := o.a.setUser(o.q, user); err != nil {
		o.a.info(strings.ToLower(o.name()), o.q, "%v", err)
		return outcome{try: token}
	}
	out := outcome{try: token, result: o.a.check(ctx, o.q, token)}
	if out.ok || out.temp {
		return out
	}
	o.failed = &out
	return outcome{more: true, challenge: o.refusal()}
}

func (o *oauth) name() string {
	if o.google {
		return "XOAUTH2"
	}
	return "OAUTHBEARER"
}

// refusal tells the client why, and where it gets another token.
func (o *oauth) refusal() []byte {
	text := `{"status":"invalid_token"`
	scope, openid := "", ""
	for _, b := range o.a.passdbs {
		if db, ok := b.passdb.(*oauthDB); ok {
			scope, openid = db.db.Scope, db.db.OpenID
		}
	}
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	if o.google {
		text = `{"status":"401","schemes":"bearer"`
		if scope == "" {
			scope = "mail"
		}
		text += `,"scope":` + quote(scope)
	}
	if openid != "" {
		text += `,"openid-configuration":` + quote(openid)
	}
	return []byte(text + "}")
}
