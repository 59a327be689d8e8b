package queue

import (
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
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

func sortedKeys(m map[int]string) []int {
	keys := make([]int, 0, len(m))
	for i := range m {
		keys = append(keys, i)
	}
	sort.Ints(keys)
	return keys
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
