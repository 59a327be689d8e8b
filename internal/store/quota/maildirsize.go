package quota

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// Figures of Maildir++ (courier's README.maildirquota), which Dovecot has as well.
const (
	maxSizeFile  = 5120             // octets of maildirsize; a longer one is counted anew
	staleSize    = 15 * time.Minute // age at which a file is not believed that says "full"
	maxSizeLimit = 1 << 62
)

// sizeFile is the file maildirsize: the limits, then a line for each change. Its
// fields but path say what the configuration wants.
type sizeFile struct {
	path   string
	limits Limits // those of the file once it was read
	forced bool   // limits go before those of the file
	walk   func() (Usage, error)
}

// errCount says that the messages have to be counted.
var errCount = errors.New("count again")

// read returns the sum. A file that is missing, too long, torn or stale is made anew.
func (f *sizeFile) read() (Usage, error) {
	used, err := f.load()
	if err == nil {
		return used, nil
	}
	return f.recalc()
}

// load reads the file as it stands.
func (f *sizeFile) load() (used Usage, err error) {
	in, err := disk.OpenTrusted(f.path, os.O_RDONLY, -1)
	if err != nil {
		return used, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxSizeFile+1))
	if err != nil {
		return used, err
	}
	if len(b) > maxSizeFile || len(b) == 0 || b[len(b)-1] != '\n' {
		return used, errCount
	}
	head, rest, _ := bytes.Cut(b, []byte("\n"))
	limits, ok := parseLimits(string(head))
	if !ok || f.forced && limits != f.limits {
		return used, errCount // somebody changed the limits
	}
	lines := 0
	for line := range bytes.Lines(rest) {
		var u Usage
		if _, err := fmt.Sscan(string(line), &u.Bytes, &u.Count); err != nil || abs(u.Bytes) > maxSizeLimit {
			return used, errCount
		}
		used.Bytes, used.Count, lines = used.Bytes+u.Bytes, used.Count+u.Count, lines+1
	}
	full := limits.Bytes > 0 && used.Bytes > limits.Bytes || limits.Count > 0 && used.Count > limits.Count
	if used.Bytes < 0 || used.Count < 0 || full && (lines > 1 || old(in)) {
		return used, errCount
	}
	f.limits = limits
	return used, nil
}

func abs(n int64) int64 { return max(n, -n) }

func old(in *os.File) bool {
	fi, err := in.Stat()
	return err != nil || time.Since(fi.ModTime()) > staleSize
}

// parseLimits reads "10000000S,1000C"; both parts may be missing.
func parseLimits(s string) (l Limits, ok bool) {
	for p := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.ParseInt(p[:len(p)-1], 10, 64)
		if err != nil || n < 0 {
			return l, false
		}
		switch p[len(p)-1] {
		case 'S':
			l.Bytes = n
		case 'C':
			l.Count = n
		default:
			return l, false
		}
	}
	return l, true
}

// recalc counts the messages and writes the file. Where neither the configuration
// nor an old file has a limit, none is made.
func (f *sizeFile) recalc() (Usage, error) {
	if !f.forced {
		if l, ok := f.oldLimits(); ok {
			f.limits = l
		}
	}
	used, err := f.walk()
	if err != nil || !f.forced && f.limits.none() {
		return used, err
	}
	head := fmt.Sprintf("%dS", f.limits.Bytes)
	if f.limits.Count > 0 {
		head += fmt.Sprintf(",%dC", f.limits.Count)
	}
	return used, f.write(fmt.Sprintf("%s\n%d %d\n", head, used.Bytes, used.Count))
}

// oldLimits returns the limits of the file that is there.
func (f *sizeFile) oldLimits() (Limits, bool) {
	in, err := disk.OpenTrusted(f.path, os.O_RDONLY, -1)
	if err != nil {
		return Limits{}, false
	}
	defer in.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(in, b)
	head, _, _ := strings.Cut(string(b[:n]), "\n")
	return parseLimits(head)
}

// write puts a new file in the place of the old one. It is not flushed: after a
// crash it is counted anew.
func (f *sizeFile) write(text string) error {
	t, err := os.CreateTemp(filepath.Dir(f.path), ".maildirsize.tmp")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || disk.Full(err) || disk.OverQuota(err) {
		return nil // no Maildir yet, or one that is not ours to write: there is nothing to keep
	}
	if err != nil {
		return err
	}
	_, err = t.WriteString(text)
	err = errors.Join(err, t.Close())
	if err == nil {
		err = disk.Rename(t.Name(), f.path)
	}
	if err != nil {
		os.Remove(t.Name())
	}
	if disk.Full(err) || disk.OverQuota(err) {
		return nil
	}
	return err
}

// add enters a change, where there is a file. Whoever cannot enter it leaves a
// wrong sum, which is found when the file says "full".
func (f *sizeFile) add(u Usage) {
	out, err := disk.OpenTrusted(f.path, os.O_WRONLY|os.O_APPEND, -1)
	if err != nil {
		return
	}
	defer out.Close()
	fmt.Fprintf(out, "%d %d\n", u.Bytes, u.Count)
}
