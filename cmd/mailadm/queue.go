package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"packetboat/internal/queue"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// exUnavailable is EX_UNAVAILABLE of sysexits.h, which postqueue(1) uses for
// everything that goes wrong.
const exUnavailable = 69

const postqueueUsage = "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site"

// tool is what the queue's commands share: a name for messages, and the
// configuration.
type tool struct {
	name           string
	stdin          io.Reader
	stdout, stderr io.Writer
	dir            string // -c
	main           *config.Main
}

// fatal tells why the command ends; code is its exit code.
func (t *tool) fatal(code int, format string, args ...any) int {
	fmt.Fprintf(t.stderr, "%s: fatal: %s\n", t.name, fmt.Sprintf(format, args...))
	return code
}

func (t *tool) warn(format string, args ...any) {
	fmt.Fprintf(t.stderr, "%s: warning: %s\n", t.name, fmt.Sprintf(format, args...))
}

// load reads main.cf, from -c or MAIL_CONFIG.
func (t *tool) load() error {
	if t.dir == "" {
		t.dir = os.Getenv("MAIL_CONFIG")
	}
	m, _, err := config.LoadMain(t.dir)
	if err != nil {
		return errors.New(config.Report(err))
	}
	t.main = m
	return nil
}

// root is queue_directory.
func (t *tool) root() string { return t.main.Get("queue_directory") }

// option is one option of a command line.
type option struct {
	c     byte
	value string
}

// getopt splits a command line as getopt(3) does under POSIX: options end at the
// first operand. In spec a letter that takes a value is followed by ":".
func getopt(args []string, spec string) (opts []option, rest []string, err error) {
	for len(args) > 0 {
		a := args[0]
		if len(a) < 2 || a[0] != '-' {
			break
		}
		args = args[1:]
		if a == "--" {
			break
		}
		for i := 1; i < len(a); i++ {
			at := strings.IndexByte(spec, a[i])
			if at < 0 || a[i] == ':' {
				return nil, nil, fmt.Errorf("invalid option -- '%c'", a[i])
			}
			o := option{c: a[i]}
			if at+1 < len(spec) && spec[at+1] == ':' {
				if o.value = a[i+1:]; o.value == "" {
					if len(args) == 0 {
						return nil, nil, fmt.Errorf("option requires an argument -- '%c'", a[i])
					}
					o.value, args = args[0], args[1:]
				}
				i = len(a)
			}
			opts = append(opts, o)
		}
	}
	return opts, args, nil
}

// runPostqueue is postqueue(1), and with -p also mailq(1).
func runPostqueue(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{name: "postqueue", stdin: stdin, stdout: stdout, stderr: stderr}
	opts, rest, err := getopt(args, "c:fi:jps:v")
	if err != nil {
		fmt.Fprintf(stderr, "postqueue: %v\n", err)
		return t.fatal(exUnavailable, postqueueUsage)
	}
	var do *option
	for i, o := range opts {
		switch {
		case o.c == 'c':
			t.dir = o.value
		case o.c == 'v':
		case do != nil:
			return t.fatal(exUnavailable, postqueueUsage)
		default:
			do = &opts[i]
		}
	}
	if do == nil || len(rest) > 0 {
		return t.fatal(exUnavailable, postqueueUsage)
	}
	if err := t.load(); err != nil {
		return t.fatal(exUnavailable, "%v", err)
	}
	if err := t.mayUse(do.c, os.Getuid()); err != nil {
		return t.fatal(exUnavailable, "%v", err)
	}
	switch do.c {
	case 'p':
		return t.show(&mailqWriter{})
	case 'j':
		return t.show(&jsonWriter{})
	}
	return t.flush(do)
}

// mayUse asks authorized_mailq_users about looking (-p, -j), authorized_flush_users
// about the rest. mtad asks again at its sockets; here it is for the text.
func (t *tool) mayUse(option byte, uid int) error {
	if option == 'p' || option == 'j' {
		return t.main.MayUser("authorized_mailq_users", uid)
	}
	return t.main.MayUser("authorized_flush_users", uid)
}

// flush asks mtad to try deferred mail now.
func (t *tool) flush(o *option) int {
	cmd := map[byte]string{'f': "F", 'i': "I " + o.value, 's': "S " + o.value}[o.c]
	if strings.ContainsAny(o.value, "\r\n") || len(o.value) > 255 {
		return t.fatal(exUnavailable, "bad argument of -%c", o.c)
	}
	answers, err := control(t.root(), []string{cmd})
	if err != nil {
		return t.fatal(exUnavailable, "Cannot flush mail queue - mail system is down")
	}
	// An id that does not wait is no error, as in Postfix's flush(8).
	if o.c == 's' && strings.HasPrefix(answers[0], "no") {
		return t.fatal(exUnavailable, "Flush service is not configured for destination %q", o.value)
	}
	return 0
}

// controlTime is how long mtad may take to answer.
const controlTime = 30 * time.Second

// control sends commands to the scheduler's socket and returns the answers.
func control(root string, cmds []string) ([]string, error) {
	conn, err := net.DialTimeout("unix", filepath.Join(root, "public", "qmgr"), controlTime)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(controlTime))
	// Writing and reading go on together: neither side waits for a full socket.
	go func() {
		w := bufio.NewWriter(conn)
		for _, c := range cmds {
			w.WriteString(c + "\n")
		}
		w.Flush()
	}()
	r := bufio.NewReader(conn)
	answers := make([]string, 0, len(cmds))
	for range cmds {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		answers = append(answers, strings.TrimSpace(line))
	}
	return answers, nil
}

// lister writes a queue listing in one form.
type lister interface {
	message(w io.Writer, l *queue.Listing) error
	end(w io.Writer)
}

// show lists the queue: from mtad, or from the folders when it is down and the
// caller may read them.
func (t *tool) show(form lister) int {
	w := bufio.NewWriter(t.stdout)
	defer w.Flush()
	emit := func(l *queue.Listing) error { return form.message(w, l) }
	conn, err := net.Dial("unix", filepath.Join(t.root(), "public", "showq"))
	if err == nil {
		defer conn.Close()
		if err = queue.ReadShowq(conn, emit); err != nil {
			w.Flush()
			return t.fatal(exUnavailable, "malformed showq server response: %v", err)
		}
		form.end(w)
		return 0
	}
	q, openErr := queue.Use(t.root())
	if openErr != nil {
		return t.fatal(exUnavailable, "Queue report unavailable - mail system is down")
	}
	defer q.Close()
	t.warn("Mail system is down -- accessing queue directly (Connect to the Postfix showq service: %s)", proc.ErrText(err))
	if err = queue.ListMaildrop(t.root(), emit); err == nil {
		err = q.List(emit)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Flush()
		return t.fatal(exUnavailable, "Queue report unavailable: %v", err)
	}
	form.end(w)
	return 0
}

// mailqWriter writes the form of mailq(1), which scripts take apart by column.
type mailqWriter struct {
	n, octets int64
}

// mailqHead is the first line; the marks behind ids are * active, ! held, # expired.
const mailqHead = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"

func (m *mailqWriter) message(w io.Writer, l *queue.Listing) error {
	if m.n == 0 {
		io.WriteString(w, mailqHead)
	} else {
		io.WriteString(w, "\n")
	}
	m.n++
	m.octets += l.Size
	when := time.Unix(l.Arrived, 0).Format("Mon Jan _2 15:04:05 ")
	fmt.Fprintf(w, "%-11s%8d %20.20s %s\n", l.ID+mark(l), l.Size, when, visible(l.Sender))
	last := ""
	for _, r := range l.Rcpts {
		// One reason stands over all recipients that share it.
		if r.Reason != "" && r.Reason != last {
			reason := visible(r.Reason)
			fmt.Fprintf(w, "%*s(%s)\n", max(76-len(reason), 0), "", reason)
		}
		last = r.Reason
		if _, err := fmt.Fprintf(w, "%*s%s\n", 41, "", visible(r.Addr)); err != nil {
			return err
		}
	}
	return nil
}

// mark is the character behind an id.
func mark(l *queue.Listing) string {
	switch {
	case l.Expire:
		return "#"
	case l.Queue == "active":
		return "*"
	case l.Queue == "hold":
		return "!"
	}
	return ""
}

func (m *mailqWriter) end(w io.Writer) {
	if m.n == 0 {
		io.WriteString(w, "Mail queue is empty\n")
		return
	}
	s := "s"
	if m.n == 1 {
		s = ""
	}
	fmt.Fprintf(w, "\n-- %d Kbytes in %d Request%s.\n", m.octets/1024, m.n, s)
}

// visible keeps a stranger's bytes from moving the cursor of a terminal.
func visible(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}

// jsonWriter writes one JSON object a line, in Postfix's order of members.
type jsonWriter struct{}

func (jsonWriter) message(w io.Writer, l *queue.Listing) error {
	fmt.Fprintf(w, `{"queue_name": %s, "queue_id": %s, "arrival_time": %d, "message_size": %d, "forced_expire": %t, "sender": %s, "recipients": [`,
		quoteJSON(l.Queue), quoteJSON(l.ID), l.Arrived, l.Size, l.Expire, quoteJSON(l.Sender))
	for i, r := range l.Rcpts {
		if i > 0 {
			io.WriteString(w, ", ")
		}
		fmt.Fprintf(w, `{"address": %s`, quoteJSON(r.Addr))
		if r.Reason != "" {
			fmt.Fprintf(w, `, "delay_reason": %s`, quoteJSON(r.Reason))
		}
		io.WriteString(w, "}")
	}
	_, err := io.WriteString(w, "]}\n")
	return err
}

func (jsonWriter) end(io.Writer) {}

// quoteJSON writes a JSON string as Postfix's quote_for_json(3): UTF-8 stays, "/"
// is not escaped, control bytes are. Bytes that are no UTF-8 become U+FFFD, since
// JSON (RFC 8259 section 8.1) has no other bytes.
func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
