// Package trace tells the whole story of a message (mailadm trace): who handed it
// over, what was checked, where its recipients led, each try with the remote's
// words, and what still waits. It reads the mail log, ours or Postfix's, and the
// queue; it follows a message into those that were made of it: reports, forwarded
// copies, what a content filter gave back.
package trace

import (
	"bufio"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Limits on what is read and kept.
const (
	maxLine     = 64 << 10 // octets of a line that are looked at
	maxMessages = 1000     // messages of one story
	maxRefused  = 1000     // refusals at the door that are shown
)

// Event is one line of the log about a message.
type Event struct {
	Time    string `json:"time"` // as the log has it
	Program string `json:"program"`
	Text    string `json:"text"`
}

// Delivery is one try for one recipient.
type Delivery struct {
	Time   string `json:"time"`
	To     string `json:"to"`
	OrigTo string `json:"orig_to,omitempty"`
	Relay  string `json:"relay,omitempty"`
	Delay  string `json:"delay,omitempty"` // seconds since the message arrived
	DSN    string `json:"dsn,omitempty"`
	Status string `json:"status"` // sent, deferred, bounced, expired ...
	Text   string `json:"text,omitempty"`
}

// Waiting is a recipient of a message that is in the queue.
type Waiting struct {
	To     string `json:"to"`
	Done   bool   `json:"done"`
	Reason string `json:"reason,omitempty"`
}

// Queued is what the queue says of a message.
type Queued struct {
	Folder     string    `json:"folder"`
	NextTry    string    `json:"next_try,omitempty"`
	Recipients []Waiting `json:"recipients"`
}

// Stored is a mailbox where the message ended.
type Stored struct {
	Time   string `json:"time"`
	User   string `json:"user"`
	Folder string `json:"folder"`
	Rule   string `json:"rule,omitempty"` // what sent it there: sieve; empty = nothing but its address
	UID    string `json:"uid,omitempty"`  // as mail programs know it; empty = it is not there, or cannot be asked for
}

// Message is one message's story.
type Message struct {
	ID         string     `json:"id"`
	MessageID  string     `json:"message_id,omitempty"`
	From       string     `json:"from,omitempty"`
	Size       string     `json:"size,omitempty"`
	Client     string     `json:"client,omitempty"`
	Events     []Event    `json:"events"`
	Deliveries []Delivery `json:"deliveries"`
	Became     []string   `json:"became,omitempty"` // ids of reports and copies
	Stored     []Stored   `json:"stored,omitempty"`
	Removed    bool       `json:"removed"` // the queue is done with it
	Queue      *Queued    `json:"queue,omitempty"`
}

// Story is the answer to a question.
type Story struct {
	Messages []*Message `json:"messages"`
	Refused  []Event    `json:"refused,omitempty"` // refusals at the door that name the address
}

// line is one line of the log, taken apart.
type line struct {
	time, program, id, text string
}

// lineForm is a line of syslog or of maillog_file, with either form of date.
var lineForm = regexp.MustCompile(`^(\S{3} [ 0-9]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) \S+ ([^\[: ]+)(?:\[\d+\])?: (.*)$`)

// idForm is what stands before the text: a queue id, or NOQUEUE.
var idForm = regexp.MustCompile(`^([0-9A-F]{6,21}|[0-9A-Za-z]{10,32}|NOQUEUE): (.*)$`)

func parse(s string) (l line, ok bool) {
	m := lineForm.FindStringSubmatch(s)
	if m == nil {
		return l, false
	}
	l.time, l.program, l.text = m[1], m[2], m[3]
	if i := strings.IndexByte(l.program, '/'); i >= 0 {
		l.program = l.program[i+1:]
	}
	if m := idForm.FindStringSubmatch(l.text); m != nil {
		l.id, l.text = m[1], m[2]
	}
	return l, true
}

// Lines calls fn for each line that r has; what is too long is cut.
func Lines(r io.Reader, fn func(string)) error {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		b, more, err := in.ReadLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		fn(string(b))
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
	}
}

// Tracer gathers a story. Find is called for the whole log first, then Gather; log
// files are read twice, so that a story may begin before the line that names it.
type Tracer struct {
	what  string // in lower case, without "<>"
	ids   map[string]bool
	order []string
	byID  map[string]*Message
	msgid map[string]string // message-id to the first queue id
	story Story
}

// New returns a Tracer for a queue id, an address or a Message-ID.
func New(what string) *Tracer {
	t := &Tracer{what: strings.ToLower(strings.Trim(what, "<> ")), ids: map[string]bool{}, byID: map[string]*Message{}, msgid: map[string]string{}}
	if idForm.MatchString(what+": x") && !strings.Contains(what, "@") {
		t.want(what)
	}
	return t
}

// want adds a message to the story.
func (t *Tracer) want(id string) {
	if !t.ids[id] && len(t.order) < maxMessages && id != "NOQUEUE" {
		t.ids[id] = true
		t.order = append(t.order, id)
	}
}

// bracketed are the places of a line that name an address or a Message-ID.
var bracketed = regexp.MustCompile(`(?:from|to|orig_to|message-id|sasl_username)=(?:<([^>]*)>|([^,\s]+))`)

// child is where a line says that another message was made of this one.
var child = regexp.MustCompile(`(?:notification: |forwarded as |renamed to |queued as )([0-9A-F]{6,21}|[0-9A-Za-z]{10,32})\b`)

// Find looks whether a line names what is asked for, or leads on from a message
// that it is about. It tells whether the story grew.
func (t *Tracer) Find(s string) (grew bool) {
	l, ok := parse(s)
	if !ok || l.id == "" {
		return false
	}
	before := len(t.order)
	for _, m := range bracketed.FindAllStringSubmatch(l.text, -1) {
		if strings.EqualFold(m[1]+m[2], t.what) {
			t.want(l.id)
		}
	}
	if t.ids[l.id] {
		if m := child.FindStringSubmatch(l.text); m != nil {
			t.want(m[1])
		}
	}
	return len(t.order) > before
}

// Gather takes a line into the story.
func (t *Tracer) Gather(s string) {
	l, ok := parse(s)
	switch {
	case !ok:
	case l.id == "NOQUEUE":
		if strings.Contains(strings.ToLower(l.text), "<"+t.what+">") && len(t.story.Refused) < maxRefused {
			t.story.Refused = append(t.story.Refused, Event{l.time, l.program, l.text})
		}
	case t.ids[l.id]:
		t.take(t.message(l.id), l)
	case l.id == "":
		t.byMessageID(l)
	}
}

// byMessageID takes lines of delivery agents, which know the Message-ID alone.
func (t *Tracer) byMessageID(l line) {
	_, rest, ok := strings.Cut(l.text, "msgid=<")
	if !ok {
		return
	}
	id, _, _ := strings.Cut(rest, ">")
	if q := t.msgid[id]; q != "" {
		m := t.byID[q]
		m.Events = append(m.Events, Event{l.time, l.program, l.text})
		if f := savedForm.FindStringSubmatch(l.text); f != nil && len(m.Stored) < maxMessages {
			m.Stored = append(m.Stored, Stored{Time: l.time, User: f[1], Rule: f[2], Folder: strings.Trim(f[3], "'")})
		}
	}
}

// savedForm is the line of Dovecot's delivery agents, and ours, about a message that was
// stored: "lmtp(USER)<PID><SESSION>: sieve: msgid=<ID>: stored mail into mailbox 'BOX'".
var savedForm = regexp.MustCompile(`^(?:lmtp|lda)\(([^)]*)\)(?:<[^>]*>)*: (?:(sieve): )?msgid=<[^>]*>: (?:saved mail to|stored mail into mailbox) (.+)$`)

func (t *Tracer) message(id string) *Message {
	m := t.byID[id]
	if m == nil {
		m = &Message{ID: id}
		t.byID[id] = m
	}
	return m
}

// take notes one line of a message.
func (t *Tracer) take(m *Message, l line) {
	m.Events = append(m.Events, Event{l.time, l.program, l.text})
	f := fields(l.text)
	switch {
	case f["status"] != "" && f["to"] != "":
		d := Delivery{Time: l.time, To: f["to"], OrigTo: f["orig_to"], Relay: f["relay"], Delay: f["delay"], DSN: f["dsn"]}
		d.Status, d.Text, _ = strings.Cut(f["status"], " ")
		d.Text = strings.TrimSuffix(strings.TrimPrefix(d.Text, "("), ")")
		m.Deliveries = append(m.Deliveries, d)
		// Our own delivery agent writes no line: what local(8) says is all.
		if user, _, _ := strings.Cut(d.To, "@"); l.program == "local" && d.Status == "sent" && (d.Text == "delivered to mailbox" || d.Text == "delivered to maildir") {
			m.Stored = append(m.Stored, Stored{Time: l.time, User: user, Folder: "INBOX"})
		}
	case f["client"] != "":
		m.Client = f["client"]
	case strings.HasPrefix(l.text, "uid="):
		m.Client = "local user " + f["uid"]
	case f["message-id"] != "":
		m.MessageID = f["message-id"]
		t.msgid[m.MessageID] = m.ID
	case f["size"] != "":
		m.From, m.Size = f["from"], f["size"]
	case l.text == "removed":
		m.Removed = true
	}
	if c := child.FindStringSubmatch(l.text); c != nil && t.ids[c[1]] && c[1] != m.ID && !slices.Contains(m.Became, c[1]) {
		m.Became = append(m.Became, c[1])
	}
}

// fields takes "name=value, name=<value>, status=word (text)" apart; the status is
// the rest of the line.
func fields(text string) map[string]string {
	out := map[string]string{}
	for text != "" {
		name, rest, ok := strings.Cut(text, "=")
		if !ok || strings.ContainsAny(name, " \t<>") {
			break
		}
		if name == "status" {
			out[name] = rest
			break
		}
		var value string
		if v, found := strings.CutPrefix(rest, "<"); found {
			value, rest, _ = strings.Cut(v, ">")
			_, rest, _ = strings.Cut(rest, ", ")
			if value == "" {
				value = "<>"
			}
		} else {
			value, rest, _ = strings.Cut(rest, ", ")
			value, _, _ = strings.Cut(value, " ")
		}
		out[name] = value
		text = rest
	}
	return out
}

// IDs returns the messages of the story, for who looks into the queue.
func (t *Tracer) IDs() []string { return t.order }

// Queue notes what the queue says of a message.
func (t *Tracer) Queue(id string, q *Queued) { t.message(id).Queue = q }

// Locate has ask tell the UID of each message in the mailbox where it was stored.
func (t *Tracer) Locate(ask func(user, folder, messageID string) (uid string)) {
	for _, m := range t.byID {
		for i := range m.Stored {
			if s := &m.Stored[i]; m.MessageID != "" {
				s.UID = ask(s.User, s.Folder, m.MessageID)
			}
		}
	}
}

// Story returns what was gathered, in the order of the log.
func (t *Tracer) Story() *Story {
	t.story.Messages = []*Message{}
	for _, id := range t.order {
		if m := t.byID[id]; m != nil {
			t.story.Messages = append(t.story.Messages, m)
		}
	}
	return &t.story
}
