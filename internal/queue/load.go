package queue

import (
	"bufio"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// Message is all that the queue knows of a message beside its bytes.
type Message struct {
	ID      string
	Folder  Folder
	Env     *mail.Envelope
	Size    int64     // octets of the message
	NextTry time.Time // of a deferred message; elsewhere when its file was last changed
	Expire  bool      // "postsuper -e": the next failure is the last one
	Warned  bool      // the sender has been told of the delay
}

// Load reads the envelope of a message. The error is fs.ErrNotExist when it is
// not there, *CorruptError when it cannot be read (see SetAside), and
// *disk.UntrustedError for what is no plain file.
func (q *Queue) Load(id string, st Folder) (*Message, error) {
	f, fi, err := q.open(id, st)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	env, t, warn, err := readEnvelope(f, fi.Size)
	if err != nil {
		return nil, corrupt(f.Name(), err)
	}
	return &Message{
		ID: id, Folder: st, Env: env, Size: t.off, NextTry: time.Unix(0, fi.Mtime),
		Expire: fi.Mode&expireBit != 0, Warned: warn,
	}, nil
}

// Check reads a whole message and holds it against its checksum. The error is
// *CorruptError for a file that a crash left torn while Commit was at it: see
// Recovered.Fresh.
func (q *Queue) Check(id string, st Folder) error {
	f, fi, err := q.open(id, st)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := readTail(f, fi.Size)
	if err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	if n, err := io.Copy(sum, io.NewSectionReader(f, 0, t.off)); err != nil || n != t.off {
		return errors.Join(err, &CorruptError{f.Name(), "the message cannot be read"})
	}
	if sum.Sum32() != t.body {
		return &CorruptError{f.Name(), "checksum of the message is wrong"}
	}
	return nil
}

// corrupt tells damage from a failing disk: only the first is the file's fault.
func corrupt(path string, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	return &CorruptError{path, err.Error()}
}

// open opens a queue file for reading, distrusting links.
func (q *Queue) open(id string, st Folder) (*os.File, disk.Stat, error) {
	if !ValidID(id) {
		return nil, disk.Stat{}, errBadID(id)
	}
	return disk.OpenStat(q.Path(id, st), os.O_RDONLY, -1)
}

// OpenContent opens the bytes of a message.
func (q *Queue) OpenContent(id string, st Folder) (mail.Content, error) {
	f, fi, err := q.open(id, st)
	if err != nil {
		return mail.Content{}, err
	}
	return content(f, fi.Size)
}

// OpenActive opens the bytes of a message of that size, which is being delivered
// from the folder first, also when an administrator has moved it meanwhile.
func (q *Queue) OpenActive(id string, first Folder, size int64) (mail.Content, error) {
	f, fi, err := q.openAny(id, first, os.O_RDONLY)
	if err == nil && fi.Size < size {
		f.Close()
		err = &CorruptError{q.Path(id, first), "too short"}
	}
	if err != nil {
		return mail.Content{}, err
	}
	return mail.Content{File: f, Len: size}, nil
}

func content(f *os.File, size int64) (mail.Content, error) {
	t, err := readTail(f, size)
	if err != nil {
		f.Close()
		return mail.Content{}, err
	}
	return mail.Content{File: f, Len: t.off}, nil
}

// SetAside moves a message that cannot be read to corrupt, where it waits for
// the administrator. Nothing is deleted.
func (q *Queue) SetAside(id string, from Folder) error { return q.Move(id, from, Corrupt) }

// writeReasons replaces the reasons of a message.
func (q *Queue) writeReasons(id string, reasons map[int]string) error {
	b := make([]byte, 0, 128*len(reasons))
	for _, i := range sortedKeys(reasons) {
		b = escapeText(strconv.AppendInt(b, int64(i), 10), reasons[i])
	}
	path := q.reasonPath(id)
	err := replaceFile(path, b)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDir(path[:len(path)-len(id)-1]); err == nil {
			err = replaceFile(path, b)
		}
	}
	return err
}

// replaceFile writes path anew. The folder is ours alone, but a link in it is
// still not followed: the old name goes first.
func replaceFile(path string, b []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func sortedKeys(m map[int]string) []int {
	keys := make([]int, 0, len(m))
	for i := range m {
		keys = append(keys, i)
	}
	sort.Ints(keys)
	return keys
}

// escapeText writes one line; spaces stay readable.
func escapeText(b []byte, s string) []byte {
	for word := range strings.SplitSeq(s, " ") {
		b = escape(append(b, ' '), word)
	}
	return append(b, '\n')
}

// maxReasons is how much of a file of reasons is read, in bytes.
const maxReasons = 16 << 20

// Reasons returns why recipients were deferred at the last try, by index. A
// missing or damaged file gives what can be read of it.
func (q *Queue) Reasons(id string) map[int]string {
	if !ValidID(id) {
		return nil
	}
	f, err := disk.OpenTrusted(q.reasonPath(id), os.O_RDONLY, -1)
	if err != nil {
		return nil
	}
	defer f.Close()
	out := map[int]string{}
	sc := bufio.NewScanner(io.LimitReader(f, maxReasons))
	sc.Buffer(make([]byte, 0, 4<<10), 1<<20)
	for sc.Scan() {
		num, text, _ := strings.Cut(sc.Text(), " ")
		i, err := strconv.Atoi(num)
		if text, err2 := unescape(text); err == nil && err2 == nil {
			out[i] = text
		}
	}
	return out
}

// ReadFile reads a queue file that is open already, whatever its name: for
// postcat(1). The content stays open with f.
func ReadFile(f *os.File) (*Message, mail.Content, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, mail.Content{}, err
	}
	env, t, warn, err := readEnvelope(f, fi.Size())
	if err != nil {
		return nil, mail.Content{}, corrupt(f.Name(), err)
	}
	m := &Message{ID: filepath.Base(f.Name()), Env: env, Size: t.off, NextTry: fi.ModTime(), Warned: warn}
	return m, mail.Content{File: f, Len: t.off}, nil
}
