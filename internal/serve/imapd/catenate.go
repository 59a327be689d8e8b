package imapd

import (
	"errors"
	"io"
	"math"
	"strings"

	"packetboat/internal/serve/imapd/imapurl"
	"packetboat/internal/serve/imapd/reply"
	"packetboat/internal/serve/imapd/spool"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
)

// takeParts takes one message that comes in a list: "CATENATE (URL u TEXT {n} ...)" of
// RFC 4469, or "UTF8 ({n})" of RFC 6855, and returns what follows it.
func (ap *appender) takeParts(src source) (at spool.Place, next []syntax.Arg, refused, err error) {
	start, n := ap.spool.Start(), 0
	ap.begun = start
	for {
		word, a, end, err := ap.p.Part()
		if err != nil {
			return at, nil, nil, err
		}
		if end {
			break
		}
		n++
		isText := a.Kind == syntax.Size && (word == "" == (src.word == "UTF8")) && (word == "" || strings.EqualFold(word, "TEXT"))
		switch {
		case isText:
			refused, err = ap.takeText(a)
		case src.word == "CATENATE" && strings.EqualFold(word, "URL") && a.IsString():
			refused = ap.takeURL(string(a.Text))
		default:
			return at, nil, nil, ap.dropLiteral([]syntax.Arg{a}, syntax.Error("Invalid arguments"))
		}
		if refused != nil || err != nil {
			return at, nil, refused, err
		}
	}
	if n == 0 || n > 1 && src.word == "UTF8" {
		return at, nil, nil, syntax.Error("Empty " + src.word + " list")
	}
	at = ap.spool.Since(start)
	next, err = ap.p.Args(true)
	if err == nil && at.Size() == 0 {
		refused = refusal("Can't save a zero byte message")
	}
	return at, next, refused, err
}

// takeText takes a literal of a message. One that is refused is left to Skip.
func (ap *appender) takeText(size syntax.Arg) (refused, err error) {
	if limit := ap.opts.MaxMessage; limit > 0 && ap.spool.Since(ap.begun).Size()+size.Len > limit {
		ap.p.Owe(size)
		return errTooBig, nil
	}
	if size.Sync {
		if err := ap.askLiteral(); err != nil {
			return nil, err
		}
	}
	return ap.p.Octets(size.Len, &ap.spool)
}

// takeURL takes a part of a message of one's own mail. What is wrong with it is told
// with the URL, so that the client knows which one (RFC 4469 section 4).
func (ap *appender) takeURL(text string) (refused error) {
	u, err := imapurl.Parse(text)
	if err == nil {
		err = ap.copyURL(u)
	}
	if problem := urlProblem(err); problem != "" {
		return refusal("[BADURL " + printable(text) + "] " + problem)
	}
	return err
}

// urlProblem returns what the client is told of an error; empty for those of the disk.
func urlProblem(err error) string {
	switch {
	case err == nil, errors.Is(err, errTooBig):
		return ""
	case errors.As(err, new(refusal)), errors.As(err, new(imapurl.Error)):
		return err.Error()
	case errors.Is(err, store.ErrNoMessage):
		return "Message not found"
	}
	return ""
}

// printable writes a URL so that it cannot end the response code.
func printable(url string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f || c == ']' || c == '"' || c == '\\' {
			return '?'
		}
		return c
	}, url[:min(len(url), 1000)])
}

// copyURL appends what a URL means to the spool.
func (ap *appender) copyURL(u imapurl.URL) error {
	box := ap.session.box
	if u.Mailbox != "" && (box == nil || !ap.tree.Same(ap.view.Name, u.Mailbox)) {
		var err error
		if box, err = ap.tree.Open(u.Mailbox); errors.Is(err, store.ErrNoMailbox) {
			return refusal("Mailbox doesn't exist: " + u.Mailbox)
		}
		if err != nil {
			return err
		}
		defer box.Close()
	}
	if box == nil {
		return refusal("Mailbox-relative IMAP URL, but no mailbox selected")
	}
	snap, err := box.Sync()
	if err != nil {
		return err
	}
	if u.Validity != 0 && u.Validity != snap.UIDValidity {
		return refusal("Invalid UIDVALIDITY")
	}
	if snap, err = box.Look([]uint32{u.UID}); err != nil {
		return err
	}
	v := view.View{Snap: snap, Msgs: snap.Msgs}
	i := v.Find(u.UID)
	if i == len(snap.Msgs) || snap.Msgs[i].UID != u.UID {
		return store.ErrNoMessage
	}
	room := &limited{w: &ap.spool, left: math.MaxInt64}
	if limit := ap.opts.MaxMessage; limit > 0 {
		room.left = limit - ap.spool.Since(ap.begun).Size()
	}
	f := &reply.Fetcher{View: &v, Box: box, Loader: &reply.Loader{}}
	return f.CopyTo(room, &u.Item, &snap.Msgs[i])
}

// limited holds what is put together to the size of one message.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= int64(len(b)); l.left < 0 {
		return 0, errTooBig
	}
	return l.w.Write(b)
}
