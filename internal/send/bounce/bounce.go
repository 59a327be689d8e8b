// Package bounce writes the mail that a mail system sends about mail: RFC 3464
// reports of failure, delay and success, and the report of "sendmail -v", in the
// form of Postfix's bounce(8) and its built-in templates (bounce(5)).
//
// No report can start a loop: reports have the null sender, what fails for the
// null sender goes to the postmaster at most (from double_bounce_sender), and
// what fails for double_bounce_sender is dropped.
package bounce

import (
	"io"
	"iter"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/sys/maillog"
)

// Options says how reports look and who gets copies. The zero value is
// Postfix's default, with the machine name "localhost".
type Options struct {
	Hostname        string        `main:"myhostname"`
	Origin          string        `main:"myorigin"` // empty = Hostname
	MailName        string        `main:"mail_name"`
	SizeLimit       int64         `main:"bounce_size_limit"` // octets; above it only the header is returned
	DoubleBounce    string        `main:"double_bounce_sender"`
	NotifyClasses   []string      `main:"notify_classes"` // those of interest: bounce, 2bounce, delay
	BounceNotice    string        `main:"bounce_notice_recipient"`
	DoubleNotice    string        `main:"2bounce_notice_recipient"`
	DelayNotice     string        `main:"delay_notice_recipient"`
	DelayWarning    time.Duration `main:"delay_warning_time"`     // told in the delay report
	MaximalLifetime time.Duration `main:"maximal_queue_lifetime"` // told in the delay report
	BounceLifetime  time.Duration `main:"bounce_queue_lifetime"`
	TemplateFile    string        `main:"bounce_template_file"` // read once, by New
	Threaded        bool          `main:"enable_threaded_bounces"`
	NoVerp          bool          `main:"disable_verp_bounces"` // one report for all recipients of a VERP message
	// Inspected has "bounce" where reports are inspected as other mail is; the caller
	// sees to it (Inspect).
	Inspected []string `main:"internal_mail_filter_classes"`
	// Parameter returns a main.cf parameter, for $name in templates; nil = those above.
	Parameter func(name string) (string, bool)
}

// withDefaults fills in what postconf(5) says for parameters that are not set.
func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v   *string
		def string
	}{
		{&o.Hostname, "localhost"}, {&o.MailName, "Postfix"}, {&o.DoubleBounce, "double-bounce"},
		{&o.BounceNotice, "postmaster"}, {&o.DoubleNotice, "postmaster"}, {&o.DelayNotice, "postmaster"},
	} {
		if *d.v == "" {
			*d.v = d.def
		}
	}
	if o.Origin == "" {
		o.Origin = o.Hostname
	}
	if o.SizeLimit == 0 {
		o.SizeLimit = 50000
	}
	if o.MaximalLifetime == 0 {
		o.MaximalLifetime = 5 * 24 * time.Hour
	}
	if o.BounceLifetime == 0 {
		o.BounceLifetime = 5 * 24 * time.Hour
	}
	return o
}

// Kind says what a report is about.
type Kind uint8

// The kinds of reports.
const (
	Failure Kind = iota // cannot be delivered, or expired
	Delay               // still being tried
	Success             // NOTIFY=SUCCESS of RFC 3461
	Verify              // sendmail -v and -bv
)

// logNames are the words of the log line.
var logNames = [...]string{
	Failure: "non-delivery notification", Delay: "delay notification",
	Success: "delivery status notification", Verify: "delivery status notification",
}

// Report is what became of one recipient.
type Report struct {
	Rcpt   *mail.Rcpt
	Status *mail.Status
	Relay  string // for success: who delivered it
	Action string // RFC 3464 section 2.3.3: failed, delayed, delivered, relayed, deliverable, undeliverable
	// Cleared: the sender was told of a delay that is over (confirm_delay_cleared).
	Cleared bool
}

// Notice is a message and what became of some of its recipients.
type Notice struct {
	ID    string
	Env   *mail.Envelope
	Size  int64 // octets
	Rcpts []Report
	Open  func() (mail.Content, error) // the message's bytes
}

// Sent is a report that is in the queue now; the scheduler takes it on, unless it has
// done so already.
type Sent struct {
	ID    string
	Env   *mail.Envelope
	Size  int64
	Taken bool // it came through the door of new mail: only ID is set
}

// Draft is a report on its way through the door of new mail. Write keeps the first error
// for Commit.
type Draft interface {
	io.Writer
	ID() string
	Commit() error
	Abort() // without effect after Commit
}

// Bouncer writes reports. It is used from any goroutine.
type Bouncer struct {
	o      Options
	q      *queue.Queue
	log    *maillog.Log // bounce's voice
	tidy   *maillog.Log // cleanup's voice
	expand func(mail.Address) []mail.Rcpt
	door   func(*mail.Envelope) (Draft, error)

	templates map[Kind]*Template // what bounce_template_file says
}

// New returns a Bouncer that writes into q.
func New(o Options, q *queue.Queue, l *maillog.Logger) *Bouncer {
	b := &Bouncer{o: o.withDefaults(), q: q}
	if l != nil {
		b.log, b.tidy = l.Program("bounce"), l.Program("cleanup")
	}
	b.loadTemplates()
	return b
}

// Expand lets reports go through virtual(5) aliases like any other mail: f
// returns the recipients that an address stands for. Call it before the first
// Send. Without it addresses are used as they are.
func (b *Bouncer) Expand(f func(mail.Address) []mail.Rcpt) { b.expand = f }

// Inspect lets reports go through what inspects new mail: header checks, body checks and
// milters (internal_mail_filter_classes = bounce). door begins one. Call it before the
// first Send.
func (b *Bouncer) Inspect(door func(*mail.Envelope) (Draft, error)) { b.door = door }

// Send writes the reports that a notice calls for: one to the sender, and copies
// to the postmaster as notify_classes says. It returns what was queued, and an
// error when the report to the sender could not be: the failure must be reported
// again later then. Recipients that asked not to be told of (NOTIFY, RFC 3461
// section 5.2) are left out here.
func (b *Bouncer) Send(kind Kind, n *Notice) ([]Sent, error) {
	if len(n.Rcpts) == 0 {
		return nil, nil
	}
	switch {
	case n.Env.Sender == b.address(b.o.DoubleBounce):
		if kind == Failure {
			b.log.NoticeDiscarded(n.ID)
		}
		return nil, nil
	case n.Env.Sender == "":
		return b.double(kind, n)
	}
	var out []Sent
	for to, told := range b.letters(kind, n) {
		s, err := b.write(kind, n, told, letter{to: to, subject: subjects[kind]})
		if err != nil {
			return out, err
		}
		b.log.SenderNotice(n.ID, logNames[kind], s.ID)
		out = append(out, s)
	}
	return append(out, b.copies(kind, n)...), nil
}

// letters says who is told of whom: the sender of all, or with VERP each
// recipient's own sender (bounce_notify_verp.c).
func (b *Bouncer) letters(kind Kind, n *Notice) iter.Seq2[mail.Address, []Report] {
	told := wanting(kind, n.Rcpts)
	return func(yield func(mail.Address, []Report) bool) {
		if kind != Failure || n.Env.Verp == "" || b.o.NoVerp {
			if len(told) > 0 {
				yield(n.Env.Sender, told)
			}
			return
		}
		for i := range told {
			if !yield(Verp(n.Env.Sender, told[i].Rcpt, n.Env.Verp), told[i:i+1]) {
				return
			}
		}
	}
}

// double handles a report that itself cannot be delivered (RFC 5321 section
// 4.5.5: no report about it may go to its empty sender).
func (b *Bouncer) double(kind Kind, n *Notice) ([]Sent, error) {
	if kind != Failure || !b.class("2bounce") {
		return nil, nil
	}
	s, err := b.write(kind, n, n.Rcpts, b.toPostmaster(b.o.DoubleNotice, kind))
	if err != nil {
		return nil, err
	}
	b.log.PostmasterNotice(n.ID, logNames[kind], s.ID)
	return []Sent{s}, nil
}

// copies tells the postmaster; a copy that cannot be written is not worth
// keeping the message for.
func (b *Bouncer) copies(kind Kind, n *Notice) []Sent {
	class, to := "bounce", b.o.BounceNotice
	if kind == Delay {
		class, to = "delay", b.o.DelayNotice
	}
	if kind > Delay || !b.class(class) {
		return nil
	}
	l := b.toPostmaster(to, kind)
	l.brief = true
	s, err := b.write(kind, n, n.Rcpts, l)
	if err != nil {
		b.log.QueueUnwritable(n.ID, "postmaster notice", err)
		return nil
	}
	b.log.PostmasterNotice(n.ID, logNames[kind], s.ID)
	return []Sent{s}
}

// toPostmaster is the letter head of postmaster notices.
func (b *Bouncer) toPostmaster(to string, kind Kind) letter {
	return letter{
		from: b.address(b.o.DoubleBounce), to: b.address(to), asked: mail.Address(to),
		subject: postmasterSubjects[kind], postmaster: true,
	}
}

// class tells whether notify_classes names the class.
func (b *Bouncer) class(name string) bool {
	for _, c := range b.o.NotifyClasses {
		if strings.EqualFold(c, name) {
			return true
		}
	}
	return false
}

// address adds myorigin to a bare name.
func (b *Bouncer) address(a string) mail.Address {
	if strings.Contains(a, "@") {
		return mail.Address(a)
	}
	return mail.Address(a + "@" + b.o.Origin)
}

// wanting leaves out those whose NOTIFY does not ask for this kind. Without any
// NOTIFY failures and delays are told (RFC 3461 section 4.1).
func wanting(kind Kind, all []Report) []Report {
	out := make([]Report, 0, len(all))
	for _, r := range all {
		n := r.Rcpt.Notify
		ok := kind == Verify || n == 0 && kind != Success
		switch kind {
		case Failure:
			ok = ok || n&mail.NotifyFailure != 0
		case Delay:
			ok = ok || n&mail.NotifyDelay != 0
		case Success:
			ok = n&mail.NotifySuccess != 0 || r.Cleared && (n == 0 || n&mail.NotifyDelay != 0)
		}
		if ok && (n&mail.NotifyNever == 0 || kind == Verify) {
			out = append(out, r)
		}
	}
	return out
}
