package maildir

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
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

// The list of UIDs is Dovecot's (dovecot-uidlist), so that both programs can
// look after the same mailbox in turn and at once:
//
//	3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1
//	25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,
//	25017 W2481 :1276533073.M242911P3632.kurkku:2,F
//
// New lines are appended, and the whole is replaced, under dovecot-uidlist.lock.
// The UID that comes next is N or one behind the last line, whichever is higher.
// Versions 1 of Courier and old Dovecots ("1 VALIDITY NEXT", then "UID NAME") is read.
const (
	uidlistName = "dovecot-uidlist"

	// maxLine bounds one line, maxLines the list: 10 million messages in a folder.
	maxLine  = 4096
	maxLines = 10_000_000

	// staleLock is how old a lock must be to be broken, as in Dovecot.
	staleLock = 120 * time.Second
)

// uidlist is what is known of the file dovecot-uidlist.
type uidlist struct {
	path     string
	id       disk.ID // of the file as it was read; zero = there is none
	validity uint32
	next     uint32 // UIDNEXT
	guid     string // and whatever else the head names; kept as it is
	first    string // the first line
	version  int
	broken   bool // must be written anew
	flushed  int  // how often we brought it to disk

	uids map[string]uint32 // by base
	ext  map[uint32]string // other fields of a line, as they are: "W2481 P5"
}

// load reads the list if it changed since it was read.
func (l *uidlist) load() error {
	f, st, err := disk.OpenStat(l.path, os.O_RDONLY, -1)
	if errors.Is(err, fs.ErrNotExist) {
		l.vanished()
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if st.ID == l.id {
		return nil
	}
	if tail := l.grown(f, st); tail > 0 {
		return l.read(f, st, tail)
	}
	return l.read(f, st, 0)
}

// vanished: somebody removed the list, which means that all UIDs are void.
func (l *uidlist) vanished() {
	if l.id != (disk.ID{}) || l.uids == nil {
		*l = uidlist{path: l.path, flushed: l.flushed, broken: true, uids: map[string]uint32{}, ext: map[uint32]string{}}
	}
}

// grown returns where the file goes on that was read before, 0 if it is another one.
func (l *uidlist) grown(f *os.File, st disk.Stat) int64 {
	if st.Ino != l.id.Ino || st.Dev != l.id.Dev || st.Size <= l.id.Size || l.broken || l.id.Size == 0 {
		return 0
	}
	// Another list may have got the number of the one that it replaced.
	begin, last := make([]byte, len(l.first)+1), make([]byte, 1)
	_, err1 := f.ReadAt(begin, 0)
	_, err2 := f.ReadAt(last, l.id.Size-1)
	if err1 != nil || err2 != nil || last[0] != '\n' || string(begin) != l.first+"\n" {
		return 0
	}
	return l.id.Size
}

// read reads the list from an offset on; 0 begins anew.
func (l *uidlist) read(f *os.File, st disk.Stat, from int64) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, st.Size-from), 64<<10)
	if from == 0 {
		*l = uidlist{path: l.path, flushed: l.flushed, uids: map[string]uint32{}, ext: map[uint32]string{}}
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		l.first = string(bytes.TrimRight(line, "\n"))
		if !l.head(l.first) {
			l.broken = true
			return nil
		}
	}
	for len(l.uids) < maxLines {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			l.broken = l.broken || len(line) > 0 // somebody died while writing
			break
		}
		if err != nil || !l.entry(line[:len(line)-1]) {
			l.broken = true
			break
		}
	}
	l.id = st.ID
	return nil
}

// head reads the first line.
func (l *uidlist) head(line string) bool {
	words := strings.Fields(line)
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "1":
		if len(words) != 3 {
			return false
		}
		l.version, l.broken = 1, true // is written in version 3
		l.validity, l.next = number(words[1]), number(words[2])
	case "3":
		l.version = 3
		for _, w := range words[1:] {
			switch w[0] {
			case 'V':
				l.validity = number(w[1:])
			case 'N':
				l.next = number(w[1:])
			default:
				l.guid += " " + w
			}
		}
	}
	return l.version != 0 && l.validity != 0 && l.next != 0
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// entry reads one line of a message. UIDs that do not rise, names with a
// slash and the like make the list a broken one; what was read until then counts.
func (l *uidlist) entry(line []byte) bool {
	num, rest, ok := bytes.Cut(line, []byte(" "))
	uid := number(string(num))
	if !ok || uid == 0 || uid == 1<<32-1 || len(line) > maxLine {
		return false
	}
	ext, name := "", rest
	if l.version == 3 {
		i := bytes.IndexByte(rest, ':')
		if i < 0 {
			return false
		}
		ext, name = string(bytes.TrimSpace(rest[:i])), rest[i+1:]
	}
	key := base(string(name))
	if key == "" || strings.ContainsAny(key, "/\x00") {
		return false
	}
	if old, twice := l.uids[key]; twice && old >= uid {
		return true // written twice by programs that did not see each other
	}
	l.uids[key] = uid
	if ext != "" {
		l.ext[uid] = ext
	}
	l.next = max(l.next, uid+1)
	return true
}

// begin makes the head of a list that has none.
func (l *uidlist) begin(validity uint32) {
	var g [16]byte
	rand.Read(g[:]) // never fails
	l.validity, l.next, l.guid = validity, 1, " G"+hex.EncodeToString(g[:])
}

// add gives UIDs to files, in this order, and writes them; keep tells which
// lines of the list still have a file. The caller holds the lock.
func (l *uidlist) add(bases []string, keep int) error {
	lines := make([]byte, 0, len(bases)*80)
	for _, b := range bases {
		l.uids[b] = l.next
		lines = fmt.Appendf(lines, "%d :%s\n", l.next, b)
		l.next++
	}
	// As in Dovecot, a list of which a quarter is dead is written anew.
	if l.broken || len(l.uids) > 100 && keep < len(l.uids)*3/4 {
		return errRewrite
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := disk.StatFile(f)
	if err == nil {
		if _, err = f.Write(lines); err == nil {
			err = f.Sync()
		}
		if err != nil {
			err = errors.Join(err, f.Truncate(st.Size))
		}
	}
	if err != nil {
		l.id = disk.ID{} // read again: what stands there is what counts
		return err
	}
	l.flushed++
	st, err = disk.StatFile(f)
	l.id = st.ID
	return err
}

// errRewrite asks the caller of add for rewrite.
var errRewrite = errors.New("the list must be written anew")

// rewrite replaces the list by one of the given files, which rise by UID. The
// caller holds the lock.
func (l *uidlist) rewrite(files []file) error {
	l.first = fmt.Sprintf("3 V%d N%d%s", l.validity, l.next, l.guid)
	b := append(append(make([]byte, 0, 64+len(files)*80), l.first...), '\n')
	for i := range files {
		f := &files[i]
		b = strconv.AppendUint(b, uint64(f.uid), 10)
		if e := l.ext[f.uid]; e != "" {
			b = append(append(b, ' '), e...)
		}
		b = append(append(append(b, " :"...), f.name...), '\n')
	}
	if err := disk.WriteFile(l.path, b, 0o600); err != nil {
		return err
	}
	st, err := disk.StatPath(l.path)
	if err != nil {
		return err
	}
	l.id, l.version, l.broken = st.ID, 3, false
	l.flushed++
	clear(l.uids)
	for i := range files {
		l.uids[base(files[i].name)] = files[i].uid
	}
	return nil
}
