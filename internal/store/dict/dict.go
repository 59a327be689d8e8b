// Package dict keeps names and values in a file of the form of Dovecot's dict driver
// "file": a name and a value on lines of their own. IMAP's METADATA
// (mail_attribute_dict) and the list of who shares folders (acl_shared_dict) stand
// in such files; Dovecot may use one at the same time.
package dict

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"packetboat/internal/sys/disk"
)

// Limits of a file and of one value, in octets.
const (
	MaxFile  = 4 << 20
	MaxValue = 64 << 10
)

// lockWait bounds the wait for another writer; staleLock is when a lock is nobody's
// any more, as in Dovecot.
const (
	lockWait  = 10 * time.Second
	staleLock = 30 * time.Second
)

// ErrFull says that a change would make the file longer than MaxFile.
var ErrFull = errors.New("the file of attributes is full")

// File is a dict file, which need not exist. It is safe for many goroutines.
type File struct {
	path string

	mu    sync.Mutex
	id    disk.ID
	pairs map[string]string
}

// Open returns the file at path; it is read when somebody asks.
func Open(path string) *File { return &File{path: path} }

// Get returns the value of a name.
func (f *File) Get(name string) (value string, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(); err != nil {
		return "", false, err
	}
	value, ok = f.pairs[name]
	return value, ok, nil
}

// Below returns all names that begin with a prefix, with their values, in order.
func (f *File) Below(prefix string) (list [][2]string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(); err != nil {
		return nil, err
	}
	for name, value := range f.pairs {
		if strings.HasPrefix(name, prefix) {
			list = append(list, [2]string{name, value})
		}
	}
	slices.SortFunc(list, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return list, nil
}

// Change sets values, or takes names away whose value is nil, all at once, and returns
// when that is on disk.
func (f *File) Change(values map[string]*string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	l, err := disk.Dotlock(context.Background(), f.path, disk.LockOptions{Wait: lockWait, Stale: staleLock})
	if err != nil {
		return err
	}
	defer l.Unlock()
	if err := f.load(); err != nil {
		return err
	}
	next := maps.Clone(f.pairs)
	for name, v := range values {
		if v == nil {
			delete(next, name)
		} else {
			next[name] = *v
		}
	}
	if maps.Equal(next, f.pairs) {
		return nil
	}
	return f.write(next)
}

func (f *File) write(pairs map[string]string) error {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		fmt.Fprintf(&b, "%s\n%s\n", escape.Replace(name), escape.Replace(pairs[name]))
	}
	if b.Len() > MaxFile {
		return ErrFull
	}
	f.id = disk.ID{} // read again: what stands there is what counts
	return disk.WriteFile(f.path, b.Bytes(), 0o600)
}

// load reads the file if it has changed; f.mu is held.
func (f *File) load() error {
	r, st, err := disk.OpenStat(f.path, os.O_RDONLY|disk.NoFollow|disk.NoWait, -1)
	if errors.Is(err, fs.ErrNotExist) {
		f.id, f.pairs = disk.ID{}, map[string]string{}
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if st.ID == f.id && f.pairs != nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r, 2*MaxFile))
	if err != nil {
		return err
	}
	f.id, f.pairs = st.ID, parse(string(b))
	return nil
}

// parse reads names and values. A name without its value is no pair.
func parse(text string) map[string]string {
	pairs := map[string]string{}
	lines := strings.Split(text, "\n")
	for i := 0; i+2 < len(lines); i += 2 {
		pairs[unescape.Replace(lines[i])] = unescape.Replace(lines[i+1])
	}
	return pairs
}

// What cannot stand in a line is written behind an octet 1, as Dovecot does.
var (
	escape   = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
	unescape = strings.NewReplacer("\x010", "\x00", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")
)
