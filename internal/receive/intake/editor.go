package intake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/receive/intake/pieces"
	"packetboat/internal/receive/milter"
	"packetboat/internal/route/checks"
)

// editor keeps what milters change of a message in the queue file: nothing is
// written before the last milter has had its say. It implements milter.Content
// and milter.Editor.
type editor struct {
	m         *Message
	view      *pieces.Table
	headerEnd int64
	added     int    // octets of header fields that are held in memory
	body      *spool // the new body, while it comes in
	old       []*spool
}

// maxAdded is how much milters may add to a header, in octets; maxPieces bounds
// how often they may change it.
const (
	maxAdded  = 1 << 20
	maxPieces = 10000
)

func newEditor(m *Message) *editor {
	return &editor{m: m, view: pieces.New(m.w, m.size), headerEnd: m.headerEnd}
}

// drop removes what was kept on disk.
func (e *editor) drop() {
	for _, s := range e.old {
		s.drop()
	}
}

// Reader implements milter.Content.
func (e *editor) Reader() io.Reader { return e.view.Reader(0) }

// failed is the reply to a change that could not be made.
func (e *editor) failed(err error) milter.Reply {
	if err != nil && e.m.err == nil {
		e.m.in.log.QueueWriteError(e.m.id, err)
		e.m.errs |= statWrite
	}
	if e.m.errs&statSize != 0 {
		return milter.Reply{Verdict: milter.Refuse, Text: "552 5.3.4 " + tooBigText}
	}
	return milter.Reply{Verdict: milter.Refuse, Text: "451 4.3.0 queue file write error"}
}

var errTooMuch = errors.New("milters change more of the header than is kept")

// field writes a header field of a milter's own as lines: what is folded begins
// with a blank, so that no value makes another header. milter_header_checks
// judges it. nil means that the field is not wanted.
func (e *editor) field(name, space, value string) []byte {
	value = strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\r", " ")
	text := strings.TrimRight(name+":"+space+value, "\n")
	text, keep := e.check(text)
	if !keep {
		return nil
	}
	var b []byte
	for line := range strings.SplitSeq(text, "\n") {
		if len(b) > 0 && (line == "" || !isBlank(line[0])) {
			b = append(b, '\t')
		}
		b = append(append(b, line...), '\n')
	}
	return cutField(b, e.m.limit)
}

// splice changes the header.
func (e *editor) splice(off, cut int64, text []byte) milter.Reply {
	if e.added += len(text); e.added > maxAdded || e.view.Pieces() > maxPieces {
		return e.failed(errTooMuch)
	}
	e.view.Splice(off, cut, bytes.NewReader(text), int64(len(text)))
	e.headerEnd += int64(len(text)) - cut
	return e.decided()
}

// decided is the reply after a change: milter_header_checks may have ended all.
func (e *editor) decided() milter.Reply {
	switch {
	case e.m.err != nil || e.m.errs&statWrite != 0:
		return e.failed(nil)
	case e.m.wishes.discard:
		return milter.Reply{Verdict: milter.Discard}
	case e.m.errs != 0:
		code := "550 "
		if e.m.errs&statDefer != 0 {
			code = "450 "
		}
		return milter.Reply{Verdict: milter.Refuse, Text: code + e.m.reason}
	}
	return milter.Reply{}
}

// AddHeader implements milter.Editor.
func (e *editor) AddHeader(name, space, value string) milter.Reply {
	text := e.field(name, space, value)
	if text == nil {
		return e.decided()
	}
	return e.splice(e.headerEnd, 0, text)
}

// InsertHeader implements milter.Editor: all fields count, our Received: too.
func (e *editor) InsertHeader(position int, name, space, value string) milter.Reply {
	start, _, found, err := e.find("", max(position, 1))
	switch {
	case err != nil:
		return e.failed(err)
	case !found:
		return e.AddHeader(name, space, value)
	}
	text := e.field(name, space, value)
	if text == nil {
		return e.decided()
	}
	return e.splice(start, 0, text)
}

// ChangeHeader implements milter.Editor: only fields that milters see count.
func (e *editor) ChangeHeader(occurrence int, name, space, value string) milter.Reply {
	start, end, found, err := e.find(name, occurrence)
	switch {
	case err != nil:
		return e.failed(err)
	case !found:
		return e.AddHeader(name, space, value)
	}
	text := e.field(name, space, value)
	if text == nil {
		return e.decided()
	}
	return e.splice(start, end-start, text)
}

// DeleteHeader implements milter.Editor.
func (e *editor) DeleteHeader(occurrence int, name string) milter.Reply {
	start, end, found, err := e.find(name, occurrence)
	if err != nil {
		return e.failed(err)
	}
	if !found {
		return e.decided()
	}
	return e.splice(start, end-start, nil)
}

// find returns where the n-th field of that name begins and ends; of any name
// when name is empty.
func (e *editor) find(name string, n int) (start, end int64, found bool, err error) {
	r := bufio.NewReaderSize(io.LimitReader(e.view.Reader(0), e.headerEnd), pieceSize)
	hidden := name != "" && e.m.own != ""
	for off := int64(0); ; {
		line, err := r.ReadSlice('\n')
		begins := len(line) > 0 && !isBlank(line[0])
		if found && (begins || len(line) == 0) {
			return start, off, true, nil
		}
		if begins && !found && (name == "" || message.NameLen(line) == len(name) && strings.EqualFold(string(line[:len(name)]), name)) {
			if hidden && strings.HasPrefix(e.m.own+"\n", string(line)) {
				hidden = false
			} else if n--; n == 0 {
				start, found = off, true
			}
		}
		off += int64(len(line))
		for err == bufio.ErrBufferFull {
			line, err = r.ReadSlice('\n')
			off += int64(len(line))
		}
		if err == io.EOF {
			return start, off, found, nil
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
}

// ChangeFrom implements milter.Editor; of the parameters RET and ENVID count.
func (e *editor) ChangeFrom(address, params string) milter.Reply {
	for _, p := range strings.Fields(params) {
		e.senderParam(p)
	}
	list := message.Addresses(address)
	a := mail.Address("")
	if len(list) > 0 {
		a = list[0]
	}
	if len(list) > 1 {
		e.m.in.log.Warn("%s: Milter request to add multi-sender: \"%s\"", e.m.id, address)
	}
	e.m.setSender(a)
	if !e.m.src.NoMapping {
		e.m.copyFor(e.m.list, &e.m.in.addresses.senderBCC, e.m.env.Sender)
	}
	e.m.env.Rcpts = e.m.list.rcpts
	return e.decided()
}

func (e *editor) senderParam(p string) {
	name, value, _ := strings.Cut(p, "=")
	switch strings.ToUpper(name) {
	case "RET":
		if v := strings.ToUpper(value); v == "FULL" || v == "HDRS" {
			e.m.env.Ret = v
			return
		}
	case "ENVID":
		if v, err := mail.Unxtext(value); err == nil {
			e.m.env.EnvID = v
			return
		}
	}
	e.m.in.log.Warn("Ignoring bad ESMTP parameter \"%s\" in SMFI_CHGFROM request", p)
}

// AddRcpt implements milter.Editor; of the parameters NOTIFY and ORCPT count.
func (e *editor) AddRcpt(address, params string) milter.Reply {
	list := message.Addresses(address)
	if len(list) == 0 {
		e.m.in.log.Warn("%s: ignoring attempt from Milter to add null recipient", e.m.id)
		return e.decided()
	}
	if len(list) > 1 {
		e.m.in.log.Warn("%s: Milter or header/body_checks request to add multi-recipient: \"%s\"", e.m.id, address)
	}
	a := e.m.mapAddress(e.m.in.complete(list[0]), envelopeRecipient)
	r := mail.Rcpt{Addr: a, Orig: a}
	for _, p := range strings.Fields(params) {
		e.rcptParam(&r, p)
	}
	e.m.out1(e.m.list, r, false)
	e.m.env.Rcpts = e.m.list.rcpts
	return e.decided()
}

func (e *editor) rcptParam(r *mail.Rcpt, p string) {
	name, value, _ := strings.Cut(p, "=")
	switch strings.ToUpper(name) {
	case "NOTIFY":
		if n, err := mail.ParseNotify(value); err == nil {
			r.Notify = n
			return
		}
		e.m.in.log.Warn("%s: Bad NOTIFY parameter from Milter or header/body_checks: \"%.100s\"", e.m.id, p)
	case "ORCPT":
		kind, addr, ok := strings.Cut(value, ";")
		if text, err := mail.Unxtext(addr); ok && err == nil && kind != "" {
			r.ORCPT = kind + ";" + text
			return
		}
		e.m.in.log.Warn("%s: Bad ORCPT parameter from Milter or header/body_checks: \"%.100s\"", e.m.id, p)
	default:
		e.m.in.log.Warn("%s: ignoring ESMTP argument from Milter or header/body_checks: \"%.100s\"", e.m.id, p)
	}
}

// DelRcpt implements milter.Editor.
func (e *editor) DelRcpt(address string) milter.Reply {
	list := message.Addresses(address)
	if len(list) > 1 {
		e.m.in.log.Warn("%s: Milter request to drop multi-recipient: \"%s\"", e.m.id, address)
	}
	if len(list) > 0 {
		e.m.list.drop(list[0])
		e.m.env.Rcpts = e.m.list.rcpts
	}
	return e.decided()
}

// BeginBody implements milter.Editor. The empty line before the body is its first.
func (e *editor) BeginBody() milter.Reply {
	e.body = &spool{in: e.m.in}
	e.old = append(e.old, e.body)
	return e.WriteBody([]byte{'\n'})
}

// WriteBody implements milter.Editor.
func (e *editor) WriteBody(p []byte) milter.Reply {
	if limit := e.m.in.o.MessageSizeLimit; limit > 0 && e.headerEnd+e.body.size+int64(len(p)) > limit {
		e.m.in.log.QueueFileTooBig(e.m.id)
		e.m.errs |= statSize
		return e.failed(nil)
	}
	if _, err := e.body.Write(p); err != nil {
		return e.failed(err)
	}
	return milter.Reply{}
}

// EndBody implements milter.Editor.
func (e *editor) EndBody() milter.Reply {
	e.view.Splice(e.headerEnd, e.view.Size()-e.headerEnd, e.body, e.body.size)
	return e.decided()
}

// check asks milter_header_checks about a field that a milter made.
func (e *editor) check(text string) (string, bool) {
	m := e.m
	if m.in.milterHeader == nil || m.errs != 0 || m.wishes.discard {
		return text, true
	}
	a, warning, err := m.in.milterHeader.Find(context.Background(), text)
	if err != nil {
		m.in.log.MapProblem(m.id, "milter_header_checks", "")
		m.errs |= statWrite
		return "", false
	}
	if warning != "" {
		m.in.log.Warn("%s", warning)
	}
	switch a.Verb {
	case checks.Dunno:
		return text, true
	case checks.Ignore:
		return "", false
	case checks.Prepend:
		// cleanup(8) has no PREPEND for what a milter adds (milter_header_checks in
		// postconf(5)); these are its words.
		m.in.log.Warn("the milter_header/body_checks prepend action is not implemented")
		return text, true
	case checks.Hold:
		if m.wishes.hold {
			return text, true
		}
	case checks.Reject:
		m.refuse(a.Text)
		m.reply = "550 " + a.Text
		if a.Text[0] == '4' {
			m.reply = "450 " + a.Text
		}
	}
	e.tell(text, a)
	m.wish(a)
	if a.Verb == checks.BCC {
		e.AddRcpt(a.Text, "")
	}
	if a.Verb == checks.Replace {
		return a.Text, true
	}
	return text, a.Verb != checks.Strip
}

// tell writes "ID: milter-header-reject: header X: y from a[1.2.3.4]; ...".
func (e *editor) tell(text string, a checks.Action) {
	word := map[checks.Verb]string{checks.Reject: "reject", checks.Warn: "warning", checks.Info: "info", checks.Filter: "filter",
		checks.Pass: "pass", checks.Discard: "discard", checks.Hold: "hold", checks.Replace: "replace",
		checks.Redirect: "redirect", checks.BCC: "bcc", checks.Strip: "strip"}[a.Verb]
	l := e.m.match("header", text[:min(len(text), 60)])
	l.Action, l.Reason, l.To = "milter-header-"+word, a.Text, e.m.askedLast().Quoted()
	if e.m.env.Peer.Proto == "" {
		l.Origin = clientName(&localClient)
	}
	e.m.in.log.Matched(l)
}
