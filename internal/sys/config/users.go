package config

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// ErrUser is what a user gets whom a list of users leaves out.
var ErrUser = errors.New("not allowed")

// userError names the user in Postfix's words.
type userError struct {
	name, deed string
	uid        int
}

func (e *userError) Error() string {
	return fmt.Sprintf("User %s(%d) is not allowed to %s", e.name, e.uid, e.deed)
}

func (e *userError) Is(target error) bool { return target == ErrUser }

// userDeed says what a list of users is about, in the words of Postfix's errors.
func userDeed(name string) string {
	switch name {
	case "authorized_mailq_users":
		return "view the mail queue"
	case "authorized_flush_users":
		return "flush the mail queue"
	}
	return "submit mail"
}

// MayUser returns an error, which is ErrUser, when the list of users in the
// parameter name leaves out the account uid. The lists are authorized_submit_users,
// authorized_mailq_users and authorized_flush_users of postconf(5); the last two
// always allow root and mail_owner. Commands ask before they work, and mtad asks
// about the process at the other end of its sockets.
func (m *Main) MayUser(name string, uid int) error {
	list := m.Get(name)
	if strings.HasPrefix(list, "static:") {
		return nil // as in Postfix before anything is looked up, so that a broken passwd stops no mail
	}
	login := "unknown"
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		login = u.Username
	}
	if name != "authorized_submit_users" && (uid == 0 || login == m.Get("mail_owner")) {
		return nil
	}
	if names(Fields(list), login, 0) == 1 {
		return nil
	}
	return &userError{login, userDeed(name), uid}
}

// listDepth bounds how deep files of patterns may name other files.
const listDepth = 10

// names looks for login in a list of names, !names, /files of them, and static:
// tables; the first that fits decides: 1 allows, -1 forbids, 0 says nothing.
// Other tables and files that cannot be read forbid: set-gid postdrop opens no table.
func names(list []string, login string, depth int) int {
	for _, item := range list {
		item, not := strings.CutPrefix(item, "!")
		verdict := 0
		switch {
		case strings.HasPrefix(item, "/"):
			text, err := os.ReadFile(item)
			if err != nil || depth >= listDepth {
				return -1
			}
			verdict = names(Fields(uncomment(string(text))), login, depth+1)
		case strings.HasPrefix(item, "static:"):
			verdict = 1
		case strings.Contains(item, ":"):
			return -1
		case strings.EqualFold(item, login):
			verdict = 1
		}
		if not {
			verdict = -verdict
		}
		if verdict != 0 {
			return verdict
		}
	}
	return 0
}

// uncomment leaves out the lines that begin with "#".
func uncomment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
