package imapd

import (
	"strings"
	"time"

	"packetboat/internal/serve/imapd/spool"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
)

// append: RFC 3501 section 6.3.11, with RFC 7888's LITERAL+, RFC 3502's several
// messages in one command and RFC 4315's APPENDUID. What is refused is read and
// thrown away, so that none of its octets runs as a command.
func (s *session) append(args []syntax.Arg) error { return s.appendTo(args, 0) }

// appendTo is append; replaced is the UID of a message that goes when the new one
// is on disk (REPLACE), or 0.
func (s *session) appendTo(args []syntax.Arg, replaced uint32) error {
	if len(args) == 0 {
		return syntax.Error("Missing arguments")
	}
	switch {
	case !args[0].IsString():
		return s.dropLiteral(args, syntax.Error("Invalid arguments"))
	case len(args) == 1:
		return syntax.Error("Missing message size")
	}
	msg, src, err := nextMessage(args[1:])
	if err != nil {
		return s.dropLiteral(args, err)
	}
	name, err := s.mailboxName(args[0])
	var box store.Mailbox
	if err == nil {
		box, err = s.tree.Open(name)
	}
	if err != nil {
		return s.refuseLiteral(src.Arg, err, name)
	}
	defer box.Close()
	s.cmd.safe = s.box != nil && s.tree.Same(s.view.Name, name)
	ap := &appender{session: s, name: name, box: box, replaced: replaced}
	ap.spool.Dir = s.opts.TempDir
	defer ap.spool.Close()
	return ap.run(msg, src)
}

// appendOptions reads flags and date.
func appendOptions(args []syntax.Arg) (msg store.New, err error) {
	if len(args) > 0 && args[0].Kind == syntax.List {
		if msg.Flags, msg.Keywords, err = view.ParseFlags(args[0].List); err != nil {
			return msg, err
		}
		args = args[1:]
	}
	if len(args) > 0 {
		msg.Date, err = time.Parse("_2-Jan-2006 15:04:05 -0700", string(args[0].Text))
		if err != nil || args[0].Kind == syntax.List {
			return msg, syntax.Error("Invalid internal date")
		}
		args = args[1:]
	}
	if len(args) > 0 {
		return msg, syntax.Error("Invalid arguments")
	}
	return msg, nil
}

// dropLiteral returns a syntax error and leaves the literal, where one is on
// its way, to Skip.
func (s *session) dropLiteral(args []syntax.Arg, err error) error {
	if n := len(args); n > 0 && args[n-1].Kind == syntax.Size {
		s.p.Owe(args[n-1])
	}
	return err
}

// refuseLiteral answers NO and swallows the literal.
func (s *session) refuseLiteral(size syntax.Arg, err error, name string) error {
	if size.Kind == syntax.Size {
		s.p.Owe(size)
	}
	if err := s.p.Skip(); err != nil {
		return err
	}
	return s.failed(err, name, "[TRYCREATE] ")
}

const errTooBig = refusal("[TOOBIG] Message is too large")

// maxMulti is the number of messages of one APPEND.
const maxMulti = 1000

// appender takes the messages of one APPEND.
type appender struct {
	*session
	name     string
	box      store.Mailbox
	spool    spool.Spool
	replaced uint32
	msgs     []store.New
	at       []spool.Place
	begun    int64 // where the message that is put together begins in the spool
}

// run takes message after message and gives them all to the store at once: all
// are saved or none (RFC 3502 section 6.3.11).
func (ap *appender) run(msg store.New, src source) error {
	for {
		if refused := ap.refuses(src); refused != nil {
			return ap.refuseLiteral(src.Arg, refused, ap.name)
		}
		take := ap.takeLiteral
		if src.Kind == syntax.Parts {
			take = ap.takeParts
		}
		at, next, refused, err := take(src)
		switch {
		case err != nil:
			return err
		case refused != nil:
			return ap.refuseLiteral(lastOf(next), refused, ap.name)
		}
		ap.msgs, ap.at = append(ap.msgs, msg), append(ap.at, at)
		if len(next) == 0 {
			return ap.save()
		}
		if msg, src, err = nextMessage(next); err != nil {
			return ap.dropLiteral(next, err)
		}
	}
}

func lastOf(args []syntax.Arg) (a syntax.Arg) {
	if n := len(args); n > 0 {
		a = args[n-1]
	}
	return a
}

// takeLiteral takes one message that is a literal, and returns what follows it.
func (ap *appender) takeLiteral(src source) (at spool.Place, next []syntax.Arg, refused, err error) {
	if src.Sync {
		if err := ap.askLiteral(); err != nil {
			return at, nil, nil, err
		}
	}
	body := &syntax.LiteralBody{P: &ap.p, Left: src.Len}
	at, refused = ap.spool.Take(body)
	if end := body.Finish(); end != nil {
		return at, nil, nil, end
	}
	return at, body.Next, refused, nil
}

// refuses says why a message cannot be taken; nil = it can.
func (ap *appender) refuses(src source) error {
	limit := ap.opts.MaxMessage
	switch {
	case limit > 0 && src.Len > limit:
		return errTooBig
	case src.Len == 0 && src.Kind == syntax.Size:
		return refusal("Can't save a zero byte message")
	case ap.replaced != 0 && len(ap.msgs) > 0:
		return refusal("[LIMIT] A message is replaced by one")
	case len(ap.msgs) >= maxMulti:
		return refusal("[LIMIT] Too many messages in one APPEND")
	}
	return ap.room(src.Len)
}

// source is where the octets of a message come from: a literal, or with Kind
// syntax.Parts a list, whose word says of what.
type source struct {
	syntax.Arg
	word string
}

// nextMessage reads what stands before a message.
func nextMessage(args []syntax.Arg) (msg store.New, src source, err error) {
	n := len(args) - 1
	switch src.Arg = args[n]; src.Kind {
	case syntax.Size:
	case syntax.Parts:
		n--
		src.word = strings.ToUpper(string(args[n].Text))
	default:
		return msg, src, syntax.Error("Invalid arguments")
	}
	msg, err = appendOptions(args[:n])
	return msg, src, err
}

func (ap *appender) save() error {
	uids, err := ap.spool.Append(ap.box, ap.msgs, ap.at)
	if err != nil {
		return ap.failed(err, ap.name, "[TRYCREATE] ")
	}
	keepSaved(ap.box, uids)
	code := appendUID("APPENDUID", ap.box.Snapshot().UIDValidity, nil, uids)
	if ap.replaced != 0 {
		return ap.replace(code)
	}
	return ap.done("OK " + code + " Append completed")
}

// appendUID writes "[COPYUID validity from to]" of RFC 4315. The UIDs keep
// their order, for the client pairs them.
func appendUID(word string, validity uint32, from, to []uint32) string {
	b := append([]byte{'['}, word...)
	b = append(b, ' ')
	b = syntax.Set{{Start: validity, Stop: validity}}.Append(b)
	for _, uids := range [][]uint32{from, to} {
		if uids != nil {
			var set syntax.Set
			for _, u := range uids {
				set.Add(u)
			}
			b = set.Append(append(b, ' '))
		}
	}
	return string(append(b, ']'))
}
