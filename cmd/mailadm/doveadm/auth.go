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

func (c *call) authTest(args []string) int { return c.tryAuth("auth test", "a:x:M:A:", args) }

func (c *call) authLogin(args []string) int {
	return c.tryAuth("auth login", "a:m:x:M:A:", args)
}

// tryAuth is doveadm auth test and auth login.
func (c *call) tryAuth(name, spec string, words []string) int {
	a, ok := c.args(name, spec, takes[name], words, 1, 2)
	if !ok {
		return exUsage
	}
	r, err := request(a.Opt["x"])
	if err != nil {
		return c.fatal(exUsage, "%v", err)
	}
	if mech := a.Last("A", "PLAIN"); !strings.EqualFold(mech, "PLAIN") {
		return c.notBuilt("doveadm auth -A "+mech, "PLAIN tests the password, whatever mechanism clients use")
	}
	password := ""
	if len(a.Rest) == 2 {
		password = a.Rest[1]
	} else {
		fmt.Fprint(c.err, "Password: ")
		line, err := bufio.NewReader(c.in).ReadString('\n')
		if err != nil && line == "" {
			return c.fatal(exTempFail, "no password")
		}
		password = strings.TrimRight(line, "\r\n")
	}
	user, master := a.Rest[0], a.Last("M", "")
	if master != "" {
		r.Initial = []byte(user + "\x00" + master + "\x00" + password)
	} else {
		r.Initial = []byte("\x00" + user + "\x00" + password)
	}
	return c.ask(name == "auth login", c.socket(a.Last("a", "auth-client")), c.socket(a.Last("m", "auth-userdb")), user, r)
}

// request reads -x service= rip= lip= rport= lport= session= secured.
func request(info []string) (wire.Request, error) {
	r := wire.Request{Service: "doveadm", Mech: "PLAIN", Secured: true}
	var lip, rip netip.Addr
	for _, s := range info {
		if s == "secured" {
			continue
		}
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return r, errors.New("-x wants name=value")
		}
		var err error
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

// ask asks, and prints the answer in Dovecot's form.
func (c *call) ask(login bool, sock, userdb, user string, r wire.Request) int {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	cl, err := wire.Dial(ctx, sock)
	if err != nil {
		return c.failure(exNoPerm, "auth-client: conn unix:%s: %s", sock, socketError(sock, err))
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
	order = c.mailField(name, fields, order, false)
	fmt.Fprintf(c.out, "userdb extra fields:\n  %s\n", name)
	for _, k := range order {
		fmt.Fprintf(c.out, "  %s=%s\n", k, fields[k])
	}
	fmt.Fprintln(c.out, "  auth_mech=PLAIN")
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
