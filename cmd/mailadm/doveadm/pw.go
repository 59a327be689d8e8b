package doveadm

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"packetboat/internal/auth"
)

// pw is doveadm pw: it makes and checks stored passwords.
func (c *call) pw(args []string) int {
	fs := c.flags("pw")
	list := fs.Bool("l", false, "list schemes")
	plain := fs.String("p", "", "password")
	rounds := fs.Int("r", 0, "rounds")
	scheme := fs.String("s", "CRYPT", "scheme")
	test := fs.String("t", "", "stored password to check")
	user := fs.String("u", "", "user")
	verify := fs.Bool("V", false, "check what was made")
	if fs.Parse(args) != nil || fs.NArg() > 0 {
		return c.usage("pw [-l] [-p plaintext] [-r rounds] [-s scheme] [-t hash] [-u user] [-V]")
	}
	if *list {
		fmt.Fprintln(c.out, strings.Join(auth.Schemes(), " "))
		return exOK
	}
	if *test == "" && !slices.Contains(auth.Schemes(), strings.ToUpper(strings.SplitN(*scheme, ".", 2)[0])) {
		return c.fatal(exTempFail, "Unknown scheme: %s", *scheme)
	}
	password, ok := *plain, true
	if password == "" {
		if password, ok = c.askPassword(*test == ""); !ok {
			return c.fatal(exTempFail, "Passwords don't match!")
		}
	}
	if *test != "" {
		return c.pwTest(*user, *test, password)
	}
	hash, err := auth.MakePassword(*scheme, *user, password, *rounds)
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	if *verify {
		return c.pwTest(*user, hash, password)
	}
	fmt.Fprintln(c.out, hash)
	return exOK
}

func (c *call) pwTest(user, hash, password string) int {
	ok, err := auth.ParseStored(hash, "CRYPT").Match(user, password)
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
