package mbox

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/sys/disk"
)

// DeliverOptions says how Deliver opens and locks a mailbox. The zero value
// accepts a mailbox of any owner and size.
type DeliverOptions struct {
	User  string        // for texts: whose mailbox it is
	UID   int           // with Owner: who must own the mailbox
	Owner bool          `main:"strict_mailbox_ownership"` // refuse a mailbox that UID does not own
	Limit int64         `main:"mailbox_size_limit"`       // octets; 0 = none
	Wait  time.Duration // for locks; 0 = 20 s (deliver_lock_attempts x deliver_lock_delay)
	Stale time.Duration `main:"stale_lock_time"`
	// Wanted, if not nil, is asked once the mailbox is locked, which may be long
	// after the mail came: false leaves the mailbox as it is and defers all of it.
	Wanted func() bool
	// Open, if not nil, gives the file, open for reading and writing, where the caller
	// has no right to open it. It stays Open's, which is asked before every batch, and
	// again when the path has come to name another file.
	Open func() (*os.File, error)
	// Scratch, if not nil, is used again by each of several calls that follow each
	// other: a process that delivers small messages all day makes no garbage of them.
	Scratch *Scratch
}

// Scratch are the buffers of a call of Deliver. The zero value is good. It serves
// one call at a time.
type Scratch struct {
	in  *bufio.Reader
	out []byte
}

// maxScratch is the largest buffer that is kept, in octets.
const maxScratch = 64 << 10

// reader returns the buffer that messages are read through.
func (s *Scratch) reader() *bufio.Reader {
	if s.in == nil {
		s.in = bufio.NewReaderSize(nil, readBuffer)
	}
	return s.in
}

// keep keeps what has been made or has grown for the next call.
func (s *Scratch) keep(a *appender) {
	s.in.Reset(nil)
	if cap(a.buf) <= maxScratch {
		s.out = a.buf[:0]
	}
}

// Delivery is one message for a mailbox, with what its envelope adds.
type Delivery struct {
	Sender     mail.Address // envelope sender, for the From_ line; empty = MAILER-DAEMON
	ReturnPath bool         // write Return-Path:
	OrigTo     string       // X-Original-To:, empty = none
	To         string       // Delivered-To:, empty = none
	Date       time.Time    // of the From_ line; zero = now
	Body       io.Reader    // header and body
	CRLF       bool         // Body has CRLF line ends, which become LF
}

// Deliver appends messages to the mbox at path under one lock and with one
// flush: nil in the result says that the message is on disk. Every other
// result is a *mail.Status. A message that could not be written whole is not
// there at all: the file is cut back to where it began. A missing mailbox is
// made with mode 0600. Links, pipes and foreign files are refused with the
// texts of Postfix's local(8).
func Deliver(path string, o DeliverOptions, msgs []Delivery) []error {
	return deliver(journal.Disk{}, path, o, msgs)
}

func deliver(sys journal.Files, path string, o DeliverOptions, msgs []Delivery) []error {
	b := batch{o: o, path: path, msgs: msgs, ends: make([]int64, len(msgs)), errs: make([]error, len(msgs))}
	err := b.run(sys)
	for tries := 0; errors.Is(err, errReplaced) && tries < 3; tries++ {
		err = b.run(sys) // nothing was read from the messages yet
	}
	if err != nil {
		b.fail(-1, err)
	}
	return b.errs
}

// batch is one call of Deliver.
type batch struct {
	o    DeliverOptions
	path string
	msgs []Delivery
	ends []int64 // where each message ends in the file, once it was copied
	errs []error
}

// run does the work; its error stands for all messages that have none.
func (b *batch) run(sys journal.Files) (err error) {
	f, done, err := openToWrite(b.path, b.o)
	if err != nil {
		return err
	}
	defer done()
	lock, err := lockForAppend(sys, b.path, f, b.o, b.dates())
	if err != nil {
		return err
	}
	defer func() {
		if uerr := lock.Unlock(); err == nil {
			err = uerr // whoever finds the lock would take the messages back
		}
	}()
	if b.o.Wanted != nil && !b.o.Wanted() {
		return errUnwanted
	}
	st, err := disk.StatFile(f)
	if err != nil {
		return err
	}
	mem := b.o.Scratch
	if mem == nil {
		mem = &Scratch{}
	}
	if mem.out == nil {
		mem.out = make([]byte, 0, writeBuffer)
	}
	a := &appender{fs: sys, f: f, limit: b.o.Limit, buf: mem.out}
	if err := a.open(st.Size); err != nil {
		return err
	}
	r := mem.reader()
	defer mem.keep(a)
	if err := b.copyAll(a, r); err != nil {
		b.fail(a.base, err)
	}
	return b.commit(sys, a, f, st)
}

// dates settles the date of every From_ line and returns them.
func (b *batch) dates() []int64 {
	now := time.Now()
	list := make([]int64, len(b.msgs))
	for i := range b.msgs {
		if b.msgs[i].Date.IsZero() {
			b.msgs[i].Date = now
		}
		list[i] = b.msgs[i].Date.Unix()
	}
	return list
}

// copyAll copies the messages into a. A message that cannot be read, or that
// does not fit the limit, is taken back alone; the error of the disk ends the batch.
func (b *batch) copyAll(a *appender, r *bufio.Reader) error {
	for i := range b.msgs {
		start := a.pos()
		err := appendOne(a, r, &b.msgs[i])
		var rerr *format.ReadError
		if errors.As(err, &rerr) || errors.Is(err, errTooBig) {
			b.errs[i] = b.o.status(b.path, err)
			err = a.rollback(start)
		}
		if err != nil {
			return err
		}
		if b.errs[i] == nil {
			b.ends[i] = a.pos()
		}
	}
	return a.flush()
}

// fail marks what is not whole in the first base octets of the file.
func (b *batch) fail(base int64, err error) {
	st := b.o.status(b.path, err)
	for i := range b.errs {
		if b.errs[i] == nil && (b.ends[i] == 0 || b.ends[i] > base) {
			b.errs[i] = st
		}
	}
}

// commit cuts the file behind the last whole message and flushes it.
func (b *batch) commit(sys journal.Files, a *appender, f *os.File, old disk.Stat) error {
	end := old.Size
	for i := range b.errs {
		if b.errs[i] == nil {
			end = max(end, b.ends[i])
		}
	}
	now, err := disk.StatFile(f)
	if err == nil && now.Size > end {
		err = sys.Truncate(f, end)
	}
	if err == nil && end > old.Size {
		err = sys.Sync(f)
	}
	if err != nil {
		return errors.Join(err, sys.Truncate(f, old.Size))
	}
	if end > old.Size {
		keepNew(b.path, f)
	}
	return nil
}

// Sizes of the buffers that a batch begins with: that of messages on their way in,
// and that of what is to be written, which grows to appendBuffer. Most batches are
// one small message, and a deliver that waits for the next one should be small.
const (
	readBuffer  = 8 << 10
	writeBuffer = 8 << 10
)

func appendOne(a *appender, r *bufio.Reader, d *Delivery) error {
	head := format.AppendFrom(make([]byte, 0, 256), format.EnvelopeSender(string(d.Sender)), d.Date)
	if d.ReturnPath {
		head = appendHeader(head, "Return-Path", "<"+d.Sender.Quoted()+">")
	}
	if d.OrigTo != "" {
		head = appendHeader(head, "X-Original-To", d.OrigTo)
	}
	if d.To != "" {
		head = appendHeader(head, "Delivered-To", d.To)
	}
	a.Write(head)
	r.Reset(d.Body)
	_, err := format.CopyMessage(a, r, d.CRLF, nil)
	if err != nil {
		return err
	}
	return a.err
}

// appendHeader writes one header line; an octet that would end it becomes "_".
func appendHeader(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c < ' ' || c == 0x7f {
			c = '_'
		}
		b = append(b, c)
	}
	return append(b, '\n')
}

// openToWrite opens the mailbox, or makes it. done ends its use.
func openToWrite(path string, o DeliverOptions) (f *os.File, done func(), err error) {
	if o.Open != nil {
		f, err = o.Open()
		return f, func() {}, err
	}
	uid := -1
	if o.Owner {
		uid = o.UID
	}
	f, err = disk.OpenMailbox(path, uid)
	return f, func() { f.Close() }, err
}

// lockForAppend locks the mailbox, repairs what a crash left, and makes sure
// that the locked file is still the one of that name: Python's mailbox
// replaces the file.
func lockForAppend(sys journal.Files, path string, f *os.File, o DeliverOptions, dates []int64) (*disk.MailboxLock, error) {
	for {
		lock, err := disk.LockMailbox(context.Background(), path, f, disk.LockOptions{Wait: o.Wait, Stale: o.Stale,
			Note: func() string { return appendNote(path, "", f, dates) }, Dead: func(note string) { undoAppend(sys, f, note) },
			Spare: func() bool { return o.Open != nil && journal.Pending(path, "") }})
		if err != nil {
			return nil, err
		}
		moved := false
		if err = sameFile(path, f); err == nil {
			moved, err = journal.Recover(sys, path, "", f)
		}
		if err == nil && !moved {
			return lock, nil
		}
		lock.Unlock() // and once more: the note could not name the size
		if err != nil {
			return nil, err
		}
	}
}

// sameFile tells whether path still names the open file f, and nothing else
// does. The count of names that openToWrite and StatPath see is not enough: a
// hard link to a file of the user's can lose its second name just before they
// are counted.
func sameFile(path string, f *os.File) error {
	ours, err := disk.StatFile(f)
	if err != nil {
		return err
	}
	named, err := disk.StatPath(path)
	if err != nil || ours.Ino != named.Ino || ours.Dev != named.Dev {
		return errReplaced
	}
	sole, err := disk.SoleName(f)
	if err == nil && !sole {
		err = errReplaced
	}
	return err
}

// errUnwanted says that the sender went while we waited for the lock.
var errUnwanted = errors.New("the client is gone")

// errReplaced says that the file was replaced while we waited for its lock.
var errReplaced = errors.New("file status changed unexpectedly")

// keepNew makes the modification time younger than the access time, the sign
// of new mail for shells and mutt, where both fell into one tick of the clock.
func keepNew(path string, f *os.File) {
	st, err := disk.StatFile(f)
	if err != nil || st.Atime < st.Mtime || disk.SetAtime(path, st.Mtime-int64(time.Second)) == nil {
		return
	}
	// Who does not own the file writes its last octet again when the clock has moved on.
	time.Sleep(clockTick)
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size-1); err == nil {
		f.WriteAt(last[:], st.Size-1)
	}
}

// clockTick is longer than what the kernel's time stamps of files are apart.
const clockTick = 11 * time.Millisecond
