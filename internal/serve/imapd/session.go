package imapd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/serve/imapd/folders"
	"packetboat/internal/serve/imapd/live"
	"packetboat/internal/serve/imapd/notify"
	"packetboat/internal/serve/imapd/reply"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store"
	"packetboat/internal/sys/maillog"
)

// maxBad is the number of commands in a row that may be wrong, as Dovecot's
// CLIENT_MAX_BAD_COMMANDS.
const maxBad = 20

// inSize is the input buffer of a session.
const inSize = 4 << 10

// session is one client.
type session struct {
	user      User
	tree      *tree.Tree // all mailboxes by their names
	folders   folders.Commands
	opts      Options
	start     Start
	in        *wire.Input
	p         syntax.Parser
	out       wire.Output
	box       store.Mailbox   // the selected mailbox, or nil
	view      view.View       // what the client knows of box
	condstore bool            // the client knows of modseqs, and with
	qresync   bool            // this set also of VANISHED (RFC 7162)
	modern    bool            // it has enabled IMAP4rev2 (RFC 9051)
	utf8      bool            // it has enabled UTF8=ACCEPT (RFC 6855)
	uidOnly   bool            // it has enabled UIDONLY (RFC 9586)
	gone      bool            // this command has told a VANISHED
	notify    *notify.Watcher // what NOTIFY has asked for; nil = nothing
	changed   <-chan struct{} // the selected mailbox has changed, where NOTIFY tells that
	unwatch   func()
	contexts  []*live.Context // searches that are kept up to date (RFC 5267)
	saved     syntax.Set      // UIDs of the last SEARCH with SAVE (RFC 5182)
	last      reply.Loader    // the message that FETCH looked at last

	cmd    command
	bad    int    // wrong commands in a row
	bye    string // why the session ends, when the server ends it
	reason string // the log's word for it
	count  maillog.IMAPCounts
}

// command is the command that runs.
type command struct {
	tag   string
	name  string // upper case, with "UID " before it
	uid   bool
	safe  bool // its answer may tell new mail in spite of delay-newmail
	begun time.Time
}

// withDefaults fills in what the zero value means.
func (o Options) withDefaults() Options {
	if o.IdleNotify <= 0 {
		o.IdleNotify = 2 * time.Minute
	}
	if o.MaxLine <= 0 {
		o.MaxLine = syntax.DefaultLimit
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 30 * time.Minute
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 5 * time.Minute
	}
	if o.Progress <= 0 {
		o.Progress = 10 * time.Second
	}
	if o.IDSend == "" {
		o.IDSend = "name *"
	}
	return o
}

func serve(conn net.Conn, u User, o Options, st Start) error {
	o = o.withDefaults()
	s := &session{user: u, tree: u.tree(), opts: o, start: st}
	s.out = wire.Output{Conn: conn, Timeout: o.WriteTimeout}
	s.folders = folders.Commands{Session: host{s}, Tree: s.tree, Out: &s.out, Limit: o.MaxMessage, Attributes: u.Attributes, Quota: u.Quota}
	s.in = &wire.Input{Conn: conn, Out: &s.out, Timeout: o.IdleTimeout, Pending: st.Pending}
	s.p = syntax.Parser{R: bufio.NewReaderSize(s.in, inSize), Limit: o.MaxLine, Continue: s.askLiteral}
	defer conn.Close()
	err := s.run()
	s.finish(err)
	if s.reason == "Logged out" {
		return nil
	}
	return err
}

// run greets and serves commands until one of both leaves. A panic ends this
// session and no other.
func (s *session) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.IMAPPanic(s.logName(), s.cmd.name, fmt.Sprint(p), debug.Stack())
			s.bye = "Internal error occurred. Refer to server log for more information."
			s.reason = "Internal error"
			err = fmt.Errorf("panic in %s: %v", s.cmd.name, p)
		}
	}()
	s.greet()
	for s.bye == "" && s.out.Err == nil {
		if err := s.command(); err != nil {
			return err
		}
	}
	return s.out.Err
}

// greet answers the command that logged the client in.
func (s *session) greet() {
	if s.start.Tag == "" {
		s.out.Text("* PREAUTH [CAPABILITY ", s.capabilities(), "] Logged in as ", s.user.Name)
	} else {
		s.out.Text(s.start.Tag, " OK [CAPABILITY ", s.capabilities(), "] Logged in")
	}
	s.out.Line()
}

// finish says goodbye, gives the mailbox back and writes the session's line in
// the log.
func (s *session) finish(err error) {
	if s.bye == "" && isTimeout(err) {
		s.bye, s.reason = "Disconnected for inactivity.", "Disconnected for inactivity"
		switch {
		case s.out.Err != nil:
			s.bye, s.reason = "", "Disconnected for inactivity in reading our output"
		case s.start.Stopping != nil && s.start.Stopping():
			s.bye, s.reason = "Server shutting down.", "Server shutting down."
		}
	}
	if s.bye != "" && s.reason != "Logged out" {
		s.out.Text("* BYE ", s.bye)
		s.out.Line()
	}
	s.out.Flush()
	s.stopNotify()
	s.closeBox()
	if s.reason == "" {
		s.reason = "Connection closed"
		if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) {
			s.reason += ": " + err.Error()
		}
		if s.cmd.name != "" {
			s.reason += fmt.Sprintf(" (%s finished %.3f secs ago)", s.cmd.name, time.Since(s.cmd.begun).Seconds())
		}
	}
	s.count.In, s.count.Out = s.in.Got, s.out.Sent
	s.opts.Log.IMAPDisconnected(s.logName(), s.reason, s.count)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func (s *session) logName() maillog.IMAPSession {
	return maillog.IMAPSession{User: s.user.Name, ID: s.start.Session}
}

// askLiteral tells the client to send the literal it announced.
func (s *session) askLiteral() error {
	s.out.Text("+ OK")
	s.out.Line()
	return s.out.Flush()
}

// command reads one command and runs it. An error ends the session.
func (s *session) command() error {
	if s.notify != nil && s.p.R.Buffered() == 0 {
		s.in.News = s.waitNews
		s.p.R.Peek(1) // its error comes again with the tag
		s.in.News = nil
		if s.bye != "" {
			return nil
		}
	}
	tag, err := s.p.Start()
	s.cmd = command{tag: string(tag), begun: time.Now(), name: s.cmd.name}
	s.in.Waited = 0
	if err == nil && len(tag) == 0 && s.p.Ended() {
		return nil // an empty line is passed over, as Dovecot does
	}
	if err == nil && !validTag(tag) {
		s.cmd.tag = "*"
		return s.refuse("BAD Error in IMAP tag: Invalid tag")
	}
	var word []byte
	if err == nil {
		word, err = s.p.Word()
	}
	if err != nil {
		return s.parseFailed("", err)
	}
	s.cmd.name = strings.ToUpper(string(word))
	if s.cmd.name == "UID" {
		if word, err = s.p.Word(); err != nil {
			return s.parseFailed("", err)
		}
		s.cmd.uid = len(word) > 0
		s.cmd.name = "UID " + strings.ToUpper(string(word))
	}
	return s.dispatch()
}

// validTag: RFC 3501 section 9, tag.
func validTag(tag []byte) bool {
	if len(tag) == 0 {
		return false
	}
	for _, c := range tag {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte(`(){%*+"\`), c) >= 0 {
			return false
		}
	}
	return true
}

func validName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != ' ' {
			return false
		}
	}
	return name != "" && name != "UID "
}

// dispatch finds the command and runs it with its arguments.
func (s *session) dispatch() error {
	if !validName(s.cmd.name) {
		return s.refuse("BAD Error in IMAP command: Invalid command name")
	}
	spec, ok := lookup(s.cmd.name)
	if !ok {
		return s.refuse("BAD Error in IMAP command " + s.cmd.name + ": Unknown command")
	}
	if spec.selected && s.box == nil {
		return s.refuse("BAD No mailbox selected")
	}
	if s.uidOnly && spec.numbers && !s.cmd.uid {
		// RFC 9586 section 3.1
		return s.refuse("BAD [UIDREQUIRED] Message numbers are not allowed once UIDONLY is enabled")
	}
	var args []syntax.Arg
	var err error
	if spec.bare {
		err = s.p.Skip()
	} else {
		args, err = s.p.Args(spec.stream)
	}
	if err != nil {
		return s.parseFailed(" "+s.cmd.name, err)
	}
	err = spec.run(s, args)
	if bad, ok := errors.AsType[syntax.Error](err); ok {
		return s.parseFailed(" "+s.cmd.name, bad)
	}
	if err == nil {
		s.bad = 0
	}
	return err
}

// parseFailed answers a command that could not be read.
func (s *session) parseFailed(name string, err error) error {
	bad, ok := errors.AsType[syntax.Error](err)
	if !ok {
		return err
	}
	if s.cmd.tag == "" {
		s.cmd.tag = "*"
	}
	return s.refuse("BAD Error in IMAP command" + name + ": " + string(bad))
}

// refuse answers a wrong command and skips what is left of it. Twenty in a row
// end the session: that is no client.
func (s *session) refuse(text string) error {
	s.reply(text)
	if err := s.p.Skip(); err != nil {
		return err
	}
	if s.bad++; s.bad >= maxBad {
		s.bye, s.reason = "Too many invalid IMAP commands.", "Too many invalid IMAP commands."
	}
	return nil
}

// reply writes the tagged answer. Like Dovecot's it ends with the seconds that
// the command took: those of work, then those of waiting for the client.
func (s *session) reply(text string) {
	total := time.Since(s.cmd.begun)
	waits := min(s.in.Waited, total)
	s.out.Text(s.cmd.tag, " ", text, " (")
	s.out.Buf = appendSeconds(s.out.Buf, max(total-waits, time.Millisecond))
	s.out.Text(" + ")
	s.out.Buf = appendSeconds(s.out.Buf, waits)
	s.out.Text(" secs).")
	s.out.Line()
}

func appendSeconds(b []byte, d time.Duration) []byte {
	ms := d.Milliseconds()
	return fmt.Appendf(b, "%d.%03d", ms/1000, ms%1000)
}

// done ends a command: news of the mailbox, then the tagged answer. Expunges
// are told where RFC 3501 section 7.4.1 allows: not in answer to FETCH, STORE
// and SEARCH, whose numbers the client may be using.
func (s *session) done(text string) error {
	quiet := slices.Contains(quietly[:], s.cmd.name)
	if err := s.sync(!quiet); err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(text, "OK "); ok && s.gone && s.box != nil && rest[0] != '[' {
		// RFC 7162 section 3.2.7: the client may go on from this modseq.
		text = "OK [HIGHESTMODSEQ " + strconv.FormatUint(s.view.Snap.ModSeq, 10) + "] " + rest
	}
	s.gone = false
	s.reply(text)
	return nil
}

// quietly are the commands after which no expunge is told. RFC 5256 section 2.1
// asks the same of SORT and THREAD.
var quietly = [...]string{"FETCH", "STORE", "SEARCH", "SORT", "THREAD"}
