package proc

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"packetboat/internal/sys/disk"
)

// recheck is how long Users believes what it has read before it looks at the
// files' state again. It looks at once before it says that an account is missing.
const recheck = time.Second

// Users answers what LookupUser answers without reading the files each time. It
// keeps the text of /etc/passwd and notes where each line begins. The zero value
// is good; all methods may be called at once.
type Users struct {
	files   [2]string // in place of passwdFile and nsswitchFile, for tests
	mu      sync.Mutex
	checked time.Time
	passwd  disk.ID // of the files that were read
	nss     disk.ID
	text    string
	lines   map[string]int // by name, offsets in text
	more    bool           // nsswitch.conf names more than files
}

// Lookup finds an account by name.
func (u *Users) Lookup(name string) (*User, error) {
	if !plausible(name) {
		return nil, ErrNoUser
	}
	found, more, err := u.find(name)
	if found != nil || err != nil {
		return found, err
	}
	if !more {
		return nil, ErrNoUser
	}
	return getent(name, func(a *User) bool { return a.Name == name })
}

// find looks into the file; more tells whether to ask elsewhere.
func (u *Users) find(name string) (found *User, more bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lines != nil && time.Since(u.checked) < recheck {
		if found := u.parse(name); found != nil {
			return found, false, nil
		}
	}
	if err := u.refresh(); err != nil {
		return nil, false, err
	}
	return u.parse(name), u.more, nil
}

// parse returns the account of that name, nil for none.
func (u *Users) parse(name string) *User {
	at, ok := u.lines[name]
	if !ok {
		return nil
	}
	line, _, _ := strings.Cut(u.text[at:], "\n")
	a, _ := parsePasswd(strings.Clone(line))
	return a
}

// refresh reads the files again if they have changed. A file that is missing is
// like an empty one.
func (u *Users) refresh() error {
	if u.files == [2]string{} {
		u.files = [2]string{passwdFile, nsswitchFile}
	}
	passwd, err1 := disk.StatPath(u.files[0])
	nss, err2 := disk.StatPath(u.files[1])
	for _, err := range []error{err1, err2} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	u.checked = time.Now()
	// Of a link we see the link: where it leads to may change unseen.
	known := u.lines != nil && (passwd.Regular || err1 != nil) && (nss.Regular || err2 != nil)
	if known && passwd.ID == u.passwd && nss.ID == u.nss {
		return nil
	}
	text, err := disk.ReadFile(u.files[0])
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	u.text, u.lines, u.more = string(text), map[string]int{}, moreThanFiles(u.files[1])
	u.passwd, u.nss = passwd.ID, nss.ID
	u.index()
	return nil
}

// index notes where lines begin. The first of several lines with one name
// counts, as in getpwnam(3).
func (u *Users) index() {
	at := 0
	for line := range strings.Lines(u.text) {
		if a, ok := parsePasswd(strings.TrimRight(line, "\n")); ok {
			if _, have := u.lines[a.Name]; !have {
				u.lines[a.Name] = at
			}
		}
		at += len(line)
	}
}
