package doveadm

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"

	schemes "packetboat/internal/auth/scheme"
)

// pw is doveadm pw: it makes and checks stored passwords.
func (c *call) pw(args []string) int {
	a, ok := c.args("pw", "lp:r:s:t:u:V", takes["pw"], args, 0, 0)
	if !ok {
		return exUsage
	}
	rounds, err := strconv.Atoi(a.Last("r", "0"))
	if err != nil || rounds < 0 {
		return c.fatal(exTempFail, "Invalid number of rounds: %s", a.Last("r", ""))
	}
	plain, scheme, test, user := a.Last("p", ""), a.Last("s", "CRYPT"), a.Last("t", ""), a.Last("u", "")
	list, verify := a.Has("l"), a.Has("V")
	if list {
		fmt.Fprintln(c.out, strings.Join(schemes.Names(), " "))
		return exOK
	}
	if test == "" && !slices.Contains(schemes.Names(), strings.ToUpper(strings.SplitN(scheme, ".", 2)[0])) {
		return c.fatal(exTempFail, "Unknown scheme: %s", strings.ToUpper(scheme))
	}
	password := plain
	if password == "" {
		if password, ok = c.askPassword(test == ""); !ok {
			return c.fatal(exTempFail, "Passwords don't match!")
		}
	}
	if test != "" {
		return c.pwTest(user, test, password)
	}
	hash, err := schemes.Make(scheme, user, password, rounds)
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	if verify {
		return c.pwTest(user, hash, password)
	}
	fmt.Fprintln(c.out, hash)
	return exOK
}

func (c *call) pwTest(user, hash, password string) int {
	ok, err := schemes.Parse(hash, "CRYPT").Match(user, password)
	switch {
	case err != nil:
		return c.fatal(exTempFail, "reverse decode check failed: %v", err)
	case !ok:
		return c.fatal(exTempFail, "reverse password verification check failed: Password mismatch")
	}
	fmt.Fprintln(c.out, hash+" (verified)")
	return exOK
}

// askPassword reads a password from standard input, twice when a new one is made.
func (c *call) askPassword(twice bool) (string, bool) {
	in := bufio.NewScanner(c.in)
	fmt.Fprint(c.err, "Enter new password: ")
	if !in.Scan() {
		return "", false
	}
	password := in.Text()
	if !twice {
		return password, true
	}
	fmt.Fprint(c.err, "\nRetype new password: ")
	return password, in.Scan() && in.Text() == password
}
