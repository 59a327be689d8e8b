package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// User is an account of this machine, as passwd(5) lists it.
type User struct {
	Name  string
	UID   int
	GID   int
	Gecos string
	Home  string
	Shell string
}

// ErrNoUser says that an account does not exist; any other error of a look-up
// means that nobody could tell, and mail must wait.
var ErrNoUser = errors.New("no such user")

// getentTimeout bounds one call of getent: a directory server may hang.
const getentTimeout = 20 * time.Second

// Paths of the account database.
const (
	passwdFile   = "/etc/passwd"
	nsswitchFile = "/etc/nsswitch.conf"
)

// LookupUser finds an account by name in /etc/passwd, and through getent(1)
// when nsswitch.conf names more sources than files. Who asks for every message
// keeps a Users.
func LookupUser(name string) (*User, error) {
	if !plausible(name) {
		return nil, ErrNoUser
	}
	return lookup(name, name+":", func(u *User) bool { return u.Name == name })
}

// plausible tells whether name can be an account's at all.
func plausible(name string) bool { return name != "" && !strings.ContainsAny(name, ":\n\x00/") }

// LookupUID finds an account by its number, where LookupUser looks.
func LookupUID(uid int) (*User, error) {
	key := strconv.Itoa(uid)
	return lookup(key, ":"+key+":", func(u *User) bool { return u.UID == uid })
}

// lookup reads the files. A line without hint is not looked at closely.
func lookup(key, hint string, match func(*User) bool) (*User, error) {
	text, err := disk.ReadFile(passwdFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(hint)) {
			continue
		}
		if u, ok := parsePasswd(strings.TrimRight(string(line), "\n")); ok && match(u) {
			return u, nil
		}
	}
	if !moreThanFiles(nsswitchFile) {
		return nil, ErrNoUser
	}
	return getent(key, match)
}

// getent asks getent(1), the one program that knows every source nsswitch.conf
// may name. Exit code 2 means "not found" (getent(1)).
func getent(key string, match func(*User) bool) (*User, error) {
	cmd := exec.Command("getent", "--", "passwd", key)
	cmd.WaitDelay = getentTimeout
	timer := time.AfterFunc(getentTimeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return nil, ErrNoUser
	}
	if err != nil {
		return nil, fmt.Errorf("getent passwd %s: %w", key, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if u, ok := parsePasswd(line); ok && match(u) {
		return u, nil
	}
	return nil, ErrNoUser
}

// parsePasswd reads one line of passwd(5).
func parsePasswd(line string) (*User, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 {
		return nil, false
	}
	uid, err1 := strconv.Atoi(f[2])
	gid, err2 := strconv.Atoi(f[3])
	if err1 != nil || err2 != nil {
		return nil, false
	}
	return &User{Name: f[0], UID: uid, GID: gid, Gecos: f[4], Home: f[5], Shell: f[6]}, true
}

// moreThanFiles tells whether nsswitch.conf names a source of accounts beside
// the files of /etc ("compat" and systemd's dynamic users add no mail users).
func moreThanFiles(path string) bool {
	b, err := disk.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "passwd:")
		if !ok {
			continue
		}
		for _, src := range strings.Fields(rest) {
			if src != "files" && src != "compat" && src != "systemd" {
				return true
			}
		}
	}
	return false
}

// Groups returns the numbers of the groups that u belongs to, its primary
// group first (getgrouplist(3)).
func (u *User) Groups() []int {
	groups := []int{u.GID}
	ou := &user.User{Uid: strconv.Itoa(u.UID), Gid: strconv.Itoa(u.GID), Username: u.Name}
	ids, _ := ou.GroupIds() // without a group file only the primary group is left
	for _, s := range ids {
		if n, err := strconv.Atoi(s); err == nil && n != u.GID {
			groups = append(groups, n)
		}
	}
	return groups
}

// LookupGroup returns the number of a group of this machine.
func LookupGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
