package queue

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"time"
)

// Listing is one message as showq(8) tells it.
type Listing struct {
	Queue   string // folder: maildrop, active, incoming, deferred, hold
	ID      string
	Arrived int64 // seconds since 1970
	Size    int64 // octets
	Expire  bool  // postsuper -e
	Sender  string
	Rcpts   []ListedRcpt // those that are still to be delivered
}

// ListedRcpt is a recipient and why it waits; Reason may be empty.
type ListedRcpt struct{ Addr, Reason string }

// nullSender is how showq names the empty sender.
const nullSender = "MAILER-DAEMON"

// listFolders is the order in which showq(8) reads them.
var listFolders = [...]Folder{Active, Incoming, Deferred, Hold}

// List calls fn for every message of the queue. A message that moves meanwhile
// is told once; one that cannot be read is told with what the folder knows.
func (q *Queue) List(fn func(*Listing) error) error {
	seen := map[string]struct{}{}
	for _, f := range listFolders {
		if f == Deferred {
			if err := q.listDeferred(seen, fn); err != nil {
				return err
			}
			continue
		}
		err := q.IDs(f, func(id string) error {
			if _, twice := seen[id]; twice {
				return nil
			}
			m, err := q.Load(id, f)
			if err != nil {
				return nil // gone, or corrupt: the scheduler will tell
			}
			seen[id] = struct{}{}
			return fn(q.listing(m))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// listing turns a message into what is told of it.
func (q *Queue) listing(m *Message) *Listing {
	l := &Listing{
		Queue: m.Folder.String(), ID: m.ID, Arrived: m.Env.Arrived.Unix(), Size: m.Size,
		Expire: m.Expire, Sender: m.Env.Sender.Quoted(),
	}
	if l.Sender == "" {
		l.Sender = nullSender
	}
	reasons := q.Reasons(m.ID)
	for i := range m.Env.Rcpts {
		if r := &m.Env.Rcpts[i]; r.State != 'D' {
			l.Rcpts = append(l.Rcpts, ListedRcpt{r.Addr.Quoted(), reasons[i]})
		}
	}
	return l
}

// showqTime is how long a client may take to read, and showqPiece how much is
// written at once in bytes.
const (
	showqTime  = 60 * time.Second
	showqPiece = 32 << 10
)

// ServeShowq answers one connection to public/showq and closes it: Postfix's
// mail_queue_list_protocol, attributes as "name NUL value NUL", an empty name at
// the end of each record, one more at the end of all. first, which may be nil,
// lists what is not in the queue yet (maildrop).
func ServeShowq(conn net.Conn, q *Queue, first func(fn func(*Listing) error) error) error {
	defer conn.Close()
	w := bufio.NewWriterSize(deadliner{conn}, showqPiece)
	w.WriteString("protocol\x00mail_queue_list_protocol\x00\x00")
	emit := func(l *Listing) error { return l.write(w) }
	if first != nil {
		if err := gone(first(emit)); err != nil {
			return err
		}
	}
	if err := q.List(emit); err != nil {
		return err
	}
	w.WriteByte(0)
	return w.Flush()
}

// deadliner gives every write its own time limit.
type deadliner struct{ net.Conn }

func (d deadliner) Write(p []byte) (int, error) {
	d.SetWriteDeadline(time.Now().Add(showqTime))
	return d.Conn.Write(p)
}

// write writes one record.
func (l *Listing) write(w *bufio.Writer) error {
	expire := "0"
	if l.Expire {
		expire = "1"
	}
	for _, a := range [...][2]string{
		{"queue_name", l.Queue}, {"queue_id", l.ID}, {"time", strconv.FormatInt(l.Arrived, 10)},
		{"size", strconv.FormatInt(l.Size, 10)}, {"forced_expire", expire}, {"sender", l.Sender},
	} {
		attr(w, a[0], a[1])
	}
	for _, r := range l.Rcpts {
		attr(w, "recipient", r.Addr)
		attr(w, "reason", r.Reason)
	}
	return w.WriteByte(0)
}

// attr writes one attribute. NUL ends a value, so a NUL in one becomes "?".
func attr(w *bufio.Writer, name, value string) {
	w.WriteString(name)
	w.WriteByte(0)
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == 0 {
			c = '?'
		}
		w.WriteByte(c)
	}
	w.WriteByte(0)
}

// Limits on what ReadShowq takes from the socket.
const (
	maxAttr        = 1 << 20 // bytes of one value
	maxListedRcpts = 1 << 22 // recipients of one message
)

// ReadShowq reads what ServeShowq, or Postfix's showq(8), wrote, and calls fn for
// each message.
func ReadShowq(r io.Reader, fn func(*Listing) error) error {
	br := bufio.NewReaderSize(r, showqPiece)
	name, err := readAttr(br)
	if err == nil && name == "protocol" {
		var value string
		value, err = readAttr(br)
		if err == nil && value != "mail_queue_list_protocol" {
			err = errors.New("showq: unknown protocol")
		}
		if err == nil {
			name, err = readAttr(br)
		}
	}
	if err != nil {
		return err
	}
	if name != "" {
		return errors.New("showq: no greeting")
	}
	for {
		l, err := readListing(br)
		if err != nil || l == nil {
			return err
		}
		if err := fn(l); err != nil {
			return err
		}
	}
}

// readListing reads one record; nil at the end of all.
func readListing(br *bufio.Reader) (*Listing, error) {
	l := &Listing{}
	for n := 0; ; n++ {
		name, err := readAttr(br)
		if err != nil {
			return nil, err
		}
		if name == "" {
			if n == 0 {
				return nil, nil
			}
			return l, nil
		}
		value, err := readAttr(br)
		if err == nil {
			err = l.set(name, value)
		}
		if err != nil {
			return nil, err
		}
	}
}

// set stores one attribute; unknown ones are passed over.
func (l *Listing) set(name, value string) (err error) {
	switch name {
	case "queue_name":
		l.Queue = value
	case "queue_id":
		l.ID = value
	case "time":
		l.Arrived, err = strconv.ParseInt(value, 10, 64)
	case "size":
		l.Size, err = strconv.ParseInt(value, 10, 64)
	case "forced_expire":
		l.Expire = value != "0"
	case "sender":
		l.Sender = value
	case "recipient":
		if len(l.Rcpts) >= maxListedRcpts {
			return errors.New("showq: too many recipients")
		}
		l.Rcpts = append(l.Rcpts, ListedRcpt{Addr: value})
	case "reason":
		if n := len(l.Rcpts); n > 0 {
			l.Rcpts[n-1].Reason = value
		}
	}
	return err
}

// readAttr reads up to the next NUL.
func readAttr(br *bufio.Reader) (string, error) {
	var long []byte
	for {
		piece, err := br.ReadSlice(0)
		if err == nil && long == nil {
			return string(piece[:len(piece)-1]), nil
		}
		long = append(long, piece...)
		switch {
		case err == nil:
			return string(long[:len(long)-1]), nil
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		case len(long) > maxAttr:
			return "", errors.New("showq: attribute too long")
		}
	}
}
