package queue

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// bufSize is what a Writer gathers before it writes, in bytes: a usual message
// with its envelope leaves in one write(2).
const bufSize = 64 << 10

// tempPrefix begins the name of a file that is being written. An id never
// begins so, which is how a new start knows what was never acknowledged.
const tempPrefix = "tmp."

// Writer writes one message into the queue. It is used by one goroutine, and
// ended by Commit or Abort.
type Writer struct {
	q    *Queue
	f    *disk.File
	at   Folder // where the unfinished file is,
	name string // and its name there
	id   string
	buf  *[bufSize]byte
	n    int    // bytes in buf
	size int64  // bytes of the message so far
	sum  uint32 // checksum of those before buf[seen]
	seen int
	err  error // the first failure; all later calls return it
}

// Create makes an unfinished file in incoming. Errors are temporary
// *mail.Status (4.3.1): the disk is full or broken.
func (q *Queue) Create() (*Writer, error) {
	if err := q.step("create"); err != nil {
		return nil, full(err)
	}
	f, name, err := q.temp()
	if err != nil {
		return nil, full(err)
	}
	w := &Writer{q: q, f: f, name: name, buf: q.buffers.Get().(*[bufSize]byte)}
	st, err := f.Stat()
	if err != nil {
		w.Abort()
		return nil, full(err)
	}
	w.id = q.makeID(time.Now(), st.Ino)
	return w, nil
}

// temp makes a file under a temporary name.
func (q *Queue) temp() (*disk.File, string, error) {
	for try := 0; ; try++ {
		name := tempPrefix + q.pid + "." + strconv.FormatUint(q.serial.Add(1), 16)
		f, err := q.dirs[Incoming].Create(name, fileMode)
		// A file of an earlier process with our pid may be left: take the next name.
		if err == nil || !errors.Is(err, os.ErrExist) || try > 1000 {
			return f, name, err
		}
	}
}

// ID returns the queue id that the message has once it is committed.
func (w *Writer) ID() string { return w.id }

// Size returns the number of bytes written so far.
func (w *Writer) Size() int64 { return w.size }

// Write adds bytes of the message (LF line ends). Errors are temporary
// *mail.Status; after one the message can only be aborted.
func (w *Writer) Write(p []byte) (int, error) {
	n := w.put(p)
	w.size += int64(n)
	return n, w.err
}

// WriteString is Write without a copy by the caller.
func (w *Writer) WriteString(s string) (int, error) {
	for done := 0; done < len(s); {
		if w.err != nil {
			return done, w.err
		}
		n := copy(w.buf[w.n:], s[done:])
		w.n += n
		w.size += int64(n)
		done += n
		if w.n == bufSize {
			w.flush()
		}
	}
	return len(s), w.err
}

// put gathers p in the buffer; it does not count it as message bytes.
func (w *Writer) put(p []byte) int {
	done := 0
	for done < len(p) && w.err == nil {
		n := copy(w.buf[w.n:], p[done:])
		w.n += n
		done += n
		if w.n == bufSize {
			w.flush()
		}
	}
	return done
}

// flush writes out the buffer and remembers a failure.
func (w *Writer) flush() {
	if w.err != nil || w.n == 0 {
		return
	}
	w.count()
	err := w.q.step("write")
	if err == nil {
		_, err = w.f.Write(w.buf[:w.n])
	}
	w.n, w.seen = 0, 0
	if err != nil {
		w.err = full(err)
	}
}

// count takes what is new in the buffer into the checksum of the message.
func (w *Writer) count() {
	w.sum = crc32.Update(w.sum, castagnoli, w.buf[w.seen:w.n])
	w.seen = w.n
}

// Commit writes the envelope and returns when message and name are on disk:
// this is the promise that "250 queued as" makes. After an error (a temporary
// *mail.Status) nothing is left of the message.
func (w *Writer) Commit(env *mail.Envelope) error { return w.commit(env, Incoming) }

// CommitHold is Commit into the hold folder (the HOLD action of access(5)): the
// scheduler is not told of it.
func (w *Writer) CommitHold(env *mail.Envelope) error { return w.commit(env, Hold) }

func (w *Writer) commit(env *mail.Envelope, to Folder) error {
	if w.buf == nil {
		return errors.New("queue: commit after the end")
	}
	w.envelope(env)
	w.flush()
	if w.err == nil {
		w.err = w.durable(to)
	}
	if w.err != nil {
		err := w.err
		w.Abort()
		return err
	}
	w.end()
	return nil
}

// durable brings the file to disk under its final name.
//
// New mail gets its name first: then one fsync, and so one write of the file
// system's journal, brings both to disk. Until it returns, the file of that name
// may be torn by a crash; nobody was told of it, and Check finds it out. A held
// message is not looked at again before it is released, so its file is whole
// before it has a name.
func (w *Writer) durable(to Folder) error {
	order := [...]string{"rename", "fsync", "dirsync"}
	if to == Hold {
		order = [...]string{"fsync", "rename", "dirsync"}
	}
	for _, step := range order {
		err := w.q.step(step)
		switch {
		case err != nil:
		case step == "rename":
			err = w.rename(to)
		case step == "fsync":
			err = w.f.Sync()
		case to == Hold || !w.q.follow:
			err = w.q.dirs[to].Sync()
		}
		if err != nil {
			return full(err)
		}
	}
	return nil
}

// rename gives the file its id as its name.
func (w *Writer) rename(to Folder) error {
	err := w.q.dirs[Incoming].Rename(w.name, w.q.dirs[to], w.id)
	if err == nil {
		w.at, w.name = to, w.id
	}
	return err
}

// envelope appends records, states and trailer behind the message's bytes.
func (w *Writer) envelope(env *mail.Envelope) {
	w.count()
	body, sum := w.sum, uint32(0)
	var scratch [1024]byte
	emit := func(b []byte) {
		sum = crc32.Update(sum, castagnoli, b)
		w.put(b)
	}
	emit(appendHead(scratch[:0], env))
	for i := range env.Rcpts {
		emit(appendRcpt(scratch[:0], &env.Rcpts[i]))
	}
	w.put([]byte{unwarned})
	for i := range env.Rcpts {
		w.put([]byte{byte(stateOf(env.Rcpts[i].State))})
	}
	w.put(appendTrailer(scratch[:0], tail{off: w.size, rcpts: len(env.Rcpts), sum: sum, body: body}))
}

// Abort removes the unfinished file. It does nothing after Commit.
func (w *Writer) Abort() {
	if w.buf == nil {
		return
	}
	if w.q.step("abort") == nil {
		w.q.dirs[w.at].Remove(w.name)
	}
	w.end()
}

// end gives back the buffer and the descriptor.
func (w *Writer) end() {
	w.f.Close()
	w.q.buffers.Put(w.buf)
	w.buf = nil
	if w.err == nil {
		w.err = errors.New("queue: write after the end")
	}
}

// full says that the queue could not be written: RFC 3463 X.3.1, mail system
// full, and 452 of RFC 5321 section 4.2.2. Every failure to write (no space, no
// quota, a broken disk) may be over later, so none is permanent. The cause stays
// in the error's chain for the log.
func full(err error) error {
	if err == nil {
		return nil
	}
	s := mail.Defer("4.3.1", "Insufficient system storage").WithReply(452)
	return &WriteError{Status: s, Cause: err}
}

// WriteError is a failure to write the queue. It is a temporary *mail.Status
// for the sender, and tells the cause to the log.
type WriteError struct {
	Status *mail.Status
	Cause  error
}

// Error tells the cause, for the log of this system.
func (e *WriteError) Error() string { return fmt.Sprintf("queue file write error: %v", e.Cause) }

// Unwrap gives both to errors.Is and errors.As.
func (e *WriteError) Unwrap() []error { return []error{e.Status, e.Cause} }
