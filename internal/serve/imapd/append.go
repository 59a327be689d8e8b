package imapd

import (
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
	last := args[len(args)-1]
	switch {
	case !args[0].IsString():
		return s.dropLiteral(args, syntax.Error("Invalid arguments"))
	case len(args) == 1:
		return syntax.Error("Missing message size")
	case last.Kind != syntax.Size:
		return syntax.Error("Invalid arguments")
	}
	msg, err := appendOptions(args[1 : len(args)-1])
	if err != nil {
		return s.dropLiteral(args, err)
	}
	name, err := s.mailboxName(args[0])
	var box store.Mailbox
	if err == nil {
		box, err = s.tree.Open(name)
	}
	if err != nil {
		return s.refuseLiteral(last, err, name)
	}
	defer box.Close()
	s.cmd.safe = s.box != nil && s.tree.Same(s.view.Name, name)
	ap := &appender{session: s, name: name, box: box, replaced: replaced}
	ap.spool.Dir = s.opts.TempDir
	defer ap.spool.Close()
	return ap.run(msg, last)
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
	s.p.Owe(size)
	if err := s.p.Skip(); err != nil {
		return err
	}
	return s.failed(err, name, "[TRYCREATE] ")
}

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
}

// run takes message after message and gives them all to the store at once: all
// are saved or none (RFC 3502 section 6.3.11).
func (ap *appender) run(msg store.New, size syntax.Arg) error {
	for {
		if refused := ap.refuses(size); refused != nil {
			return ap.refuseLiteral(size, refused, ap.name)
		}
		if size.Sync {
			if err := ap.askLiteral(); err != nil {
				return err
			}
		}
		body := &syntax.LiteralBody{P: &ap.p, Left: size.Len}
		at, err := ap.spool.Take(body)
		if end := body.Finish(); end != nil {
			return end
		}
		if err != nil {
			return ap.spoolFailed(body, err)
		}
		ap.msgs, ap.at = append(ap.msgs, msg), append(ap.at, at)
		if len(body.Next) == 0 {
			return ap.save()
		}
		if msg, size, err = nextMessage(body.Next); err != nil {
			return ap.dropLiteral(body.Next, err)
		}
	}
}

// refuses says why a message cannot be taken; nil = it can.
func (ap *appender) refuses(size syntax.Arg) error {
	limit := ap.opts.MaxMessage
	switch {
	case limit > 0 && size.Len > limit:
		return refusal("[TOOBIG] Message is too large")
	case size.Len == 0:
		return refusal("Can't save a zero byte message")
	case ap.replaced != 0 && len(ap.msgs) > 0:
		return refusal("[LIMIT] A message is replaced by one")
	case len(ap.msgs) >= maxMulti:
		return refusal("[LIMIT] Too many messages in one APPEND")
	}
	return nil
}

// nextMessage reads what stands between two messages.
func nextMessage(args []syntax.Arg) (msg store.New, size syntax.Arg, err error) {
	size = args[len(args)-1]
	if size.Kind != syntax.Size {
		return msg, size, syntax.Error("Invalid arguments")
	}
	msg, err = appendOptions(args[:len(args)-1])
	return msg, size, err
}

// spoolFailed answers when a message could not be kept until it was whole.
func (ap *appender) spoolFailed(body *syntax.LiteralBody, err error) error {
	if n := len(body.Next); n > 0 && body.Next[n-1].Kind == syntax.Size {
		return ap.refuseLiteral(body.Next[n-1], err, ap.name)
	}
	return ap.failed(err, ap.name, "")
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
