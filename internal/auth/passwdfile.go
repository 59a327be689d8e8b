package auth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"packetboat/internal/auth/scheme"
)

// maxPasswdLine bounds one line of a passwd-file in bytes; a longer one is an
// error that names it.
const maxPasswdLine = 64 << 10

// maxFiles bounds how many passwd-files (one a domain) are kept in memory.
const maxFiles = 64

// passwdFile is the passwd-file driver, for passdb and userdb.
type passwdFile struct {
	scheme  string
	format  string // username_format
	path    string // may hold %variables
	mu      sync.Mutex
	content map[string]*fileContent // by expanded path
}

// fileContent is a file as it was read, and how to see that it changed.
type fileContent struct {
	size  int64
	mtime time.Time
	ino   os.FileInfo
	users map[string]*entry
}

// entry is one line.
type entry struct {
	password       string
	uid, gid, home string
	extra          string
}

var errNoFile = errors.New("args name no file")

// newPasswdFile reads the args: [scheme=S] [username_format=F] PATH. A path
// without variables must be readable now: a typing error is told at start.
func newPasswdFile(args string) (*passwdFile, error) {
	p := &passwdFile{scheme: "CRYPT", format: "%u", content: make(map[string]*fileContent)}
	for _, word := range strings.Fields(args) {
		switch k, v, ok := strings.Cut(word, "="); {
		case ok && k == "scheme":
			p.scheme = v
		case ok && k == "username_format":
			p.format = v
		default:
			p.path = word
		}
	}
	if p.path == "" {
		return nil, errNoFile
	}
	if !strings.Contains(p.path, "%") {
		if _, err := p.load(p.path); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *passwdFile) name() string { return "passwd-file" }

// find returns the user's line.
func (p *passwdFile) find(q *Query) (*entry, error) {
	path, err := ExpandPath(p.path, q)
	if err != nil {
		return nil, errUnknown
	}
	c, err := p.load(path)
	if err != nil {
		return nil, err
	}
	e := c.users[Expand(p.format, q)]
	if e == nil {
		return nil, errUnknown
	}
	return e, nil
}

func (p *passwdFile) lookup(_ context.Context, q *Query) (*account, error) {
	e, err := p.find(q)
	if err != nil {
		return nil, err
	}
	acc := &account{stored: e.stored(p.scheme), fields: make(Fields)}
	for k, v := range parseFields(e.extra) {
		if k == "nopassword" {
			acc.any = true
			continue
		}
		acc.fields[k] = Expand(v, q)
	}
	if e.password == "" && !acc.any {
		return nil, &refusal{text: "Empty password in the passwd-file: set nopassword to allow this"}
	}
	return acc, nil
}

// stored reads the password field; "data[13]" and "data[34]" are libpam-pwdfile's
// marks for CRYPT and PLAIN-MD5.
func (e *entry) stored(def string) scheme.Stored {
	s := e.password
	if !strings.HasPrefix(s, "{") && strings.HasSuffix(s, "]") {
		if i := strings.LastIndexByte(s, '['); i >= 0 {
			if s[i:] == "[34]" {
				return scheme.Stored{Scheme: "PLAIN-MD5", Data: s[:i]}
			}
			return scheme.Stored{Scheme: "CRYPT", Data: s[:i]}
		}
	}
	return scheme.Parse(s, def)
}

// userFields returns the line as a userdb: its own columns, then every field
// "userdb_name" of the last column.
func (p *passwdFile) userFields(q *Query) (Fields, error) {
	e, err := p.find(q)
	if err != nil {
		return nil, err
	}
	f := make(Fields)
	for k, v := range map[string]string{"uid": e.uid, "gid": e.gid, "home": Expand(e.home, q)} {
		if v != "" {
			f[k] = v
		}
	}
	for k, v := range parseFields(e.extra) {
		if k, ok := strings.CutPrefix(k, "userdb_"); ok {
			f[k] = Expand(v, q)
		}
	}
	return f, nil
}

// load returns the file's content, read again when its size, time or inode
// changed. It costs one stat(2) otherwise.
func (p *passwdFile) load(path string) (*fileContent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("passwd-file %w", err)
	}
	if c := p.content[path]; c != nil && c.size == fi.Size() && c.mtime.Equal(fi.ModTime()) && os.SameFile(c.ino, fi) {
		return c, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("passwd-file %w", err)
	}
	defer f.Close()
	users, err := parsePasswdFile(f)
	if err != nil {
		return nil, fmt.Errorf("passwd-file %s: %w", path, err)
	}
	if len(p.content) >= maxFiles {
		clear(p.content)
	}
	c := &fileContent{fi.Size(), fi.ModTime(), fi, users}
	p.content[path] = c
	return c, nil
}

// parsePasswdFile reads all lines. Of two lines with one name the first wins,
// as with Dovecot; a line without a password column is passed over there too.
func parsePasswdFile(r io.Reader) (map[string]*entry, error) {
	users := make(map[string]*entry)
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 4096), maxPasswdLine)
	n := 0
	for sc.Scan() {
		n++
		name, e := parsePasswdLine(sc.Text())
		if e == nil {
			continue
		}
		if _, ok := users[name]; !ok {
			users[name] = e
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return users, nil
}

// parsePasswdLine reads user:password:uid:gid:(gecos):home:(shell):extra fields.
// The last column may hold colons.
func parsePasswdLine(line string) (string, *entry) {
	line = strings.TrimSuffix(line, "\r")
	if line == "" || line[0] == '#' || line[0] == ':' {
		return "", nil
	}
	f := strings.SplitN(line, ":", 8)
	col := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	e := &entry{password: col(1), uid: col(2), gid: col(3), home: col(5), extra: col(7)}
	return f[0], e
}
