package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"packetboat/internal/route/alias"
	"packetboat/internal/route/table/mapfile"
	"packetboat/internal/sys/disk"
)

// Entry is one key with its value.
type Entry struct{ Key, Value string }

// Edit changes the text source of an indexed table, for postmap -i and -d.
type Edit struct {
	Path   string
	Alias  bool // the form of aliases(5)
	NoFold bool
}

const (
	// lockTries bounds how often a source is put anew under a waiting Edit.
	lockTries = 10
	// lockWait is how long an Edit waits for another one.
	lockWait = 20 * time.Second
	// maxEdit is the largest source that can be edited, in bytes.
	maxEdit = 1 << 30
)

// lock opens and locks the source as it is now: another Edit may have put a new
// file in its place while we waited.
func (e Edit) lock() (*os.File, *disk.MailboxLock, error) {
	for range lockTries {
		f, err := os.OpenFile(e.Path, os.O_RDWR, 0)
		if err != nil {
			return nil, nil, err
		}
		l, err := disk.LockMailbox(context.Background(), e.Path, f, disk.LockOptions{Wait: lockWait})
		if err != nil {
			f.Close()
			return nil, nil, err
		}
		mine, err1 := f.Stat()
		now, err2 := os.Stat(e.Path)
		if err1 == nil && err2 == nil && os.SameFile(mine, now) {
			return f, l, nil
		}
		l.Unlock()
		f.Close()
	}
	return nil, nil, fmt.Errorf("%s: changed again and again", e.Path)
}

// Delete removes the entries of some keys. It returns how many of the keys were
// there. Comments stay.
func (e Edit) Delete(keys []string) (int, error) {
	gone := 0
	err := e.change(func(text []byte) []byte {
		text, gone = e.without(text, keys)
		return text
	})
	return gone, err
}

// Insert appends entries. A key that is there already keeps its value and is
// named in dups, unless replace is set.
func (e Edit) Insert(entries []Entry, replace bool) (dups []string, err error) {
	err = e.change(func(text []byte) []byte {
		for _, it := range entries {
			rest, n := e.without(text, []string{it.Key})
			if n > 0 && !replace {
				dups = append(dups, it.Key)
				continue
			}
			if n := len(rest); n > 0 && rest[n-1] != '\n' {
				rest = append(rest, '\n')
			}
			text = append(rest, e.line(it)...)
		}
		return text
	})
	return dups, err
}

// line writes one entry.
func (e Edit) line(it Entry) string {
	if e.Alias {
		return alias.Quote(it.Key) + ":\t" + it.Value + "\n"
	}
	return it.Key + "\t" + it.Value + "\n"
}

// change replaces the source by what fn makes of it, keeping owner and mode. A
// link is followed: the file behind it is replaced.
func (e Edit) change(fn func([]byte) []byte) error {
	real, err := filepath.EvalSymlinks(e.Path)
	if err != nil {
		return err
	}
	e.Path = real
	f, lock, err := e.lock()
	if err != nil {
		return err
	}
	defer f.Close()
	defer lock.Unlock()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() > maxEdit {
		return &fs.PathError{Op: "edit", Path: e.Path, Err: errors.New("file too large")}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxEdit))
	if err != nil {
		return err
	}
	text = fn(text)
	uid, err := disk.Owner(f)
	if err != nil {
		return err
	}
	if err := disk.WriteFile(e.Path, text, fi.Mode().Perm()); err != nil {
		return err
	}
	if uid != os.Geteuid() {
		return os.Chown(e.Path, uid, -1)
	}
	return nil
}

// without returns text without the entries of keys, and how many keys it had.
func (e Edit) without(text []byte, keys []string) ([]byte, int) {
	drop := make(map[string]bool, len(keys))
	for _, k := range keys {
		drop[e.fold(k)] = true
	}
	found := map[string]bool{}
	out := make([]byte, 0, len(text))
	skipping := false
	for rest := text; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		line := rest[:n]
		rest = rest[n:]
		switch {
		case mapfile.Blank(line):
		case mapfile.IsSpace(line[0]):
			if skipping {
				continue
			}
		default:
			k := e.fold(e.key(line, rest))
			if skipping = drop[k]; skipping {
				found[k] = true
				continue
			}
		}
		out = append(out, line...)
	}
	return out, len(found)
}

func (e Edit) fold(k string) string {
	if e.NoFold {
		return k
	}
	return strings.ToLower(k)
}

// key returns the key of the entry that begins with line.
func (e Edit) key(line, rest []byte) string {
	if !e.Alias {
		k, _ := mapfile.SplitKey(mapfile.TrimRight(line))
		return string(k)
	}
	// The colon of an alias may stand in a continued line.
	l := mapfile.NewLines(bytes.NewReader(append(line[:len(line):len(line)], firstBytes(rest)...)))
	logical, _, err := l.Next()
	if err != nil {
		return ""
	}
	k, _, err := alias.ParseLine(string(logical))
	if err != nil {
		return ""
	}
	return k
}

// firstBytes returns what may hold the colon of an alias.
func firstBytes(b []byte) []byte { return b[:min(len(b), 4096)] }

// Check reads a table's source and tells what postmap(1) or postalias(1) would
// warn about. name is what the warnings call the file.
func Check(name string, o Options) ([]string, error) {
	f, err := os.Open(resolve(name, o))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, problems, err := compileIndex(f, name, o.Alias, !o.NoFold)
	return problems, err
}

// stampText is what stands in NAME.db: enough for people who look, and nothing
// that another program could take for a database.
const stampText = "Packetboat reads the text file beside this one; this file only tells when it was last checked.\n"

// Stamp writes NAME.db beside the source, with the source's owner and mode:
// its time is what tools compare with the source's. A database of Postfix is left
// alone: whoever goes back to Postfix runs postmap there again.
func Stamp(path string) error {
	if foreign(path + ".db") {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	uid, err := disk.Owner(f)
	if err != nil {
		return err
	}
	if err := disk.WriteFile(path+".db", []byte(stampText), fi.Mode().Perm()); err != nil {
		return &fs.PathError{Op: "open", Path: path + ".db", Err: cause(err)}
	}
	if uid != os.Geteuid() && os.Geteuid() == 0 {
		return os.Lchown(path+".db", uid, -1)
	}
	return nil
}

// foreign tells whether there is something else than our stamp at path.
func foreign(path string) bool {
	st, err := disk.StatPath(path)
	if err != nil || !st.Regular {
		return !errors.Is(err, fs.ErrNotExist)
	}
	f, err := disk.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return true
	}
	defer f.Close()
	b := make([]byte, len(stampText)+1)
	n, _ := io.ReadFull(f, b) // a short file is none of ours, or an empty one
	return n > 0 && string(b[:n]) != stampText
}

// cause takes the path of a temporary file out of an error.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
