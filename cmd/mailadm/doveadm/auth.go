package doveadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"packetboat/internal/auth/wire"
)

// askTimeout bounds a question: PAM may take a minute.
const askTimeout = 3 * time.Minute

// auth is doveadm auth test and auth login.
func (c *call) auth(args []string) int {
	if len(args) == 0 || (args[0] != "test" && args[0] != "login") {
		return c.usage("auth <command> [<args>]\n  login        [-a <auth socket path>] [-m <userdb socket path>] [-x <auth info>] <user> [<password>]\n" +
			"  test         [-a <auth socket path>] [-x <auth info>] <user> [<password>]")
	}
	fs := c.flags("auth " + args[0])
	sock := fs.String("a", "auth-client", "socket")
	userdb := fs.String("m", "auth-userdb", "socket")
	var info []string
	fs.Func("x", "auth info", func(s string) error { info = append(info, s); return nil })
	if fs.Parse(args[1:]) != nil || fs.NArg() < 1 || fs.NArg() > 2 {
		return c.usage("auth " + args[0] + " [-a <auth socket path>] [-x <auth info>] <user> [<password>]")
	}
	password := fs.Arg(1)
	if fs.NArg() == 1 {
		fmt.Fprint(c.err, "Password: ")
		line, err := bufio.NewReader(c.in).ReadString('\n')
		if err != nil && line == "" {
			return c.fatal(exTempFail, "no password")
		}
		password = strings.TrimRight(line, "\r\n")
	}
	r, err := request(info)
	if err != nil {
		return c.fatal(exUsage, "%v", err)
	}
	r.Initial = []byte("\x00" + fs.Arg(0) + "\x00" + password)
	return c.authTest(args[0] == "login", c.socket(*sock), c.socket(*userdb), fs.Arg(0), r)
}

// request reads -x service= rip= lip= rport= lport= session= secured.
func request(info []string) (wire.Request, error) {
	r := wire.Request{Service: "doveadm", Mech: "PLAIN", Secured: true}
	var lip, rip netip.Addr
	for _, s := range info {
		if s == "secured" {
			continue
		}
		k, v, err := cutAuthInfo(s)
		if err != nil {
			return r, err
		}
		switch k {
		case "service":
			r.Service = v
		case "session":
			r.Session = v
		case "rip":
			rip, err = netip.ParseAddr(v)
		case "lip":
			lip, err = netip.ParseAddr(v)
		}
		if err != nil {
			return r, err
		}
	}
	if rip.IsValid() {
		r.Remote = netip.AddrPortFrom(rip, 0)
	}
	if lip.IsValid() {
		r.Local = netip.AddrPortFrom(lip, 0)
	}
	return r, nil
}

// authTest asks, and prints the answer in Dovecot's form.
func (c *call) authTest(login bool, sock, userdb, user string, r wire.Request) int {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	cl, err := wire.Dial(ctx, sock)
	if err != nil {
		return c.fatal(exTempFail, "Couldn't connect to auth socket: %v", err)
	}
	defer cl.Close()
	_, a, err := cl.Start(ctx, r)
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	verdict, code := "failed", exNoPerm
	if a.State == wire.OK {
		verdict, code = "succeeded", exOK
	} else if a.Temporary {
		code = exTempFail
	}
	fmt.Fprintf(c.out, "passdb: %s auth %s\nextra fields:\n", user, verdict)
	if a.User != "" {
		fmt.Fprintf(c.out, "  user=%s\n", a.User)
	}
	for _, k := range sortedKeys(a.Fields) {
		fmt.Fprintf(c.out, "  %s\n", strings.TrimSuffix(k+"="+a.Fields[k], "="))
	}
	if code != exOK || !login {
		return code
	}
	return c.userFields(ctx, userdb, a.User)
}

// userFields prints what the userdb says, for auth login.
func (c *call) userFields(ctx context.Context, sock, user string) int {
	name, fields, order, err := wire.LookupUser(ctx, sock, user, "doveadm")
	if err != nil {
		return c.fatal(exTempFail, "userdb lookup: %v", err)
	}
	fmt.Fprintf(c.out, "userdb extra fields:\n  %s\n", name)
	for _, k := range order {
		fmt.Fprintf(c.out, "  %s=%s\n", k, fields[k])
	}
	fmt.Fprintln(c.out, "  auth_mech=PLAIN")
	return exOK
}

// user is doveadm user.
func (c *call) user(args []string) int {
	fs := c.flags("user")
	sock := fs.String("a", "auth-userdb", "socket")
	only := fs.String("f", "", "field")
	fs.String("x", "", "auth info")
	if fs.Parse(args) != nil || fs.NArg() == 0 {
		return c.usage("user [-a <userdb socket path>] [-f field] <user> [<user> [...]]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	code := exOK
	for i, name := range fs.Args() {
		if i > 0 && *only == "" {
			fmt.Fprintln(c.out)
		}
		if n := c.oneUser(ctx, c.socket(*sock), name, *only); n != exOK {
			code = n
		}
	}
	return code
}

func (c *call) oneUser(ctx context.Context, sock, user, only string) int {
	if only == "" {
		fmt.Fprint(c.out, "field\tvalue\n")
	}
	_, fields, order, err := wire.LookupUser(ctx, sock, user, "doveadm")
	switch {
	case errors.Is(err, wire.ErrNoUser):
		fmt.Fprintf(c.out, "\nuserdb lookup: user %s doesn't exist\n", user)
		return exNoUser
	case err != nil:
		fmt.Fprintf(c.err, "Error: userdb lookup failed for %s: %v\n", user, err)
		return exTempFail
	}
	if only != "" {
		v, ok := fields[only]
		if ok {
			fmt.Fprintln(c.out, v)
		}
		return exOK
	}
	for _, k := range order {
		fmt.Fprintf(c.out, "%s\t%s\n", k, fields[k])
	}
	return exOK
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
