package doveadm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"packetboat/cmd/mailadm/doveadm/mails"
	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/auth"
	"packetboat/internal/auth/wire"
)

// userCall is one run of doveadm user.
type userCall struct {
	*call
	a    *mails.Args
	sock string
	out  show.Formatter
	tail string // what Dovecot's second output buffer holds to the end
}

// user is doveadm user.
func (c *call) user(words []string) int {
	a, ok := c.args("user", "a:x:f:e:u", takes["user"], words, 1, -1)
	if !ok {
		return exUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	u := &userCall{call: c, a: a, sock: c.socket(a.Last("a", "auth-userdb"))}
	if slices.ContainsFunc(a.Rest, func(s string) bool { return strings.ContainsAny(s, "*?") }) {
		return u.listMasks(ctx)
	}
	if !a.Has("f") && !a.Has("e") && !a.Has("u") {
		u.out = c.formatter("tab")
		u.out.Columns([]show.Column{{Key: "field"}, {Key: "value"}})
	}
	code := exOK
	for i, name := range a.Rest {
		if i > 0 {
			u.text("\n")
		}
		if n := u.one(ctx, name); n != exOK {
			code = n
		}
	}
	if u.out != nil {
		u.out.Flush()
	}
	fmt.Fprint(c.out, u.tail)
	return code
}

// text prints what does not go through the formatter: at once, or, as Dovecot,
// behind all that goes through it.
func (u *userCall) text(s string) {
	if u.out != nil {
		u.tail += s
		return
	}
	fmt.Fprint(u.call.out, s)
}

// listMasks prints the users that match.
func (u *userCall) listMasks(ctx context.Context) int {
	for _, mask := range u.a.Rest {
		users, err := wire.ListUsers(ctx, u.sock, mask, "doveadm")
		for _, name := range users {
			fmt.Fprintln(u.call.out, name)
		}
		if err != nil {
			return u.failure(exTempFail, "auth-master: userdb list: %s", socketError(u.sock, err))
		}
	}
	return exOK
}

// one prints what the userdb says of a user.
func (u *userCall) one(ctx context.Context, name string) int {
	_, fields, order, err := wire.LookupUser(ctx, u.sock, name, "doveadm")
	if errors.Is(err, wire.ErrNoUser) {
		text := fmt.Sprintf("userdb lookup: user %s doesn't exist\n", name)
		if !u.a.Has("u") {
			text = "\n" + text
		}
		if u.a.Has("f") {
			fmt.Fprint(u.err, text)
		} else {
			u.text(text)
		}
		return exNoUser
	}
	if err != nil {
		return u.failure(exTempFail, "auth-master: userdb lookup(%s): %s", name, socketError(u.sock, err))
	}
	order = u.mailField(name, fields, order, !u.a.Has("u"))
	switch {
	case u.a.Has("e"):
		q := &auth.Query{User: name, Home: fields["home"], UID: fields["uid"], GID: fields["gid"], Service: "doveadm"}
		u.text(auth.Expand(u.a.Last("e", ""), q) + "\n")
	case u.a.Has("f"):
		if v, ok := fields[u.a.Last("f", "")]; ok {
			u.text(v + "\n")
		}
	case u.a.Has("u"):
		u.text("userdb: " + name + "\n" + aligned(append([]string{"user"}, order...), fields, name))
	default:
		for _, k := range order {
			u.out.Value(k)
			u.out.Value(fields[k])
		}
	}
	return exOK
}

// mailField shows where the mail is as mail_location says it, or with show unset
// not at all, unless the userdb has a place of its own. It returns the order of the
// fields.
func (c *call) mailField(name string, fields map[string]string, order []string, show bool) []string {
	q := &auth.Query{User: name, Home: fields["home"], UID: fields["uid"], GID: fields["gid"], Service: "doveadm"}
	text, err := auth.ExpandPath(c.conf.Get("mail_location"), q)
	if err != nil || text == "" {
		return order
	}
	acc, code := c.place(&account{name: name, home: fields["home"]}, text)
	if code != exOK || fields["mail"] != "" && fields["mail"] != acc.mail {
		return order
	}
	order = slices.DeleteFunc(order, func(k string) bool { return k == "mail" })
	delete(fields, "mail")
	if !show {
		return order
	}
	fields["mail"] = text
	at := slices.Index(order, "home") + 1
	return slices.Insert(order, max(at, min(3, len(order))), "mail")
}

// aligned writes fields a line each, as doveadm user -u and auth lookup do.
func aligned(order []string, fields map[string]string, user string) string {
	var b strings.Builder
	for _, k := range order {
		v := fields[k]
		if k == "user" && v == "" {
			v = user
		}
		if v == "" {
			fmt.Fprintf(&b, "  %-10s\n", k)
			continue
		}
		fmt.Fprintf(&b, "  %-10s: %s\n", k, v)
	}
	return b.String()
}

// authLookup is doveadm auth lookup: what the passdbs say.
func (c *call) authLookup(words []string) int {
	a, ok := c.args("auth lookup", "a:x:f:", takes["auth lookup"], words, 1, -1)
	if !ok {
		return exUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	service := "doveadm"
	for _, x := range a.Opt["x"] {
		if s, ok := strings.CutPrefix(x, "service="); ok {
			service = s
		}
	}
	sock := c.socket(a.Last("a", "auth-userdb"))
	code := exOK
	for i, name := range a.Rest {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		fields, order, err := wire.LookupPass(ctx, sock, name, service)
		switch {
		case errors.Is(err, wire.ErrNoUser):
			fmt.Fprintf(c.out, "passdb lookup: user %s doesn't exist\n", name)
			code = exNoUser
		case err != nil:
			code = c.failure(exTempFail, "passdb lookup failed for %s: %v", name, err)
		case a.Has("f"):
			if v, ok := fields[a.Last("f", "")]; ok {
				fmt.Fprintln(c.out, v)
			}
		default:
			fmt.Fprint(c.out, "passdb: "+name+"\n"+aligned(order, fields, name))
		}
	}
	return code
}

// authFlush is doveadm auth cache flush.
func (c *call) authFlush(words []string) int {
	a, ok := c.args("auth cache flush", "a:", takes["auth cache flush"], words, 0, -1)
	if !ok {
		return exUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	n, err := wire.FlushCache(ctx, c.socket(a.Last("a", "auth-userdb")), a.Rest)
	if err != nil {
		return c.failure(exTempFail, "Cache flush failed: %v", err)
	}
	fmt.Fprintf(c.out, "%s cache entries flushed\n", n)
	return exOK
}
