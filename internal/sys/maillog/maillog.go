// Package maillog writes the mail log in the form that Postfix and Dovecot
// gave it, because fail2ban, pflogsumm, logwatch and thousands of scripts read
// it. One function stands for one event; each wing's events are in the file
// named after it. Text from strangers is made printable here, in one place, so
// that no log line can be forged.
package maillog

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine is the longest text of one line in bytes; what is longer is cut, as
// Postfix cuts at 2000 in msg_syslog(3).
const maxLine = 2000

// severity is a syslog severity (RFC 5424 table 2).
type severity int

const (
	sevErr     severity = 3
	sevWarning severity = 4
	sevInfo    severity = 6
)

// facilities are the names of syslog.conf(5) by their numbers in <sys/syslog.h>.
var facilities = [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	12: "", 16: "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}

// facility returns the number of a facility, shifted as syslog(3) wants it; an
// empty name is mail.
func facility(name string) (int, error) {
	if name == "" {
		name = "mail"
	}
	i := slices.Index(facilities[:], strings.ToLower(name))
	if i < 0 {
		return 0, fmt.Errorf("unknown syslog facility name: %s", name)
	}
	return i << 3, nil
}

// Options says where lines go. The zero value sends them to the local syslog,
// and to standard error when there is none.
type Options struct {
	File   string   // maillog_file of postconf(5), log_path of Dovecot; empty = syslog
	Handle *os.File // an inherited file that File names already; wins over File
	Name   string   // syslog_name: "postfix", "dovecot"; empty = "postfix"
	// Facility is syslog_facility of main.cf: mail, daemon, local0 ...; empty = mail.
	Facility string
	Host     string // second column of a file line; empty = first label of the host name
	Bare     bool   // Dovecot's form: "dovecot: text", no program and no pid in the tag
	RFC3339  bool   // time stamps as rsyslog's RFC 3339 form
	// Stamp writes the time of a file line; nil = "Nov 23 18:28:05 " (log_timestamp of
	// Dovecot).
	Stamp func(b []byte, now time.Time) []byte
	// Delay is how long a file line may wait for others, so that a busy process writes
	// many at once; 0 = each is written by itself. Call Flush before the process ends.
	Delay time.Duration
}

// Logger is a place for log lines, shared by all goroutines of a process.
type Logger struct {
	opts Options
	fac  int // facility, shifted
	mu   sync.Mutex
	out  io.Writer   // file, or nil for syslog
	conn net.Conn    // syslog socket, dialled at first use and again after an error
	buf  []byte      // the line, behind those that wait
	late *time.Timer // writes what waits; nil = never needed
}

// maxWaiting is how much may wait to be written, in bytes.
const maxWaiting = 32 << 10

// Log is one program's voice in a Logger: its tag is "postfix/smtpd[pid]".
type Log struct {
	l   *Logger
	tag string
}

// Open returns a Logger for o. The file is created with mode 0644 if absent,
// as postlogd(8) does.
func Open(o Options) (*Logger, error) {
	if o.Name == "" {
		o.Name = "postfix"
	}
	if o.Host == "" {
		h, _ := os.Hostname()
		o.Host, _, _ = strings.Cut(h, ".")
	}
	fac, err := facility(o.Facility)
	if err != nil {
		return nil, err
	}
	l := &Logger{opts: o, fac: fac}
	switch {
	case o.Handle != nil:
		l.out = o.Handle
	case o.File != "":
		f, err := os.OpenFile(o.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		l.out = f
	}
	return l, nil
}

// To returns a Logger that writes file lines to w: for tests and for programs
// that log to a terminal.
func To(w io.Writer, o Options) *Logger {
	if o.Name == "" {
		o.Name = "postfix"
	}
	return &Logger{opts: o, out: w}
}

// Program returns the voice of one program: "smtpd", "qmgr", "submission/smtpd".
func (l *Logger) Program(name string) *Log {
	if l.opts.Bare {
		return &Log{l, l.opts.Name + ": " + name}
	}
	return &Log{l, l.opts.Name + "/" + name + "[" + strconv.Itoa(os.Getpid()) + "]: "}
}

// Info writes one line. Prefer a function named after the event.
func (g *Log) Info(format string, args ...any) { g.write(sevInfo, "", format, args) }

// Warn writes one line that begins with "warning: ".
func (g *Log) Warn(format string, args ...any) { g.write(sevWarning, "warning: ", format, args) }

// Error writes one line that begins with "error: ".
func (g *Log) Error(format string, args ...any) { g.write(sevErr, "error: ", format, args) }

// Fatal writes one line that begins with "fatal: ". It does not end the program.
func (g *Log) Fatal(format string, args ...any) { g.write(sevErr, "fatal: ", format, args) }

func (g *Log) write(sev severity, prefix, format string, args []any) {
	if g == nil {
		return
	}
	l := g.l
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := len(l.buf)
	l.buf = l.head(l.buf, sev, g.tag)
	start := len(l.buf)
	l.buf = append(l.buf, prefix...)
	l.buf = fmt.Appendf(l.buf, format, args...)
	l.buf = Printable(l.buf, start, maxLine)
	if l.out == nil {
		l.syslog()
		l.buf = l.buf[:0]
		return
	}
	l.buf = append(l.buf, '\n')
	switch {
	case l.opts.Delay == 0 || sev < sevInfo || len(l.buf) > maxWaiting:
		l.flush()
	case waiting == 0 && l.late == nil:
		l.late = time.AfterFunc(l.opts.Delay, l.Flush)
	case waiting == 0:
		l.late.Reset(l.opts.Delay)
	}
}

// Flush writes the lines that wait.
func (l *Logger) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

// flush writes what waits. l.mu is held.
func (l *Logger) flush() {
	if len(l.buf) > 0 {
		l.out.Write(l.buf) // a full log disk must not stop mail
	}
	l.buf = l.buf[:0]
}

// head appends what stands before the text: time, host and tag for a file,
// priority and tag for syslog.
func (l *Logger) head(b []byte, sev severity, tag string) []byte {
	now := time.Now()
	switch {
	case l.out == nil:
		b = append(b, '<')
		b = strconv.AppendInt(b, int64(l.fac|int(sev)), 10)
		b = append(b, '>')
		b = now.AppendFormat(b, time.Stamp)
	case l.opts.Stamp != nil:
		b = l.opts.Stamp(b, now)
		b = append(b, l.opts.Host...)
	case l.opts.RFC3339:
		b = now.AppendFormat(b, "2006-01-02T15:04:05.000000-07:00")
		b = append(append(b, ' '), l.opts.Host...)
	default:
		b = now.AppendFormat(b, time.Stamp)
		b = append(append(b, ' '), l.opts.Host...)
	}
	b = append(b, ' ')
	return append(b, tag...)
}

// syslog sends l.buf to /dev/log; without a syslog daemon the line goes to
// standard error, where systemd picks it up.
func (l *Logger) syslog() {
	for range 2 {
		if l.conn == nil {
			c, err := net.Dial("unixgram", "/dev/log")
			if err != nil {
				break
			}
			l.conn = c
		}
		if _, err := l.conn.Write(l.buf); err == nil {
			return
		}
		l.conn.Close() // the daemon was restarted: dial again, once
		l.conn = nil
	}
	os.Stderr.Write(append(l.buf, '\n'))
}

// Printable replaces in b, from index start on, every byte of a control character
// and every byte that is no UTF-8 by "?", as Postfix's printable(3) does, and cuts
// the text after limit bytes. The controls above ASCII count: a terminal obeys them.
func Printable(b []byte, start, limit int) []byte {
	if len(b)-start > limit {
		b = b[:start+limit]
	}
	for i := start; i < len(b); i++ {
		switch c := b[i]; {
		case c < ' ' || c == 0x7f:
			b[i] = '?'
		case c >= utf8.RuneSelf:
			i += printableRune(b[i:]) - 1
		}
	}
	return b
}

// printableRune does so for one character above ASCII and returns its length.
func printableRune(b []byte) int {
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n <= 1 || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
		for i := range b[:n] {
			b[i] = '?'
		}
	}
	return n
}

// Handle returns the open file that lines go to, nil for syslog: for another
// Logger with another name in the same place.
func (l *Logger) Handle() *os.File {
	f, _ := l.out.(*os.File)
	return f
}
