// Package journal changes an mbox so that a crash leaves the old or the new one.
//
// A journal holds the new tail of an mbox whose messages move: it is written
// and flushed beside the mailbox, given its name, and only then is the mailbox
// itself touched. Whoever finds a journal of its name does the rest again.
//
//	step                                  a crash here leaves
//	1 write .NAME.journal.new             the old mailbox; the file is overwritten next time
//	2 flush it, rename to .NAME.journal   the old mailbox, or the journal and so the new one
//	3 copy its tail into the mailbox      the journal: recovered = new mailbox
//	4 cut the mailbox, flush it           the journal: recovered = new mailbox
//	5 remove the journal, flush folder    the new mailbox
//
// The dead writer's dotlock keeps other programs away between 3 and 5, until
// we come back: every one of our programs recovers right after it took the
// locks, before it reads a byte. The mailbox is never replaced by rename:
// Postfix and Dovecot may wait for the lock of this very inode, and would
// append to a file that has no name any more.
package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"packetboat/internal/sys/disk"
)

const (
	journalMagic  = "packetboat mbox journal 1"
	journalHeader = 160 // octets, blank padded: the tail begins here
	CopyChunk     = 256 << 10
)

// PatchBase in place of a base says that the journal's tail is a list of
// patches: offset and length in eight octets each, then the data. The file
// keeps its length.
const PatchBase = -1

// Name returns where the journal of the mailbox at path stands: beside
// it, or in the control folder where the mailbox's own is not writable.
func Name(path, control string) string {
	dir, name := filepath.Split(path)
	if control != "" {
		dir = control
	}
	return filepath.Join(dir, "."+name+".journal")
}

// Pending tells whether a journal waits for recovery.
func Pending(path, control string) bool {
	for _, dir := range []string{"", control} {
		if _, err := os.Lstat(Name(path, dir)); err == nil {
			return true
		}
	}
	return false
}

// Journal is one being written.
type Journal struct {
	fs   Files
	f    *os.File
	path string
	out  *tailWriter
	w    *bufio.Writer
	crc  uint32
}

// New begins a journal beside the mailbox. Where the folder is not
// ours to write (EACCES) it stands in control.
func New(sys Files, path, control string) (*Journal, error) {
	name := Name(path, "")
	f, err := sys.Create(name + ".new")
	if disk.Denied(err) && control != "" {
		name = Name(path, control)
		f, err = sys.Create(name + ".new")
	}
	if err != nil {
		return nil, err
	}
	j := &Journal{fs: sys, f: f, path: name}
	j.out = &tailWriter{fs: sys, f: f, off: journalHeader}
	j.w = bufio.NewWriterSize(j.out, CopyChunk)
	return j, nil
}

// Close closes the journal's file.
func (j *Journal) Close() error { return j.f.Close() }

// Write adds p to the tail.
func (j *Journal) Write(p []byte) (int, error) {
	j.crc = crc32.Update(j.crc, table(), p)
	return j.w.Write(p)
}

// table is made when it is wanted: that takes a quarter of a millisecond.
func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// tailWriter writes behind a journal's head.
type tailWriter struct {
	fs  Files
	f   *os.File
	off int64
}

func (t *tailWriter) Write(p []byte) (int, error) {
	if err := t.fs.WriteAt(t.f, p, t.off); err != nil {
		return 0, err
	}
	t.off += int64(len(p))
	return len(p), nil
}

// Patch adds one patch to the tail.
func (j *Journal) Patch(p Patch) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Off))
	b = binary.BigEndian.AppendUint64(b, uint64(len(p.Data)))
	_, err := j.Write(append(b, p.Data...))
	return err
}

// applyPatches writes the patches of a journal, which begin at at, into the
// mailbox.
func (p plan) applyPatches(sys Files, j io.ReaderAt, at int64, f *os.File, size int64) error {
	for at < journalHeader+p.tail {
		var head [16]byte
		if err := ReadFull(j, head[:], at); err != nil {
			return err
		}
		off, n := binary.BigEndian.Uint64(head[:]), binary.BigEndian.Uint64(head[8:])
		if off > uint64(size) || n > uint64(size)-off {
			return errors.New("a journal does not fit its mailbox")
		}
		data := make([]byte, n)
		if err := ReadFull(j, data, at+16); err != nil {
			return err
		}
		if err := sys.WriteAt(f, data, int64(off)); err != nil {
			return err
		}
		at += 16 + int64(n)
	}
	return sys.Sync(f)
}

// Commit makes the journal count: from here on the mailbox is the new one.
// The tail belongs at base of the mailbox f.
func (j *Journal) Commit(f *os.File, base int64) error {
	err := j.w.Flush()
	st, serr := disk.StatFile(f)
	head := fmt.Sprintf("%s\ninode %d\nbase %d\nold %d\ntail %d\ncrc %d\n", journalMagic,
		st.Ino, base, st.Size, j.out.off-journalHeader, j.crc)
	if err == nil && serr == nil {
		err = j.fs.WriteAt(j.f, fmt.Appendf(nil, "%-*s", journalHeader, head), 0)
	}
	if err = errors.Join(err, serr); err == nil {
		err = j.fs.Sync(j.f)
	}
	if err == nil {
		err = j.fs.Rename(j.path+".new", j.path)
	}
	if err == nil {
		err = j.fs.SyncDir(filepath.Dir(j.path))
	}
	return err
}

// Abort throws the journal away before commit.
func (j *Journal) Abort() {
	j.f.Close()
	j.fs.Remove(j.path + ".new")
}

// plan is the head of a journal.
type plan struct {
	inode           uint64
	base, old, tail int64
	crc             uint32
}

func readPlan(r io.ReaderAt) (plan, bool) {
	b := make([]byte, journalHeader)
	if _, err := r.ReadAt(b, 0); err != nil {
		return plan{}, false
	}
	var p plan
	_, err := fmt.Sscanf(string(b), journalMagic+"\ninode %d\nbase %d\nold %d\ntail %d\ncrc %d\n",
		&p.inode, &p.base, &p.old, &p.tail, &p.crc)
	return p, err == nil && p.base >= CutBase && p.tail >= 0 && p.old >= p.base
}

// Recover finishes what a journal beside the mailbox, or in control,
// promises, and tells whether there was one. The caller holds the mailbox's
// locks. Without a journal it costs one system call.
func Recover(sys Files, path, control string, f *os.File) (found bool, err error) {
	dirs := []string{""}
	if control != "" {
		dirs = append(dirs, control)
	}
	for _, dir := range dirs {
		name := Name(path, dir)
		j, err := disk.OpenTrusted(name, os.O_RDONLY, -1)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, err
		}
		done, err := replayFile(sys, name, j, f)
		found = found || done
		j.Close()
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// replayFile applies the journal j of a process that died, and removes it. One
// that is torn or of another file is removed unread; one that another user than
// the mailbox's owner, root or us made is nobody's business and stays.
func replayFile(sys Files, name string, j, f *os.File) (done bool, err error) {
	jst, err1 := disk.StatFile(j)
	mst, err2 := disk.StatFile(f)
	if err := errors.Join(err1, err2); err != nil {
		return false, err
	}
	trusted := jst.UID == mst.UID || jst.UID == 0 || jst.UID == os.Geteuid()
	if !trusted {
		return false, nil
	}
	if p, ok := readPlan(j); ok && p.inode == mst.Ino && p.sound(j) {
		if err := p.apply(sys, j, f, mst.Size); err != nil && !errors.Is(err, ErrNoCut) {
			return false, err
		}
	}
	return true, dropJournal(sys, name)
}

// Apply finishes a journal that was just committed.
func (j *Journal) Apply(f *os.File) error {
	p, ok := readPlan(j.f)
	if !ok || !p.sound(j.f) {
		return errors.New("the journal does not read back as it was written")
	}
	err := p.apply(j.fs, j.f, f, p.old)
	if err != nil && !errors.Is(err, ErrNoCut) {
		return err
	}
	return errors.Join(err, dropJournal(j.fs, j.path))
}

func dropJournal(sys Files, name string) error {
	if err := sys.Remove(name); err != nil {
		return err
	}
	return sys.SyncDir(filepath.Dir(name))
}

// sound checks the tail against its checksum.
func (p plan) sound(j io.ReaderAt) bool {
	h := crc32.New(table())
	n, err := io.Copy(h, bufio.NewReaderSize(io.NewSectionReader(j, journalHeader, p.tail), CopyChunk))
	return err == nil && n == p.tail && h.Sum32() == p.crc
}

// Apply copies the tail to its place and cuts the file behind it. What another
// program appended behind the old end meanwhile is kept: it moves behind the
// new end.
func (p plan) apply(sys Files, j io.ReaderAt, f *os.File, size int64) error {
	if p.base == PatchBase {
		return p.applyPatches(sys, j, journalHeader, f, size)
	}
	if p.base == CutBase {
		return p.applyCuts(sys, j, f)
	}
	end := p.base + p.tail
	if size < p.old {
		// It was cut before; what stands behind the new end came later.
		if err := copyTo(sys, f, p.base, io.NewSectionReader(j, journalHeader, p.tail)); err != nil {
			return err
		}
		return sys.Sync(f)
	}
	extra, err := p.surplus(f, size)
	if err != nil {
		return err
	}
	if err := copyTo(sys, f, p.base, io.NewSectionReader(j, journalHeader, p.tail)); err != nil {
		return err
	}
	if len(extra) > 0 {
		if err := sys.WriteAt(f, extra, end); err != nil {
			return err
		}
	}
	if err := sys.Truncate(f, end+int64(len(extra))); err != nil {
		return err
	}
	return sys.Sync(f)
}

// maxSurplus bounds what surplus holds in memory; a program that appended more
// than this to a locked mailbox between a crash and the next login is not known.
const maxSurplus = 64 << 20

// surplus returns what was appended behind both the old and the new end.
func (p plan) surplus(f *os.File, size int64) ([]byte, error) {
	from := max(p.old, p.base+p.tail)
	if size <= from {
		return nil, nil
	}
	if size-from > maxSurplus {
		return nil, errors.New("more was appended to the mailbox than a recovery moves")
	}
	b := make([]byte, size-from)
	_, err := f.ReadAt(b, from)
	return b, err
}

// copyTo writes all of r at off.
func copyTo(sys Files, f *os.File, off int64, r io.Reader) error {
	buf := make([]byte, CopyChunk)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if werr := sys.WriteAt(f, buf[:n], off); werr != nil {
				return werr
			}
			off += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
