package bounce

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"packetboat/internal/mail"
)

// letter is the head of one report.
type letter struct {
	from, to   mail.Address // envelope sender and recipient
	asked      mail.Address // the recipient before myorigin was added
	subject    string
	postmaster bool // From: and wording of a copy
	brief      bool // only the header of the message goes back
}

// dateForm is the form of Date: and Received:, RFC 5322 section 3.3.
const dateForm = "Mon, 2 Jan 2006 15:04:05 -0700 (MST)"

// paper is a report being written.
type paper struct {
	*Bouncer
	out       io.Writer
	queueID   string
	inspected bool // by what inspects new mail
	n         *Notice
	kind      Kind
	l         letter
	now       time.Time
	boundary  string
}

// printf writes formatted text; whatever it is written to keeps the first error.
func (p *paper) printf(format string, args ...any) { fmt.Fprintf(p.out, format, args...) }

// write writes a whole report into the queue.
func (b *Bouncer) write(kind Kind, n *Notice, rcpts []Report, l letter) (Sent, error) {
	p := &paper{Bouncer: b, n: n, kind: kind, l: l, now: time.Now()}
	if b.door != nil {
		return p.inspect(rcpts)
	}
	w, err := b.q.Create()
	if err != nil {
		return Sent{}, err
	}
	defer w.Abort()
	p.out, p.queueID = w, w.ID()
	id := p.messageID()
	if err := p.text(id, rcpts); err != nil {
		return Sent{}, err
	}
	env := p.envelope(id)
	size := w.Size()
	if err := w.Commit(env); err != nil {
		return Sent{}, err
	}
	b.tidy.MessageID(w.ID(), id)
	return Sent{ID: w.ID(), Env: env, Size: size}, nil
}

// inspect writes a report through the door of new mail, which takes it on by itself.
func (p *paper) inspect(rcpts []Report) (Sent, error) {
	p.inspected = true
	env := p.envelope("")
	d, err := p.door(env)
	if err != nil {
		return Sent{}, err
	}
	defer d.Abort()
	p.out, p.queueID = d, d.ID()
	env.MessageID = p.messageID()
	if err := p.text(env.MessageID, rcpts); err != nil {
		return Sent{}, err
	}
	return Sent{ID: d.ID(), Taken: true}, d.Commit()
}

// messageID makes the Message-Id, and the boundary between the parts.
func (p *paper) messageID() string {
	p.boundary = fmt.Sprintf("%s.%d/%s", p.n.ID, p.now.Unix(), p.o.Hostname)
	return fmt.Sprintf("<%s.%s@%s>", p.now.UTC().Format("20060102150405"), p.queueID, p.o.Hostname)
}

// text writes the whole text.
func (p *paper) text(messageID string, rcpts []Report) error {
	p.header(messageID)
	p.notification(rcpts)
	p.status(rcpts)
	if err := p.original(); err != nil {
		return err
	}
	p.printf("\n--%s--\n", p.boundary)
	return nil
}

// envelope is the report's own envelope. Nobody is told about a report.
func (p *paper) envelope(messageID string) *mail.Envelope {
	env := &mail.Envelope{
		Sender: p.l.from, Arrived: p.now, Body: mail.Body8Bit, SMTPUTF8: p.n.Env.SMTPUTF8, UID: -1, MessageID: messageID,
	}
	if p.expand != nil && !p.inspected { // the door does it
		env.Rcpts = p.expand(p.l.to)
	}
	if len(env.Rcpts) == 0 {
		env.Rcpts = []mail.Rcpt{{Addr: p.l.to, Orig: p.l.asked}}
	}
	for i := range env.Rcpts {
		env.Rcpts[i].Notify = mail.NotifyNever
	}
	return env
}

// header writes the report's header. RFC 3834 section 5: Auto-Submitted keeps
// vacation programs from answering.
func (p *paper) header(messageID string) {
	date := p.now.UTC().Format(dateForm)
	to := clean(p.l.to.Quoted())
	if !p.inspected { // the door writes its own
		p.printf("Received: by %s (%s)\n\tid %s; %s\n", p.o.Hostname, p.o.MailName, p.queueID, date)
	}
	p.printf("Date: %s\nFrom: %s\n", date, p.from())
	subject, _, _ := p.words()
	p.printf("Subject: %s\nTo: %s\n", clean(subject), to)
	// RFC 5322 section 3.6.4 would add the message's own References; Postfix does not.
	if about := clean(p.n.Env.MessageID); p.o.Threaded && about != "" {
		p.printf("References: %s\nIn-Reply-To: %s\n", about, about)
	}
	p.printf("Auto-Submitted: auto-%s\nMIME-Version: 1.0\n", p.autoWord())
	p.printf("Content-Type: multipart/report; report-type=%s;\n\tboundary=\"%s\"\n", p.global("delivery-status", "global-delivery-status"), p.boundary)
	p.printf("Content-Transfer-Encoding: 8bit\nMessage-Id: %s\n\n", messageID)
	p.printf("This is a MIME-encapsulated message.\n")
}

// autoWord: bounce(8) answers the sender, but generates for the postmaster.
func (p *paper) autoWord() string {
	if p.l.postmaster {
		return "generated"
	}
	return "replied"
}

// global picks the second word for a message that needs SMTPUTF8 (RFC 6533).
func (p *paper) global(ascii, utf8 string) string {
	if p.n.Env.SMTPUTF8 {
		return utf8
	}
	return ascii
}

// addrType is the address type of RFC 3464 section 2.1.2, or RFC 6533 section 3.
func (p *paper) addrType() string { return p.global("rfc822", "utf-8") }

// part begins a MIME part.
func (p *paper) part(description, mimeType string) {
	p.printf("\n--%s\nContent-Description: %s\nContent-Type: %s\n", p.boundary, description, mimeType)
}

// notification writes the part for people.
func (p *paper) notification(rcpts []Report) {
	_, text, charset := p.words()
	p.part("Notification", "text/plain; charset="+charset)
	p.printf("Content-Transfer-Encoding: 8bit\n\n")
	// The postmaster knows the system: a copy has no words of explanation.
	if !p.l.postmaster {
		p.printf("%s", text)
	}
	for _, r := range rcpts {
		s := "<" + clean(r.Rcpt.Addr.Quoted()) + ">"
		if r.Rcpt.Orig != "" && r.Rcpt.Orig != r.Rcpt.Addr {
			s += " (expanded from <" + clean(r.Rcpt.Orig.Quoted()) + ">)"
		}
		p.printf("\n%s", wrap(s+": "+r.text()))
	}
}

// text is what is told about a recipient.
func (r *Report) text() string {
	if r.Status.Outcome == mail.Sent {
		return clean("delivery via " + r.Relay + ": " + r.Status.Text)
	}
	return clean(r.Status.Text)
}

// status writes the part for programs (RFC 3464).
func (p *paper) status(rcpts []Report) {
	p.part("Delivery report", "message/"+p.global("delivery-status", "global-delivery-status"))
	if p.n.Env.SMTPUTF8 {
		p.printf("Content-Transfer-Encoding: 8bit\n")
	}
	p.printf("\nReporting-MTA: dns; %s\n", p.o.Hostname)
	if p.n.Env.EnvID != "" {
		p.printf("Original-Envelope-Id: %s\n", xtext(p.n.Env.EnvID))
	}
	p.printf("X-%s-Queue-ID: %s\n", p.o.MailName, p.n.ID)
	p.printf("X-%s-Sender: %s; %s\n", p.o.MailName, p.addrType(), p.sender())
	p.printf("Arrival-Date: %s\n", p.n.Env.Arrived.UTC().Format(dateForm))
	for i := range rcpts {
		p.recipient(&rcpts[i])
	}
}

// sender is the message's sender; the null sender is shown as MAILER-DAEMON.
func (p *paper) sender() string {
	if p.n.Env.Sender == "" {
		return "MAILER-DAEMON@" + p.o.Origin
	}
	return clean(p.n.Env.Sender.Quoted())
}

// recipient writes the fields of one recipient (RFC 3464 section 2.3).
func (p *paper) recipient(r *Report) {
	p.printf("\nFinal-Recipient: %s; %s\n", p.addrType(), clean(r.Rcpt.Addr.Quoted()))
	orig := r.Rcpt.ORCPT
	if orig == "" {
		orig = p.addrType() + ";" + original(r.Rcpt)
	}
	p.printf("Original-Recipient: %s\nAction: %s\nStatus: %s\n", clean(orig), r.Action, clean(r.Status.Code))
	if r.Status.MTA != "" {
		p.printf("Remote-MTA: dns; %s\n", clean(r.Status.MTA))
	}
	diagnostic := "X-" + p.o.MailName + "; " + r.text()
	if r.Status.Remote != "" {
		diagnostic = "smtp; " + clean(r.Status.Remote)
	}
	p.printf("%s", wrap("Diagnostic-Code: "+diagnostic))
	if p.kind == Delay {
		until := p.n.Env.Arrived.Add(p.lifetime(p.n.Env.Sender))
		p.printf("Will-Retry-Until: %s\n", until.UTC().Format(dateForm))
	}
}

// original is the recipient as the sender wrote it.
func original(r *mail.Rcpt) string {
	if r.Orig != "" {
		return r.Orig.Quoted()
	}
	return r.Addr.Quoted()
}

// original returns the message, or its header where that is all that is wanted
// (RFC 3461 section 4.3, bounce_size_limit).
func (p *paper) original() error {
	content, err := p.n.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	whole := p.kind == Failure && !p.l.brief && p.n.Env.Ret != "HDRS" && p.n.Size <= p.o.SizeLimit
	undelivered := "Undelivered "
	if p.kind > Delay {
		undelivered = ""
	}
	if whole {
		p.part(undelivered+"Message", p.global("message/rfc822", "message/global"))
	} else {
		p.part(undelivered+"Message Headers", p.global("text/rfc822-headers", "message/global-headers"))
	}
	p.printf("Content-Transfer-Encoding: 8bit\n\nReturn-Path: <%s>\n", p.sender())
	if whole {
		return p.copyAll(content)
	}
	return p.copyHeader(content)
}

// copyAll copies the message and ends its last line.
func (p *paper) copyAll(c mail.Content) error {
	last := lastByte{w: p.out, b: '\n'}
	if _, err := io.Copy(&last, c.Reader()); err != nil {
		return err
	}
	if last.b != '\n' {
		p.printf("\n")
	}
	return nil
}

// lastByte remembers the last byte that went through.
type lastByte struct {
	w io.Writer
	b byte
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
	}
	return l.w.Write(p)
}

// maxHeader is how much of a header goes back, in bytes.
const maxHeader = 1 << 20

// copyHeader copies up to the empty line. It reads long lines in pieces.
func (p *paper) copyHeader(c mail.Content) error {
	r := bufio.NewReader(io.LimitReader(c.Reader(), min(maxHeader, p.o.SizeLimit)))
	fresh, ended := true, true
	for {
		piece, err := r.ReadSlice('\n')
		if fresh && bytes.Equal(piece, []byte("\n")) {
			return nil
		}
		if len(piece) > 0 {
			p.out.Write(piece)
			ended = piece[len(piece)-1] == '\n'
		}
		fresh = err == nil
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF:
			if !ended {
				p.printf("\n")
			}
			return nil
		default:
			return err
		}
	}
}
