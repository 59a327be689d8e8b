// Package deliver puts mail into a user's mailbox: it decides which mailbox
// that is, and gives whole batches to the store. It runs as the recipient.
package deliver

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/store/mbox"
)

// Options says how mailboxes are found and written. The zero value delivers to
// /var/mail without a limit.
type Options struct {
	Spool    string        `main:"mail_spool_directory"` // empty = /var/mail
	Home     string        `main:"home_mailbox"`         // below the home folder; a name that ends in "/" is a Maildir
	Limit    int64         `main:"mailbox_size_limit"`   // octets of an mbox; 0 = none
	Strict   bool          `main:"strict_mailbox_ownership"`
	Stale    time.Duration `main:"stale_lock_time"`
	Attempts int           `main:"deliver_lock_attempts"`
	Delay    time.Duration `main:"deliver_lock_delay"`
	Host     string        `main:"myhostname"` // in names of Maildir files
	// Open, if not nil, opens the account's mbox, which the process may not: see
	// mbox.DeliverOptions.
	Open func() (*os.File, error) `json:"-"`
}

// Account is whose mailbox it is.
type Account struct {
	User string
	UID  int
	Home string
	// Inbox is the mailbox's path where it does not follow from Options: a
	// virtual mailbox, or a file that an alias names. "/" at the end means Maildir.
	Inbox string
}

// Message is one message for the mailbox.
type Message struct {
	Sender     mail.Address
	ReturnPath bool      // write Return-Path:
	OrigTo     string    // X-Original-To:, empty = none
	To         string    // Delivered-To:, empty = none
	Date       time.Time // of the From_ line, zero = now
	Body       io.Reader // LF line ends
}

// Agent delivers for one account, one batch at a time.
type Agent struct {
	o    Options
	a    Account
	path string
	mem  mbox.Scratch  // of mboxes
	buf  *bufio.Writer // of Maildirs
	host string        // in names of their files
}

// New returns the agent of a.
func New(o Options, a Account) *Agent {
	return &Agent{o: o, a: a, path: place(o, a)}
}

// place finds the mailbox: the account's own, home_mailbox, or the spool.
func place(o Options, a Account) string {
	switch {
	case a.Inbox != "":
		return a.Inbox
	case o.Home != "":
		slash := strings.HasSuffix(o.Home, "/")
		path := filepath.Join(a.Home, o.Home)
		if slash {
			path += "/"
		}
		return path
	case o.Spool == "":
		return filepath.Join("/var/mail", a.User)
	case strings.HasSuffix(o.Spool, "/"):
		return o.Spool + a.User + "/" // postconf(5): a Maildir a user
	}
	return filepath.Join(o.Spool, a.User)
}

// Path returns the mailbox's path; "/" at its end says Maildir.
func (g *Agent) Path() string { return g.path }

// Deliver delivers msgs in order. What is a success is on disk. wanted, if not
// nil, is asked just before they would become part of the mailbox, which may be
// long after they came: false defers them all.
func (g *Agent) Deliver(msgs []Message, wanted func() bool) []*mail.Status {
	if strings.HasSuffix(g.path, "/") {
		return g.maildir(msgs, wanted)
	}
	batch := make([]mbox.Delivery, len(msgs))
	for i, m := range msgs {
		batch[i] = mbox.Delivery{Sender: m.Sender, ReturnPath: m.ReturnPath, OrigTo: m.OrigTo, To: m.To, Date: m.Date, Body: m.Body}
	}
	errs := mbox.Deliver(g.path, mbox.DeliverOptions{User: g.a.User, UID: g.a.UID, Owner: g.o.Strict, Limit: g.o.Limit,
		Wait: time.Duration(g.o.Attempts) * g.o.Delay, Stale: g.o.Stale, Wanted: wanted, Scratch: &g.mem, Open: g.o.Open}, batch)
	out := make([]*mail.Status, len(msgs))
	for i, err := range errs {
		out[i] = mail.OK("2.0.0", "delivered to mailbox")
		if err != nil {
			out[i] = mail.AsStatus(err)
		}
	}
	return out
}

// hostname is the machine's name for Maildir files; "/" and ":" would mean
// something there.
func (g *Agent) hostname() string {
	if g.host != "" {
		return g.host
	}
	h := g.o.Host
	if h == "" {
		h, _ = os.Hostname()
	}
	g.host = strings.NewReplacer("/", `\057`, ":", `\072`).Replace(h)
	return g.host
}
