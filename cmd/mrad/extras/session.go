package extras

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/auth"
	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/textsearch"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/audit"
	"packetboat/internal/store/dict"
)

// Session is one session of a user, as far as its extras go.
type Session struct {
	Options
	Service string // imap, pop3
	User    string
	Home    string
	Remote  string // address of the client
	Local   string
	Session string            // id, for variables
	Tell    func(line string) // takes a line of mail_log
	Fail    func(text string) // takes what went wrong
}

// Begin notes the login.
func (s *Session) Begin() {
	if s.LoginDict == "" {
		return
	}
	q := &auth.Query{User: s.User, Home: s.Home, Service: s.Service, Remote: s.Remote, Local: s.Local, Session: s.Session}
	path, err := auth.ExpandPath(s.LoginDict, q)
	if err == nil && (path == "~" || strings.HasPrefix(path, "~/")) {
		if s.Home == "" {
			err = errors.New("the user has no home")
		}
		path = s.Home + path[1:]
	}
	if err == nil {
		value := stamp(time.Now(), s.Precision)
		err = dict.Open(path).Change(map[string]*string{"shared/" + auth.Expand(s.LoginKey, q): &value})
	}
	if err != nil {
		s.Fail("last_login_dict: Failed to write value for user " + s.User + ": " + err.Error())
	}
}

// stamp writes a time in the units of last_login_precision.
func stamp(now time.Time, precision string) string {
	switch precision {
	case "ms":
		return strconv.FormatInt(now.UnixMilli(), 10)
	case "us":
		return strconv.FormatInt(now.UnixMicro(), 10)
	case "ns":
		return strconv.FormatInt(now.UnixNano(), 10)
	}
	return strconv.FormatInt(now.Unix(), 10)
}

// Watch makes the namespaces tell what is done to the mail in them.
func (s *Session) Watch(list []tree.Namespace) {
	if s.Events == 0 {
		return
	}
	for i := range list {
		n := &list[i]
		prefix, sep := n.Prefix, string(n.Separator)
		n.Store = audit.New(n.Store, audit.Options{Kinds: s.Events, Line: s.line, Tell: s.Tell, Name: func(folder string) string {
			if folder == "INBOX" {
				return folder
			}
			return prefix + strings.ReplaceAll(folder, "/", sep)
		}})
	}
}

// Watched is Watch for the one store of a POP3 session.
func (s *Session) Watched(st store.Store) store.Store {
	list := []tree.Namespace{{Store: st, Separator: '/'}}
	s.Watch(list)
	return list[0].Store
}

// Octets of a field in a line, as in Dovecot.
const (
	fieldLen = 80
	boxLen   = 64
)

// line writes an event as Dovecot's mail_log does.
func (o *Options) line(e audit.Event) string {
	box := clip(e.Box, boxLen)
	switch e.Kind {
	case audit.MailboxCreate:
		return "Mailbox created: " + box
	case audit.MailboxDelete:
		return "Mailbox deleted: " + box
	case audit.MailboxRename:
		return "Mailbox renamed: " + box + " -> " + clip(e.Other, boxLen)
	}
	what := ""
	for _, x := range events {
		if x.kind == e.Kind {
			what = x.name
		}
	}
	if e.Kind == audit.Copy {
		what += " from " + clip(e.Other, boxLen)
	}
	f := o.examine(e)
	var said []string
	for _, name := range strings.Fields("box uid msgid size vsize from subject flags") {
		if !o.has(name) {
			continue
		}
		value := f.value(name)
		switch name {
		case "box":
			value = box
		case "uid":
			value = strconv.FormatUint(uint64(e.Msg.UID), 10)
		case "flags":
			value = "(" + flags(e) + ")"
		}
		said = append(said, name+"="+value)
	}
	return what + ": " + strings.Join(said, ", ")
}

func (o *Options) has(field string) bool {
	for _, f := range o.Fields {
		if f == field {
			return true
		}
	}
	return false
}

// facts are what a line tells of a message's text.
type facts struct {
	msgid, from, subject string
	octets, lines        int64 // with CRLF line ends
}

func (f *facts) value(name string) string {
	switch name {
	case "msgid":
		return clip(f.msgid, fieldLen)
	case "from":
		return clip(textsearch.Words(f.from), fieldLen)
	case "subject":
		return clip(textsearch.Words(f.subject), fieldLen)
	case "size": // on disk a line ends with LF
		return strconv.FormatInt(f.octets-f.lines, 10)
	case "vsize":
		return strconv.FormatInt(f.octets, 10)
	}
	return ""
}

// examine reads of a message what the fields ask for. Its text is read through only
// where the sizes are asked for.
func (o *Options) examine(e audit.Event) (f facts) {
	sizes := o.has("size") || o.has("vsize")
	if !sizes && !o.has("msgid") && !o.has("from") && !o.has("subject") {
		return f
	}
	r, err := e.Read()
	if err != nil {
		return f
	}
	defer r.Close()
	c := &counter{r: r}
	b := bufio.NewReader(c)
	f.header(message.NewHeaderReader(b, message.HeaderLimits{}))
	if sizes {
		io.Copy(io.Discard, b)
		f.octets, f.lines = c.octets, c.lines
	}
	return f
}

func (f *facts) header(h *message.HeaderReader) {
	for {
		field, err := h.Next()
		if err != nil {
			return
		}
		value := strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(field.Value()))
		switch {
		case field.Is("Message-ID") && f.msgid == "":
			f.msgid = value
		case field.Is("From") && f.from == "":
			f.from = value
		case field.Is("Subject") && f.subject == "":
			f.subject = value
		}
	}
}

// counter counts octets and lines that pass.
type counter struct {
	r             io.Reader
	octets, lines int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.octets += int64(n)
	c.lines += int64(bytes.Count(p[:n], []byte("\n")))
	return n, err
}

// flags writes the flags of a message as Dovecot orders them.
func flags(e audit.Event) string {
	var list []string
	for _, f := range []struct {
		flag store.Flag
		name string
	}{{store.Answered, `\Answered`}, {store.Flagged, `\Flagged`}, {store.Deleted, `\Deleted`}, {store.Seen, `\Seen`}, {store.Draft, `\Draft`}} {
		if e.Msg.Flags&f.flag != 0 {
			list = append(list, f.name)
		}
	}
	return strings.Join(append(list, e.Words...), " ")
}

// clip makes a stranger's text fit for a line of a log, with "..." where it is cut.
func clip(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\uFFFD' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	s = s[:limit-3]
	return strings.ToValidUTF8(s, "") + "..."
}
