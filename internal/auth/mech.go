package auth

import (
	"context"
	"errors"
	"time"

	"packetboat/internal/auth/wire"
)

// mechanism is one SASL mechanism; each has a file of its own.
type mechanism struct {
	mech  wire.Mech
	begin func(*Auth, *Query) dialogue
}

// dialogue is one run of a mechanism. next takes the client's response (nil =
// none was sent) and returns a challenge, or the end.
type dialogue interface {
	next(ctx context.Context, response []byte) outcome
}

// outcome is the end of a dialogue or its next challenge.
type outcome struct {
	challenge []byte // with more set
	more      bool
	result
	try string // the password tried, for the penalty; never logged
}

func mechanismNamed(name string) (mechanism, bool) {
	for _, m := range []mechanism{
		{wire.Mech{Name: "PLAIN", Prop: wire.Plaintext}, newPlain},
		{wire.Mech{Name: "LOGIN", Prop: wire.Plaintext}, newLogin},
		{wire.Mech{Name: "CRAM-MD5", Prop: wire.Dictionary | wire.Active}, newCRAM},
		{wire.Mech{Name: "SCRAM-SHA-1", Prop: wire.MutualAuth}, newSCRAMSHA1},
		{wire.Mech{Name: "SCRAM-SHA-256", Prop: wire.MutualAuth}, newSCRAMSHA256},
		{wire.Mech{Name: "OAUTHBEARER", Prop: wire.Plaintext}, newOAuthBearer},
		{wire.Mech{Name: "XOAUTH2", Prop: wire.Plaintext}, newXOAuth2},
	} {
		if m.mech.Name == name {
			return m, true
		}
	}
	return mechanism{}, false
}

// conversation makes a dialogue a wire.Conversation: it adds the penalty
// before and the delay of a failure behind.
type conversation struct {
	a *Auth
	q *Query
	dialogue
	begun bool
}

// Step implements wire.Conversation.
func (c *conversation) Step(ctx context.Context, response []byte) wire.Answer {
	start := time.Now()
	if !c.begun {
		c.begun = true
		if !c.a.o.NoPenalty {
			wait := c.a.penalty.wait(c.q.Remote)
			c.a.sleep(ctx, wait)
			start = start.Add(wait)
		}
	}
	o := c.next(ctx, response)
	if o.more {
		return wire.Answer{State: wire.Continue, Challenge: o.challenge}
	}
	if o.ok {
		return c.success(o)
	}
	return c.failure(ctx, o, start)
}

func (c *conversation) success(o outcome) wire.Answer {
	c.a.penalty.succeeded(c.q.Remote)
	ans := wire.Answer{State: wire.OK, User: c.q.User, Hidden: o.fields}
	if c.q.Orig != c.q.User {
		ans.Fields = map[string]string{"original_user": c.q.Orig}
	}
	return ans
}

// failure answers at a fixed time after the request, so that nobody can tell
// by the clock what was wrong.
func (c *conversation) failure(ctx context.Context, o outcome, start time.Time) wire.Answer {
	ans := wire.Answer{User: c.q.User, Temporary: o.temp, Code: o.code, Reason: o.reason}
	if o.temp {
		ans.Code = wire.CodeTempFail
		return ans
	}
	c.a.penalty.failed(c.q.Remote, c.q.User, o.try)
	if _, ok := o.fields["nodelay"]; !ok {
		c.a.sleep(ctx, c.a.o.Delay-time.Since(start))
	}
	return ans
}

// lookup returns the account of a user for mechanisms that need the password
// itself; the first passdb that lists the user answers, unless its Rules leave
// that to the next one.
func (a *Auth) lookup(ctx context.Context, q *Query) (*account, *block, result) {
	var out result
	var c chain
	var acc *account
	var last *block
	for _, b := range a.passdbs {
		if c.done || !b.db.wanted(q, c.good) {
			continue
		}
		got, err := b.lookup(ctx, q)
		switch {
		case b.db.Deny && errors.Is(err, errUnknown):
		case b.db.Deny:
			a.info(b.name(), q, "User is denied")
			return nil, b, result{}
		case err == nil:
			acc, last = got, b
			c.follow(b.db.success(), "return-ok")
		case a.tell(b, q, err, &out, ""):
			c.follow(b.db.Internal, "continue")
		default:
			c.follow(b.db.Failure, "continue")
		}
	}
	if c.good {
		return acc, last, result{}
	}
	return nil, nil, out
}
