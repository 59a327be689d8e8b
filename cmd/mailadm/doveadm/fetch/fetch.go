// Package fetch writes the fields of doveadm-fetch(1).
package fetch

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/letter"
	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/store"
)

// Context is what the fields say beside the message.
type Context struct {
	User    string
	BoxGUID string
}

// Field is one field that is to be printed.
type Field struct {
	name  string
	write func(f *Field, l *letter.Letter, c Context, out show.Formatter) error
	arg   string // header or section
	how   string // filter of a header
}

// plain are the fields of a fixed name, in the order in which the list of all names them.
var plain = []Field{
	{name: "user", write: text(func(_ *letter.Letter, c Context) (string, error) { return c.User, nil })},
	{name: "mailbox", write: text(func(l *letter.Letter, _ Context) (string, error) { return l.Mailbox, nil })},
	{name: "mailbox-guid", write: text(func(_ *letter.Letter, c Context) (string, error) { return c.BoxGUID, nil })},
	{name: "seq", write: text(func(l *letter.Letter, _ Context) (string, error) { return strconv.Itoa(l.Seq), nil })},
	{name: "uid", write: number(func(l *letter.Letter) (int64, error) { return int64(l.M.UID), nil })},
	{name: "guid", write: text(func(l *letter.Letter, _ Context) (string, error) { return l.GUID() })},
	{name: "flags", write: text(func(l *letter.Letter, _ Context) (string, error) { return flags(l), nil })},
	{name: "modseq", write: number(func(l *letter.Letter) (int64, error) { return int64(l.M.ModSeq), nil })},
	{name: "hdr", write: header},
	{name: "body", write: body},
	{name: "body.preview", write: text(snippet)},
	{name: "body.snippet", write: text(snippet)},
	{name: "text", write: whole},
	{name: "text.utf8", write: readable},
	{name: "size.physical", write: number((*letter.Letter).PhysicalSize)},
	{name: "size.virtual", write: number(func(l *letter.Letter) (int64, error) { return l.M.Size, nil })},
	{name: "date.received", write: date(received)},
	{name: "date.sent", write: text(dateSent)},
	{name: "date.saved", write: date(saved)},
	{name: "date.received.unixtime", write: stamp(received)},
	{name: "date.sent.unixtime", write: stamp(func(l *letter.Letter) (time.Time, bool) { t, _, _ := l.Sent(); return orZero(t), true })},
	{name: "date.saved.unixtime", write: stamp(saved)},
	{name: "imap.envelope", write: text(envelope)},
	{name: "imap.body", write: text(func(l *letter.Letter, _ Context) (string, error) { return structure(l, false) })},
	{name: "imap.bodystructure", write: text(func(l *letter.Letter, _ Context) (string, error) { return structure(l, true) })},
	{name: "pop3.uidl", write: empty}, {name: "pop3.order", write: empty},
	{name: "refcount", write: empty}, {name: "storageid", write: empty},
}

// Names lists all fields as Dovecot does beside its error.
func Names() string {
	names := []string{"hdr.<name>", "body.<section>", "binary.<section>"}
	for _, f := range plain {
		names = append(names, f.name)
	}
	return strings.Join(names, " ")
}

// Parse reads a list of names with spaces between them. The error is Dovecot's.
func Parse(list string) (fields []Field, err error) {
	for _, name := range strings.Fields(list) {
		f, err := parse(strings.ToLower(name))
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// unknown is an error with one of Dovecot's texts.
type unknown string

// Error returns the text.
func (u unknown) Error() string { return string(u) }

func parse(name string) (Field, error) {
	for _, f := range plain {
		if f.name == name {
			return f, nil
		}
	}
	kind, arg, ok := strings.Cut(name, ".")
	switch {
	case !ok:
	case kind == "hdr":
		f := Field{name: name, write: headerField, arg: arg}
		f.arg, f.how, _ = strings.Cut(arg, ".")
		return f, nil
	case kind == "body", kind == "binary":
		if !validSection(arg) {
			return Field{}, unknown("Unknown fetch section: " + arg)
		}
		return Field{name: name, write: section, arg: arg, how: kind}, nil
	}
	return Field{}, unknown("Unknown fetch field: " + name)
}

// Check looks at what is only looked at when the first user's mail is.
func Check(fields []Field) error {
	for _, f := range fields {
		if strings.HasPrefix(f.name, "hdr.") {
			if _, ok := filters[f.how]; !ok {
				return unknown("Unknown header filter: " + f.how)
			}
		}
	}
	return nil
}

// Columns are the columns of the fields.
func Columns(fields []Field) (list []show.Column) {
	for _, f := range fields {
		list = append(list, show.Column{Key: f.name})
	}
	return list
}

// Write prints one field of a message.
func (f *Field) Write(l *letter.Letter, c Context, out show.Formatter) error {
	return f.write(f, l, c, out)
}

// writer prints one field.
type writer = func(*Field, *letter.Letter, Context, show.Formatter) error

func text(get func(*letter.Letter, Context) (string, error)) writer {
	return func(_ *Field, l *letter.Letter, c Context, out show.Formatter) error {
		s, err := get(l, c)
		out.Value(s)
		return err
	}
}

func number(get func(*letter.Letter) (int64, error)) writer {
	return text(func(l *letter.Letter, _ Context) (string, error) {
		n, err := get(l)
		return strconv.FormatInt(n, 10), err
	})
}

// empty is a field that this kind of mailbox knows nothing of.
func empty(_ *Field, _ *letter.Letter, _ Context, out show.Formatter) error {
	out.Value("")
	return nil
}

func received(l *letter.Letter) (time.Time, bool) { return time.Unix(l.M.Date, 0), true }

func saved(l *letter.Letter) (time.Time, bool) { return l.Saved() }

func orZero(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

const dateForm = "2006-01-02 15:04:05"

// date prints local time; a date that is not kept is empty.
func date(get func(*letter.Letter) (time.Time, bool)) writer {
	return text(func(l *letter.Letter, _ Context) (string, error) {
		t, ok := get(l)
		if !ok {
			return "", nil
		}
		return t.Local().Format(dateForm), nil
	})
}

func stamp(get func(*letter.Letter) (time.Time, bool)) writer {
	return text(func(l *letter.Letter, _ Context) (string, error) {
		t, ok := get(l)
		if !ok {
			return "", nil
		}
		return strconv.FormatInt(t.Unix(), 10), nil
	})
}

// dateSent prints local time, with the zone of the sender behind it, as Dovecot.
func dateSent(l *letter.Letter, _ Context) (string, error) {
	t, zone, ok := l.Sent()
	if !ok {
		return "", nil
	}
	sign := '+'
	if zone < 0 {
		sign, zone = '-', -zone
	}
	return fmt.Sprintf("%s (%c%02d%02d)", t.Local().Format(dateForm), sign, zone/60, zone%60), nil
}

// flags writes flags and keywords in Dovecot's order.
func flags(l *letter.Letter) string {
	var list []string
	for _, f := range []struct {
		bit  store.Flag
		name string
	}{{store.Answered, `\Answered`}, {store.Flagged, `\Flagged`}, {store.Deleted, `\Deleted`}, {store.Seen, `\Seen`}, {store.Draft, `\Draft`}} {
		if l.M.Flags&f.bit != 0 {
			list = append(list, f.name)
		}
	}
	if l.M.UID >= l.Snap.FirstRecent {
		list = append(list, `\Recent`)
	}
	return strings.Join(append(list, l.Snap.Words(l.M.Keywords)...), " ")
}

// inner takes the parentheses off.
func inner(b []byte) string {
	s := strings.TrimPrefix(string(b), "(")
	return strings.TrimSuffix(s, ")")
}

func envelope(l *letter.Letter, _ Context) (string, error) {
	root, err := l.Tree()
	if err != nil {
		return "", err
	}
	return inner(render.Envelope(nil, root.Envelope)), nil
}

func structure(l *letter.Letter, extended bool) (string, error) {
	root, err := l.Tree()
	if err != nil {
		return "", err
	}
	return inner(render.Structure(nil, root, extended)), nil
}
