// Package pop3d speaks POP3 (RFC 1939, RFC 2449) with one client whose name is
// known already: the login process has done USER and PASS. Texts and behaviour
// are Dovecot 2.3's, because clients and scripts have learnt them.
//
// The session works on a snapshot of INBOX: what arrives meanwhile is seen by
// the next session. DELE only marks; QUIT removes, and a session that ends
// otherwise removes nothing (RFC 1939 section 6).
package pop3d

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/sys/maillog"
)

// Options is how sessions behave. The zero value is Dovecot's default.
type Options struct {
	Log          *maillog.Log  // nil = no log
	UIDL         string        `dovecot:"pop3_uidl_format"` // empty = %08Xu%08Xv
	NoFlags      bool          `dovecot:"pop3_no_flag_updates"`
	Workarounds  []string      `dovecot:"pop3_client_workarounds"` // outlook-no-nuls, oe-ns-eoh
	IdleTimeout  time.Duration // silence after which a session ends; 0 = 10 minutes (RFC 1939 section 3)
	WriteTimeout time.Duration // how long the client may refuse to read; 0 = 5 minutes
}

// User is whose mail is read.
type User struct {
	Name  string
	Store store.Store
}

// Start is what the login process knows when it hands a session over.
type Start struct {
	Pending []byte // read from the client after PASS or AUTH
	TLS     bool
	Session string
	// Stopping tells, when a read has run into its deadline, that the caller set it to
	// end the session (the system stops, doveadm kick); nil = never.
	Stopping func() bool
}

// Limits.
const (
	maxLine      = 1024 // bytes of one command; RFC 2449 section 4 asks for 255
	maxBad       = 20   // wrong commands in a row
	idleTimeout  = 10 * time.Minute
	writeTimeout = 5 * time.Minute
	defaultUIDL  = "%08Xu%08Xv"
)

// Serve runs one session until the client leaves, and closes conn. The error
// says why it ended otherwise than by QUIT; it has been logged already.
func Serve(conn net.Conn, u User, o Options, s Start) (err error) {
	if o.IdleTimeout == 0 {
		o.IdleTimeout = idleTimeout
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = writeTimeout
	}
	if o.UIDL == "" {
		o.UIDL = defaultUIDL
	}
	x := &session{conn: conn, o: o, user: u, start: s}
	defer conn.Close()
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("panic: %v", e)
			o.Log.POP3Error(u.Name, os.Getpid(), s.Session, err.Error()+"\n"+string(debug.Stack()))
		}
	}()
	return x.run()
}

// session is one client.
type session struct {
	conn  net.Conn
	o     Options
	user  User
	start Start
	in    *bufio.Reader
	out   *bufio.Writer
	box   store.Mailbox
	snap  *store.Snapshot
	gone  []bool // marked by DELE
	seen  []bool // read by RETR
	left  int    // messages not marked
	size  int64  // octets of these
	bad   int
	stats maillog.POP3Stats
}

// said is the end of a session in Dovecot's words, for the log.
type said string

func (s said) Error() string { return string(s) }

// errQuit ends a session that said QUIT.
var errQuit = error(said("Logged out"))

func (x *session) run() error {
	x.in = bufio.NewReaderSize(io.MultiReader(strings.NewReader(string(x.start.Pending)), x.conn), maxLine)
	x.out = bufio.NewWriterSize(deadlineWriter{x.conn, x.o.WriteTimeout}, 8<<10)
	if err := x.open(); err != nil {
		x.o.Log.POP3Error(x.user.Name, os.Getpid(), x.start.Session, "Couldn't open INBOX: "+err.Error())
		x.reply("-ERR [SYS/TEMP] Couldn't open INBOX. Refer to server log for more information.")
		x.out.Flush()
		return err
	}
	defer x.box.Close()
	if len(x.start.Pending) > 0 {
		x.in.Peek(1) // so that loop sees that a command is waiting
	}
	x.reply("+OK Logged in.")
	err := x.loop()
	x.out.Flush()
	x.o.Log.POP3Disconnected(x.user.Name, os.Getpid(), x.start.Session, x.reason(err), x.stats)
	if errors.Is(err, errQuit) {
		return nil
	}
	return err
}

func (x *session) reason(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, errQuit):
		return "Logged out"
	case errors.As(err, &timeout) && timeout.Timeout() && x.start.Stopping != nil && x.start.Stopping():
		return "Server shutting down."
	case errors.As(err, &timeout) && timeout.Timeout():
		return "Disconnected for inactivity"
	case errors.Is(err, io.EOF):
		return "Connection closed"
	}
	return err.Error()
}

// open takes the snapshot that the session works on.
func (x *session) open() error {
	box, err := x.user.Store.Open("INBOX")
	if err != nil {
		return err
	}
	snap, err := box.Sync()
	if err == nil {
		snap, err = box.Look(nil)
	}
	if err != nil {
		box.Close()
		return err
	}
	x.box, x.snap = box, snap
	x.gone, x.seen = make([]bool, len(snap.Msgs)), make([]bool, len(snap.Msgs))
	x.unmark()
	x.stats.Total, x.stats.Size = x.left, x.size
	return nil
}

// unmark forgets all deletions.
func (x *session) unmark() {
	clear(x.gone)
	x.left, x.size = len(x.snap.Msgs), 0
	for i := range x.snap.Msgs {
		x.size += max(x.snap.Msgs[i].Size, 0)
	}
}

// loop answers commands. Answers leave when no further command is waiting
// (PIPELINING, RFC 2449 section 6.6).
func (x *session) loop() error {
	for {
		if x.in.Buffered() == 0 {
			if err := x.out.Flush(); err != nil {
				return err
			}
		}
		x.conn.SetReadDeadline(time.Now().Add(x.o.IdleTimeout))
		line, err := x.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			x.reply("-ERR Input line too long")
			return said("Input line too long")
		}
		if err != nil {
			return err
		}
		if err := x.command(strings.TrimRight(string(line), "\r\n")); err != nil {
			return err
		}
	}
}

func (x *session) reply(format string, args ...any) {
	fmt.Fprintf(x.out, format+"\r\n", args...)
}

// deadlineWriter gives every write its own deadline.
type deadlineWriter struct {
	net.Conn
	d time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.SetWriteDeadline(time.Now().Add(w.d))
	return w.Conn.Write(p)
}
