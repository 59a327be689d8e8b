// Package uidlist reads and writes the files that say what stands in a Maildir:
// dovecot-uidlist, dovecot-keywords, and the names of the messages' files. They
// are Dovecot's, byte for byte, because both programs look after one mailbox in
// turn and at once. Package maildir is its only caller.
package uidlist

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
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
	FileName = "dovecot-uidlist"

	// MaxLine bounds one line, maxLines the list: 10 million messages in a folder.
	MaxLine  = 4096
	maxLines = 10_000_000

	// StaleLock is how old a lock must be to be broken, as in Dovecot.
	StaleLock = 120 * time.Second
)

// List is what is known of the file dovecot-uidlist.
type List struct {
	Path     string
	ID       disk.ID // of the file as it was read; zero = there is none
	Validity uint32
	Next     uint32 // UIDNEXT
	guid     string // and whatever else the head names; kept as it is
	first    string // the first line
	version  int
	Broken   bool // must be written anew
	Flushed  int  // how often we brought it to disk

	UIDs map[string]uint32 // by base
	Ext  map[uint32]string // other fields of a line, as they are: "W2481 P5"
}

// Load reads the list if it changed since it was read.
func (l *List) Load() error {
	f, st, err := disk.OpenStat(l.Path, os.O_RDONLY, -1)
	if errors.Is(err, fs.ErrNotExist) {
		l.vanished()
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if st.ID == l.ID {
		return nil
	}
	if tail := l.grown(f, st); tail > 0 {
		return l.read(f, st, tail)
	}
	return l.read(f, st, 0)
}

// vanished: somebody removed the list, which means that all UIDs are void.
func (l *List) vanished() {
	if l.ID != (disk.ID{}) || l.UIDs == nil {
		*l = List{Path: l.Path, Flushed: l.Flushed, Broken: true, UIDs: map[string]uint32{}, Ext: map[uint32]string{}}
	}
}

// grown returns where the file goes on that was read before, 0 if it is another one.
func (l *List) grown(f *os.File, st disk.Stat) int64 {
	if st.Ino != l.ID.Ino || st.Dev != l.ID.Dev || st.Size <= l.ID.Size || l.Broken || l.ID.Size == 0 {
		return 0
	}
	// Another list may have got the number of the one that it replaced.
	begin, last := make([]byte, len(l.first)+1), make([]byte, 1)
	_, err1 := f.ReadAt(begin, 0)
	_, err2 := f.ReadAt(last, l.ID.Size-1)
	if err1 != nil || err2 != nil || last[0] != '\n' || string(begin) != l.first+"\n" {
		return 0
	}
	return l.ID.Size
}

// read reads the list from an offset on; 0 begins anew.
func (l *List) read(f *os.File, st disk.Stat, from int64) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, st.Size-from), 64<<10)
	if from == 0 {
		*l = List{Path: l.Path, Flushed: l.Flushed, UIDs: map[string]uint32{}, Ext: map[uint32]string{}}
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		l.first = string(bytes.TrimRight(line, "\n"))
		if !l.head(l.first) {
			l.Broken = true
			return nil
		}
	}
	for len(l.UIDs) < maxLines {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			l.Broken = l.Broken || len(line) > 0 // somebody died while writing
			break
		}
		if err != nil || !l.entry(line[:len(line)-1]) {
			l.Broken = true
			break
		}
	}
	l.ID = st.ID
	return nil
}

// head reads the first line.
func (l *List) head(line string) bool {
	words := strings.Fields(line)
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "1":
		if len(words) != 3 {
			return false
		}
		l.version, l.Broken = 1, true // is written in version 3
		l.Validity, l.Next = number(words[1]), number(words[2])
	case "3":
		l.version = 3
		for _, w := range words[1:] {
			switch w[0] {
			case 'V':
				l.Validity = number(w[1:])
			case 'N':
				l.Next = number(w[1:])
			default:
				l.guid += " " + w
			}
		}
	}
	return l.version != 0 && l.Validity != 0 && l.Next != 0
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
func (l *List) entry(line []byte) bool {
	num, rest, ok := bytes.Cut(line, []byte(" "))
	uid := number(string(num))
	if !ok || uid == 0 || uid == 1<<32-1 || len(line) > MaxLine {
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
	key := Base(string(name))
	if key == "" || strings.ContainsAny(key, "/\x00") {
		return false
	}
	if old, twice := l.UIDs[key]; twice && old >= uid {
		return true // written twice by programs that did not see each other
	}
	l.UIDs[key] = uid
	if ext != "" {
		l.Ext[uid] = ext
	}
	l.Next = max(l.Next, uid+1)
	return true
}

// Begin makes the head of a list that has none.
func (l *List) Begin(validity uint32) {
	var g [16]byte
	rand.Read(g[:]) // never fails
	l.Validity, l.Next, l.guid = validity, 1, " G"+hex.EncodeToString(g[:])
}

// GUID returns the mailbox's id out of the head, 32 hex digits; empty where it has none.
func (l *List) GUID() string {
	for w := range strings.FieldsSeq(l.guid) {
		if _, err := hex.DecodeString(w[1:]); w[0] == 'G' && len(w) == 33 && err == nil {
			return w[1:]
		}
	}
	return ""
}

// Add gives UIDs to files, in this order, and writes them; keep tells which
// lines of the list still have a file. The caller holds the lock.
func (l *List) Add(bases []string, keep int) error {
	lines := make([]byte, 0, len(bases)*80)
	for _, b := range bases {
		l.UIDs[b] = l.Next
		lines = fmt.Appendf(lines, "%d :%s\n", l.Next, b)
		l.Next++
	}
	// As in Dovecot, a list of which a quarter is dead is written anew.
	if l.Broken || len(l.UIDs) > 100 && keep < len(l.UIDs)*3/4 {
		return ErrRewrite
	}
	f, err := disk.OpenFile(l.Path, os.O_WRONLY|os.O_APPEND, 0)
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
		l.ID = disk.ID{} // read again: what stands there is what counts
		return err
	}
	l.Flushed++
	st, err = disk.StatFile(f)
	l.ID = st.ID
	return err
}

// ErrRewrite asks the caller of add for rewrite.
var ErrRewrite = errors.New("the list must be written anew")

// Rewrite replaces the list by one of the given UIDs and names, which rise by
// UID. The caller holds the lock.
func (l *List) Rewrite(files iter.Seq2[uint32, string]) error {
	l.first = fmt.Sprintf("3 V%d N%d%s", l.Validity, l.Next, l.guid)
	b := append(append(make([]byte, 0, 64+len(l.UIDs)*80), l.first...), '\n')
	for uid, name := range files {
		b = strconv.AppendUint(b, uint64(uid), 10)
		if e := l.Ext[uid]; e != "" {
			b = append(append(b, ' '), e...)
		}
		b = append(append(append(b, " :"...), name...), '\n')
	}
	if err := disk.WriteFile(l.Path, b, 0o600); err != nil {
		return err
	}
	st, err := disk.StatPath(l.Path)
	if err != nil {
		return err
	}
	l.ID, l.version, l.Broken = st.ID, 3, false
	l.Flushed++
	clear(l.UIDs)
	for uid, name := range files {
		l.UIDs[Base(name)] = uid
	}
	return nil
}

// Size returns the octets with CRLF line ends that the line of a UID tells (its
// field W), -1 without one.
func (l *List) Size(uid uint32) int64 {
	for w := range strings.FieldsSeq(l.Ext[uid]) {
		if w[0] == 'W' {
			return field(",W="+w[1:], ",W=")
		}
	}
	return -1
}
