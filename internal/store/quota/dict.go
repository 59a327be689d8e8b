package quota

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// A dict file holds a key and its value on lines of their own. Other keys than
// ours are kept.
const (
	dictBytes = "priv/quota/storage"
	dictCount = "priv/quota/messages"
	maxDict   = 1 << 20 // octets
)

// errNoDict says that a dict file does not hold the sums yet.
var errNoDict = errors.New("no sums in the dict")

// readDict returns the sums.
func readDict(path string) (used Usage, err error) {
	pairs, err := loadDict(path)
	if errors.Is(err, fs.ErrNotExist) {
		return used, errNoDict
	}
	if err != nil {
		return used, err
	}
	for key, into := range map[string]*int64{dictBytes: &used.Bytes, dictCount: &used.Count} {
		n, err := strconv.ParseInt(pairs.get(key), 10, 64)
		if err != nil || n < 0 {
			return Usage{}, errNoDict
		}
		*into = n
	}
	return used, nil
}

// pairs are the lines of a dict file.
type pairs []string

func (p pairs) get(key string) string {
	for i := 0; i+1 < len(p); i += 2 {
		if p[i] == key {
			return p[i+1]
		}
	}
	return ""
}

func (p pairs) set(key, value string) pairs {
	for i := 0; i+1 < len(p); i += 2 {
		if p[i] == key {
			p[i+1] = value
			return p
		}
	}
	return append(p, key, value)
}

func loadDict(path string) (pairs, error) {
	f, err := disk.OpenTrusted(path, os.O_RDONLY, -1)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDict))
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), nil
}

// dictWait bounds the wait for a dict's lock.
const dictWait = 10 * time.Second

// changeDict changes a dict file under its lock.
func changeDict(path string, change func(pairs) (pairs, error)) error {
	l, err := disk.Dotlock(context.Background(), path, disk.LockOptions{Wait: dictWait})
	if err != nil {
		return err
	}
	defer l.Unlock()
	p, err := loadDict(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p, err = change(p); err != nil {
		return err
	}
	return disk.WriteFile(path, []byte(strings.Join(p, "\n")+"\n"), 0o600)
}

// writeDict enters sums that were counted.
func writeDict(path string, used Usage) error {
	return changeDict(path, func(p pairs) (pairs, error) {
		return p.set(dictCount, fmt.Sprint(used.Count)).set(dictBytes, fmt.Sprint(used.Bytes)), nil
	})
}

// addDict enters a change. Without sums there is nothing to change: they are
// counted at the next question.
func addDict(path string, change Usage) error {
	return changeDict(path, func(p pairs) (pairs, error) {
		n, err1 := strconv.ParseInt(p.get(dictBytes), 10, 64)
		c, err2 := strconv.ParseInt(p.get(dictCount), 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return p.set(dictCount, fmt.Sprint(max(c+change.Count, 0))).set(dictBytes, fmt.Sprint(max(n+change.Bytes, 0))), nil
	})
}
