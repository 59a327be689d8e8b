package mbox

import (
	"errors"
	"os"

	"packetboat/internal/store/mbox/journal"
)

// appendBuffer is how many octets wait in memory for one write(2).
const appendBuffer = 256 << 10

// errTooBig says that the mailbox would outgrow its limit.
var errTooBig = errors.New("mailbox size limit")

// appender writes behind the end of a file. Its first error stays; rollback
// takes back what was written since a position, in memory or on disk, and the
// error with it.
type appender struct {
	fs    journal.Files
	f     *os.File
	base  int64 // octets of the file: what is before has been written
	buf   []byte
	limit int64 // largest size of the file, 0 = none
	err   error
}

func (a *appender) pos() int64 { return a.base + int64(len(a.buf)) }

// Write takes p; its error stays, as that of a bufio.Writer.
func (a *appender) Write(p []byte) (int, error) {
	if len(a.buf)+len(p) > appendBuffer {
		a.flush()
	}
	if a.err == nil && a.limit > 0 && a.pos()+int64(len(p)) > a.limit {
		a.err = errTooBig
	}
	if a.err == nil {
		a.buf = append(a.buf, p...)
	}
	return len(p), a.err
}

// flush writes what waits.
func (a *appender) flush() error {
	if a.err == nil && len(a.buf) > 0 {
		a.err = a.fs.WriteAt(a.f, a.buf, a.base)
		if a.err == nil {
			a.base = a.pos()
			a.buf = a.buf[:0]
		}
	}
	return a.err
}

// rollback makes pos the end again. The error it returns is that of the disk:
// then the file holds a part of a message.
func (a *appender) rollback(pos int64) error {
	a.err = nil
	if pos >= a.base {
		a.buf = a.buf[:pos-a.base]
		return nil
	}
	a.buf = a.buf[:0]
	a.base = pos
	return a.fs.Truncate(a.f, pos)
}

// open makes sure that the next message begins behind an empty line, whatever
// another program left at the end of the file.
func (a *appender) open(size int64) error {
	a.base = size
	if size == 0 {
		return nil
	}
	var end [2]byte
	n := min(size, 2)
	if _, err := a.f.ReadAt(end[2-n:], size-n); err != nil {
		return err
	}
	if end[1] != '\n' {
		a.Write([]byte("\n"))
	}
	if end[1] != '\n' || end[0] != '\n' {
		a.Write([]byte("\n"))
	}
	return nil
}
