package queue

import (
	"bufio"
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// The ledger is one file, defer/ledger, that tells of each message which waits
// what mailq shows: sender, size, and the recipients that are left with the reason
// of each. Without it a listing of 100,000 messages would open 200,000 files.
//
// A line is "CRC TAB ID TAB arrived TAB size TAB sender", then "TAB index TAB
// address TAB reason" for each recipient; the last line of an id counts. Whoever
// schedules appends a line at each Defer, and writes the file anew when most of it
// is of no use any more. Nothing in it is needed for delivery: what is not there,
// or is torn, is read from the queue file, and only the reasons are lost.
//
// In memory a message costs its id and the place of its line: some 80 bytes.
const ledgerName = "ledger"

const (
	// maxLedgerLine is the longest line, in bytes: a list of some 100,000 recipients.
	// Of what is longer the queue file tells.
	maxLedgerLine = 16 << 20
	// minLedger is the size in bytes below which the file is never written anew.
	minLedger = 1 << 20

	sameReason = "%=" // the reason of the recipient before; no escaped text looks so
)

// span is the place of a line in the file.
type span struct {
	off     int64
	n       int32 // with the line's end
	expired bool  // "postsuper -e", as far as the owner was told
}

// ledger is the file and the places of the lines that count. It is read when
// something is asked for the first time; only its owner writes it.
type ledger struct {
	path   string
	mu     sync.Mutex
	loaded bool
	owner  bool
	age    int // how often the file was written anew
	f      *os.File
	at     map[string]span
	size   int64 // of the file
	live   int64 // bytes of lines that count
}

// open reads the file once. The caller holds mu.
func (l *ledger) open() {
	if l.loaded {
		return
	}
	l.loaded, l.at = true, map[string]span{}
	flags := os.O_RDONLY
	if l.owner {
		flags = os.O_RDWR
	}
	f, err := disk.OpenTrusted(l.path, flags, -1)
	if l.owner && errors.Is(err, fs.ErrNotExist) {
		f, err = disk.OpenFile(l.path, flags|os.O_CREATE|os.O_EXCL, fileMode)
	}
	if err != nil {
		return // nobody has waited yet, or we may not read it
	}
	l.f = f
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := readLine(r)
		if err != nil {
			break
		}
		if id, ok := lineID(line); ok {
			l.set(id, span{off: l.size, n: int32(len(line))})
		}
		l.size += int64(len(line))
	}
	// A line that a crash cut off must not become the beginning of the next one.
	if l.owner {
		f.Truncate(l.size)
	}
}

// readLine reads a line with its end, of any length; what is longer than
// maxLedgerLine is no line of ours, but its length counts.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		piece, err := r.ReadSlice('\n')
		if err == nil && line == nil {
			return piece, nil
		}
		line = append(line, piece...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLedgerLine {
			return nil, io.EOF
		}
	}
}

// lineID checks a line and returns the id that it is about.
func lineID(line []byte) (id string, ok bool) {
	if len(line) < 10 || line[8] != '\t' || line[len(line)-1] != '\n' {
		return "", false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || crc32.Checksum(line[9:len(line)-1], castagnoli) != uint32(sum) {
		return "", false
	}
	name, _, ok := bytes.Cut(line[9:], []byte{'\t'})
	return string(name), ok && ValidID(string(name))
}

// set notes the place of an id's line. The caller holds mu.
func (l *ledger) set(id string, s span) {
	l.live += int64(s.n) - int64(l.at[id].n)
	l.at[id] = s
}

// drop forgets a message. The caller holds mu.
func (l *ledger) drop(id string) {
	l.live -= int64(l.at[id].n)
	delete(l.at, id)
}

// line returns the line of a message without its checksum and end; nil when it
// has none.
func (l *ledger) line(id string, buf []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open()
	s, ok := l.at[id]
	if !ok {
		return nil
	}
	buf = slices.Grow(buf[:0], int(s.n))[:s.n]
	_, err := l.f.ReadAt(buf, s.off)
	if got, ok := lineID(buf); err != nil || !ok || got != id {
		l.drop(id) // somebody else has written into the file
		return nil
	}
	return buf[9 : len(buf)-1]
}

// forget drops a message that is gone or will be told anew.
func (l *ledger) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded {
		l.drop(id)
	}
}

// own makes this process the one that writes. The caller holds mu.
func (l *ledger) own() {
	if l.owner {
		return
	}
	if l.f != nil {
		l.f.Close()
	}
	l.owner, l.loaded, l.f, l.size, l.live = true, false, nil, 0, 0
	l.open()
}

// put appends a line. What cannot be written is forgotten, so that nothing old is
// told.
func (l *ledger) put(id string, line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(id)
	if l.f == nil || len(line) > maxLedgerLine {
		return fs.ErrInvalid
	}
	if l.size > minLedger && l.live < l.size/2 {
		if err := l.renew(); err != nil {
			return err
		}
	}
	if _, err := l.f.WriteAt(line, l.size); err != nil {
		return err
	}
	l.set(id, span{off: l.size, n: int32(len(line))})
	l.size += int64(len(line))
	return nil
}

// renew writes the lines that count into a new file. The caller holds mu.
func (l *ledger) renew() error {
	temp := l.path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := disk.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(l.at))
	for id := range l.at {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return int(l.at[a].off - l.at[b].off) })
	w := bufio.NewWriterSize(f, 256<<10)
	next := make(map[string]span, len(ids))
	size := int64(0)
	for _, id := range ids {
		s := l.at[id]
		if _, err := io.Copy(w, io.NewSectionReader(l.f, s.off, int64(s.n))); err != nil {
			break // the writer keeps its error, and tells it again
		}
		next[id] = span{size, s.n, s.expired}
		size += int64(s.n)
	}
	if err = w.Flush(); err == nil {
		err = os.Rename(temp, l.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(temp))
	}
	old := l.f
	l.f, l.at, l.size, l.live = f, next, size, size
	l.age++
	return old.Close()
}

// take makes this process the owner.
func (l *ledger) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.own()
}

// keep forgets all messages but those that were found.
func (l *ledger) keep(all *found) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.at {
		if s.expired = all[Deferred][id].Expire; s.expired {
			l.at[id] = s
		}
		if !all.has(id) {
			l.drop(id)
		}
	}
}

// expire notes whether a message has been expired.
func (l *ledger) expire(id string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.at[id]; ok {
		s.expired = yes
		l.at[id] = s
	}
}

// rename lets a line follow a message that got another id.
func (l *ledger) rename(from, to string) {
	line := l.line(from, nil)
	if line == nil {
		return
	}
	_, rest, _ := bytes.Cut(line, []byte{'\t'})
	l.mu.Lock()
	owner := l.owner
	l.mu.Unlock()
	l.forget(from)
	if owner {
		l.put(to, sealLine(append(append(make([]byte, 9, len(line)+64), to+"\t"...), rest...)))
	}
}

func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}

// sealLine puts the checksum into the first bytes of a line, and its end behind it.
func sealLine(b []byte) []byte {
	appendHex(b[:0], uint64(crc32.Checksum(b[9:], castagnoli)), 8)
	b[8] = '\t'
	return append(b, '\n')
}

// appendLine writes the line of a message: reasons has the recipients that are left.
func appendLine(b []byte, m *Message, reasons map[int]string) []byte {
	b = append(b[:0], "        \t"...)
	b = append(append(b, m.ID...), '\t')
	b = append(strconv.AppendInt(b, m.Env.Arrived.Unix(), 10), '\t')
	b = append(strconv.AppendInt(b, m.Size, 10), '\t')
	b = escapeTab(b, string(m.Env.Sender))
	last := ""
	for n, i := range sortedKeys(reasons) {
		addr := mail.Address("")
		if i >= 0 && i < len(m.Env.Rcpts) {
			addr = m.Env.Rcpts[i].Addr
		}
		b = append(strconv.AppendInt(append(b, '\t'), int64(i), 10), '\t')
		b = append(escapeTab(b, string(addr)), '\t')
		if n > 0 && reasons[i] == last {
			b = append(b, sameReason...)
			continue
		}
		last = reasons[i]
		b = escapeTab(b, last)
	}
	return sealLine(b)
}

// escapeTab writes control bytes, DEL and percent signs as %XX; spaces stay.
func escapeTab(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == 0x7f || c == '%' {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// waiting is what a line says.
type waiting struct {
	id            string
	arrived, size int64
	sender        mail.Address
	rcpts         []waitingRcpt
}

type waitingRcpt struct {
	index  int
	addr   mail.Address
	reason string
}

// parseLine reads what appendLine wrote, without checksum and end.
func parseLine(line []byte) (w waiting, ok bool) {
	rest, more := string(line), true
	var err error
	field := func() (s string) {
		s, rest, more = strings.Cut(rest, "\t")
		if err == nil && s != sameReason {
			s, err = unescape(s)
		}
		return s
	}
	number := func() (n int64) {
		s := field()
		if err == nil {
			n, err = strconv.ParseInt(s, 10, 64)
		}
		return n
	}
	w.id, w.arrived, w.size, w.sender = field(), number(), number(), mail.Address(field())
	for last := ""; more && err == nil; {
		r := waitingRcpt{index: int(number()), addr: mail.Address(field()), reason: field()}
		if r.reason == sameReason {
			r.reason = last
		}
		last = r.reason
		w.rcpts = append(w.rcpts, r)
	}
	return w, err == nil
}

// Reasons returns why recipients were deferred at the last try, by index; nothing
// for a message that never was, or of which that is lost.
func (q *Queue) Reasons(id string) map[int]string {
	w, ok := parseLine(q.ledger.line(id, nil))
	if !ok {
		return nil
	}
	out := make(map[int]string, len(w.rcpts))
	for _, r := range w.rcpts {
		out[r.index] = r.reason
	}
	return out
}

// each calls fn for the lines that count, in the order of the file, until fn returns
// an error. It stops where the file is written anew meanwhile.
func (l *ledger) each(fn func(id string, line []byte, expired bool) error) error {
	l.mu.Lock()
	l.open()
	age, size := l.age, l.size
	l.mu.Unlock()
	f, err := disk.OpenTrusted(l.path, os.O_RDONLY, -1)
	if err != nil {
		return nil
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.LimitReader(f, size), 256<<10)
	for off := int64(0); ; {
		line, err := readLine(r)
		if err != nil {
			return nil
		}
		if id, ok := lineID(line); ok {
			l.mu.Lock()
			s, known := l.at[id]
			ok, known = known && s.off == off, l.age == age
			l.mu.Unlock()
			switch {
			case !known:
				return nil
			case ok:
				if err := fn(id, line[9:len(line)-1], s.expired); err != nil {
					return err
				}
			}
		}
		off += int64(len(line))
	}
}

// Deferred calls fn for every deferred message, from the ledger where it can.
func (q *Queue) Deferred(fn func(*Listing) error) error {
	return q.listDeferred(map[string]struct{}{}, fn)
}

// listDeferred is List for the folder deferred: the ledger in one go, then the files of
// what it does not have.
func (q *Queue) listDeferred(seen map[string]struct{}, fn func(*Listing) error) error {
	left := map[string]struct{}{}
	err := q.IDs(Deferred, func(id string) error {
		if _, twice := seen[id]; !twice {
			left[id] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = q.ledger.each(func(id string, line []byte, expired bool) error {
		_, there := left[id]
		w, ok := parseLine(line)
		if !there || !ok {
			return nil
		}
		if !q.ledger.owner { // nobody tells us what postsuper does
			st, err := disk.StatPath(q.Path(id, Deferred))
			if expired = st.Mode&expireBit != 0; err != nil {
				return nil
			}
		}
		delete(left, id)
		seen[id] = struct{}{}
		return fn(w.listing(expired))
	})
	for id := range left {
		if err != nil {
			break
		}
		if m, gone := q.Load(id, Deferred); gone == nil {
			seen[id] = struct{}{}
			err = fn(q.listing(m))
		}
	}
	return err
}

// listing is what mailq shows of a line.
func (w *waiting) listing(expired bool) *Listing {
	l := &Listing{Queue: Deferred.String(), ID: w.id, Arrived: w.arrived, Size: w.size,
		Expire: expired, Sender: w.sender.Quoted(), Rcpts: make([]ListedRcpt, len(w.rcpts))}
	if l.Sender == "" {
		l.Sender = nullSender
	}
	for i, r := range w.rcpts {
		l.Rcpts[i] = ListedRcpt{r.addr.Quoted(), r.reason}
	}
	return l
}

// ledgerPath is where the ledger of a queue stands.
func ledgerPath(root string) string { return filepath.Join(root, deferName, ledgerName) }
