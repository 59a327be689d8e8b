package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Master answers the "Server <-> Master" half of the protocol. Questions whose
// function is nil end the conversation: they are for root's own tools.
type Master struct {
	User Userdb
	// Allow is asked before the fields of a user are told: the socket is open to
	// every user of the machine, and each may learn of himself.
	Allow func(fields map[string]string) bool
	// Pass answers what the passdbs say of a user without asking for a password.
	Pass Userdb
	// List calls each for every user whose name matches mask.
	List func(ctx context.Context, mask string, each func(name string)) error
	// Flush forgets what is cached of users (none = of all), and returns how many
	// entries there were.
	Flush func(users []string) int
}

// ServeMaster serves one client of an auth-userdb socket and closes its connection.
func ServeMaster(c net.Conn, m Master) {
	defer c.Close()
	fmt.Fprintf(c, "VERSION\t1\t1\nSPID\t%d\n", os.Getpid())
	in := bufio.NewReaderSize(c, MaxLine)
	for {
		c.SetDeadline(time.Now().Add(answerTimeout))
		line, err := readLine(in)
		if err != nil {
			return
		}
		args := strings.Split(line, "\t")
		if args[0] == "VERSION" || args[0] == "CPID" {
			continue
		}
		if len(args) < 2 || !m.answer(c, args) {
			return
		}
	}
}

// answer answers one line; false ends the conversation.
func (m *Master) answer(c net.Conn, args []string) bool {
	var err error
	switch {
	case args[0] == "USER" && len(args) > 2 && m.User != nil:
		_, err = c.Write(userAnswer(args, m.User, m.Allow))
	case args[0] == "PASS" && len(args) > 2 && m.Pass != nil:
		_, err = c.Write(passAnswer(args, m.Pass))
	case args[0] == "LIST" && m.List != nil:
		err = m.list(c, args)
	case args[0] == "CACHE-FLUSH" && m.Flush != nil:
		_, err = c.Write(fmt.Appendf(nil, "OK\t%s\t%d\n", escape(nil, args[1]), m.Flush(args[2:])))
	default:
		return false
	}
	return err == nil
}

// passAnswer answers one PASS line.
func passAnswer(args []string, db Userdb) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	name, fields, err := db(ctx, unescape(args[2]), argument(args[3:], "service"))
	id := escape(nil, args[1])
	switch {
	case errors.Is(err, ErrNoUser):
		return fmt.Appendf(nil, "NOTFOUND\t%s\n", id)
	case err != nil:
		return fmt.Appendf(nil, "FAIL\t%s\n", id)
	}
	b := field(fmt.Appendf(nil, "PASS\t%s", id), "user", name)
	for _, k := range fieldOrder(fields) {
		b = field(b, k, fields[k])
	}
	return append(b, '\n')
}

// argument returns the value of "name=value" among args.
func argument(args []string, name string) string {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return unescape(v)
		}
	}
	return ""
}

// list answers one LIST line, a line a user, written as they come.
func (m *Master) list(c net.Conn, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	mask := argument(args[2:], "user")
	if mask == "" {
		mask = "*"
	}
	id := escape(nil, args[1])
	w := bufio.NewWriter(c)
	err := m.List(ctx, mask, func(name string) {
		w.Write(append(escape(fmt.Appendf(nil, "LIST\t%s\t", id), name), '\n'))
	})
	end := ""
	if err != nil {
		end = "fail"
	}
	fmt.Fprintf(w, "DONE\t%s\t%s\n", id, end)
	return w.Flush()
}

// ask sends one question to the auth-userdb socket at path and calls fn with each
// line of the answer until it returns false.
func ask(ctx context.Context, path string, question []byte, fn func(args []string) bool) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := c.Write(append([]byte("VERSION\t1\t1\n"), question...)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(c, MaxLine)
	for {
		line, err := readLine(in)
		if err != nil {
			return err
		}
		args := strings.Split(line, "\t")
		if args[0] != "VERSION" && args[0] != "SPID" && !fn(args) {
			return nil
		}
	}
}

// errList says that a list of users is not whole.
var errList = errors.New("the list of users is not complete")

// ListUsers asks the auth-userdb socket at path, ours or Dovecot's, for all users
// whose names match mask ("*" and "?").
func ListUsers(ctx context.Context, path, mask, service string) (users []string, err error) {
	q := field(field([]byte("LIST\t1"), "user", mask), "service", service)
	failed := false
	err = ask(ctx, path, append(q, '\n'), func(args []string) bool {
		switch args[0] {
		case "LIST":
			users = append(users, unescape(args[len(args)-1]))
			return true
		case "DONE":
			failed = len(args) > 2 && args[2] != ""
		default:
			failed = true
		}
		return false
	})
	if err == nil && failed {
		err = errList
	}
	return users, err
}

// LookupPass asks what the passdbs say of user. order are the names of the
// fields as they came, "user" among them.
func LookupPass(ctx context.Context, path, user, service string) (fields map[string]string, order []string, err error) {
	q := field(escape([]byte("PASS\t1\t"), user), "service", service)
	refused := error(nil)
	err = ask(ctx, path, append(q, '\n'), func(args []string) bool {
		switch args[0] {
		case "PASS":
			_, fields, order, refused = userFields(append([]string{"", "", ""}, args[2:]...))
		case "NOTFOUND":
			refused = ErrNoUser
		default:
			refused = errors.New("passdb lookup failed")
		}
		return false
	})
	return fields, order, errors.Join(err, refused)
}

// FlushCache asks auth to forget what it has cached of users, or of all; it
// returns how many entries there were.
func FlushCache(ctx context.Context, path string, users []string) (n string, err error) {
	q := []byte("CACHE-FLUSH\t1")
	for _, u := range users {
		q = escape(append(q, '\t'), u)
	}
	n = "0"
	failed := false
	err = ask(ctx, path, append(q, '\n'), func(args []string) bool {
		failed = args[0] != "OK" || len(args) < 3
		if !failed {
			n = args[2]
		}
		return false
	})
	if err == nil && failed {
		err = errors.New("cache flush failed")
	}
	return n, err
}
