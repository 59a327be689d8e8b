package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// ErrNoUser says that the userdb does not list a user.
var ErrNoUser = errors.New("user doesn't exist")

// Userdb answers who a user is: the fields uid, gid, home, mail. It returns
// ErrNoUser for one that it does not list.
type Userdb func(ctx context.Context, user, service string) (name string, fields map[string]string, err error)

// ServeUserdb serves one client of an auth-userdb socket that asks for users
// only; see ServeMaster.
func ServeUserdb(c net.Conn, db Userdb, allow func(fields map[string]string) bool) {
	ServeMaster(c, Master{User: db, Allow: allow})
}

// userAnswer answers one USER line.
func userAnswer(args []string, db Userdb, allow func(map[string]string) bool) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	user, service := unescape(args[2]), ""
	for _, a := range args[3:] {
		if v, ok := strings.CutPrefix(a, "service="); ok {
			service = unescape(v)
		}
	}
	name, fields, err := db(ctx, user, service)
	id := escape(nil, args[1])
	switch {
	case errors.Is(err, ErrNoUser):
		return fmt.Appendf(nil, "NOTFOUND\t%s\n", id)
	case err != nil:
		return fmt.Appendf(nil, "FAIL\t%s\n", id)
	case !allow(fields):
		return fmt.Appendf(nil, "FAIL\t%s\treason=permission denied\n", id)
	}
	b := escape(fmt.Appendf(nil, "USER\t%s\t", id), name)
	for _, k := range fieldOrder(fields) {
		b = field(b, k, fields[k])
	}
	return append(b, '\n')
}

// fieldOrder puts the fields that everybody reads first.
func fieldOrder(fields map[string]string) []string {
	first := []string{"uid", "gid", "home", "mail"}
	var keys, rest []string
	for _, k := range first {
		if fields[k] != "" {
			keys = append(keys, k)
		}
	}
	for k := range fields {
		if !slices.Contains(first, k) {
			rest = append(rest, k)
		}
	}
	slices.Sort(rest)
	return append(keys, rest...)
}

// LookupUser asks the auth-userdb socket at path, ours or Dovecot's, who user is. order
// are the names of the fields as they came.
func LookupUser(ctx context.Context, path, user, service string) (name string, fields map[string]string, order []string, err error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return "", nil, nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerTimeout))
	b := escape([]byte("VERSION\t1\t1\nUSER\t1\t"), user)
	b = append(field(b, "service", service), '\n')
	if _, err := c.Write(b); err != nil {
		return "", nil, nil, err
	}
	in := bufio.NewReaderSize(c, MaxLine)
	for {
		line, err := readLine(in)
		if err != nil {
			return "", nil, nil, err
		}
		args := strings.Split(line, "\t")
		switch args[0] {
		case "USER":
			return userFields(args)
		case "NOTFOUND":
			return "", nil, nil, ErrNoUser
		case "FAIL":
			return "", nil, nil, errors.New("userdb lookup failed")
		}
	}
}

func userFields(args []string) (name string, fields map[string]string, order []string, err error) {
	if len(args) < 3 {
		return "", nil, nil, errLine
	}
	fields = make(map[string]string)
	for _, a := range args[3:] {
		k, v, _ := strings.Cut(a, "=")
		fields[unescape(k)] = unescape(v)
		order = append(order, unescape(k))
	}
	return unescape(args[2]), fields, order, nil
}
