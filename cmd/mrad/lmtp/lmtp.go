// Package lmtp is what mrad's LMTP role does with a client's mail: it asks who a
// recipient is, hands each message to the deliver process of that user, or to the
// server that a passdb names (lmtp_proxy), and answers for each recipient. It also
// serves quota-status, Postfix's policy question whether there is room.
//
// It parses what strangers wrote, so its process has no rights: look-ups and the
// start of deliver processes are the parent's, behind Door.
package lmtp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"packetboat/internal/auth"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

// Figures of the service.
const (
	idle        = 5 * time.Minute  // silence of a client
	deliverWait = 10 * time.Minute // one message into one mailbox, locks included
	lookupTime  = time.Minute
	maxConvs    = 8 // deliver processes of one conversation
)

// Door is the parent, as this process sees it.
type Door interface {
	// Lookup tells whose address it is; auth.ErrNoUser = nobody's.
	Lookup(ctx context.Context, address string) (Recipient, error)
	// Deliver returns a conversation with a new deliver process of an account.
	Deliver(ctx context.Context, user string) (net.Conn, error)
}

// Recipient is what a look-up found.
type Recipient struct {
	User  string
	Proxy map[string]string // the passdb's fields where mail goes on to another server
}

// Options are the settings of the service.
type Options struct {
	Host       string
	Temp       string
	Received   bool         `dovecot:"lmtp_add_received_header"`
	Detail     bool         `dovecot:"lmtp_save_to_detail_mailbox"`
	CheckQuota bool         `dovecot:"lmtp_rcpt_check_quota"`
	Proxy      bool         `dovecot:"lmtp_proxy"`                  // the passdbs are asked where mail goes on
	Users      int          `dovecot:"lmtp_user_concurrency_limit"` // messages for one user at once; 0 = no limit
	Delimiters string       `dovecot:"recipient_delimiter"`
	Log        *maillog.Log `json:"-"`
	Busy       *Users       `json:"-"` // shared by all conversations
}

// Users counts the messages that are delivered at this moment, by user.
type Users struct {
	mu sync.Mutex
	n  map[string]int
}

// enter counts a message in; false = there are limit of them already.
func (u *Users) enter(user string, limit int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if limit > 0 && u.n[user] >= limit {
		return false
	}
	if u.n == nil {
		u.n = map[string]int{}
	}
	u.n[user]++
	return true
}

func (u *Users) leave(user string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n[user]--; u.n[user] <= 0 {
		delete(u.n, user)
	}
}

// Serve leads one conversation with an LMTP client and closes it.
func Serve(c net.Conn, o Options, d Door) {
	name, from := "local", ""
	if t, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		name = t.IP.String()
		from = " ([" + literal(t.IP) + "])"
	}
	o.Log.LMTPConnect(os.Getpid(), name)
	b := &backend{o: o, pool: pool{d: d, convs: make(map[string]*conv)}, from: from, local: c.LocalAddr().String(), session: newSession()}
	defer b.close()
	reason := "Logged out"
	if err := lmtpd.Serve(c, lmtpd.Options{Host: o.Host, Idle: idle, Temp: o.Temp, Gone: b.hangUp}, b); err != nil {
		reason = err.Error()
	}
	o.Log.LMTPDisconnect(os.Getpid(), name, reason, "READY")
}

// literal writes an address as RFC 5321 section 4.1.3 does.
func literal(ip net.IP) string {
	if ip.To4() == nil {
		return "IPv6:" + ip.String()
	}
	return ip.String()
}

// newSession makes a name for the log and for Received, as long as Dovecot's.
func newSession() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// backend is the mailboxes as one conversation sees them. Its deliver processes are
// kept until the conversation ends: a batch for one user costs one process.
type backend struct {
	o       Options
	pool    pool
	from    string // of Received: the client's address
	local   string // the address that the client has reached
	session string
}

// box is what Rcpt found out about a recipient.
type box struct {
	Recipient
	detail string
}

// Rcpt implements lmtpd.Backend: it asks the databases, and with
// lmtp_rcpt_check_quota the user's deliver process.
func (b *backend) Rcpt(rc *lmtpd.Rcpt) *mail.Status {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	address := rc.Addr.Quoted()
	account, detail := split(string(rc.Addr), b.o.Delimiters)
	who, err := b.pool.d.Lookup(ctx, account)
	if errors.Is(err, auth.ErrNoUser) {
		return mail.Bounce("5.1.1", "<%s> User doesn't exist: %s", address, mail.Address(account).Quoted())
	}
	if err != nil {
		return mail.Defer("4.3.0", "<%s> Temporary internal error", address)
	}
	if who.Proxy != nil && b.loops(who.Proxy) {
		return mail.Bounce("5.4.6", "<%s> Proxying loops", address).WithReply(554)
	}
	rc.Box = box{who, detail}
	if !b.o.CheckQuota || who.Proxy != nil {
		return nil
	}
	st, err := b.pool.ask(ctx, who.User, 0)
	switch {
	case err != nil:
		return mail.Defer("4.3.0", "<%s> Temporary internal error", address)
	case st.Outcome != mail.Sent:
		st.Text = "<" + address + "> " + st.Text
		return st
	}
	return nil
}

// split takes the detail off an address: alice@example.com and shop of
// alice+shop@example.com. Each byte of delimiters separates (recipient_delimiter).
func split(addr, delimiters string) (account, detail string) {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		at = len(addr)
	}
	if i := strings.IndexAny(addr[:at], delimiters); i > 0 && delimiters != "" {
		return addr[:i] + addr[at:], addr[i+1 : at]
	}
	return addr, ""
}

// Deliver implements lmtpd.Backend.
func (b *backend) Deliver(batch []*lmtpd.Message) {
	for _, m := range batch {
		b.proxied(m)
		id := messageID(m)
		for _, rc := range m.Rcpts {
			who := rc.Box.(box)
			session := b.session
			if rc.N > 1 {
				session += fmt.Sprintf(":R%d", rc.N)
			}
			if who.Proxy == nil {
				rc.Status = b.one(m, rc, who, session)
				b.o.Log.LMTPResult(who.User, os.Getpid(), session, id, b.told(rc, who))
			}
			rc.Status = answer(rc, session)
		}
		b.session = newSession()
	}
}

// told is what the log says of a delivery.
func (b *backend) told(rc *lmtpd.Rcpt, who box) string {
	if rc.Status.Outcome == mail.Sent {
		return rc.Status.Text
	}
	folder := "INBOX"
	if b.o.Detail && who.detail != "" {
		folder = who.detail
	}
	return "save failed to " + folder + ": " + rc.Status.Text
}

// answer is what the client is told.
func answer(rc *lmtpd.Rcpt, session string) *mail.Status {
	st := *rc.Status
	if st.Outcome == mail.Sent {
		st.Text = session + " Saved"
	}
	st.Text = "<" + rc.Addr.Quoted() + "> " + st.Text
	return &st
}

// one delivers a message to one recipient and returns deliver's answer.
func (b *backend) one(m *lmtpd.Message, rc *lmtpd.Rcpt, who box, session string) *mail.Status {
	if m.Unwanted() {
		return mail.Defer("4.4.2", "the client is gone")
	}
	if !b.o.Busy.enter(who.User, b.o.Users) {
		return mail.Defer("4.3.0", "Too many concurrent deliveries for user").WithReply(451)
	}
	defer b.o.Busy.leave(who.User)
	x := transfer{sender: m.Sender, addr: rc.Addr, orcpt: rc.ORCPT, body: m.Reader(), size: m.Size}
	if b.o.Detail {
		x.folder = who.detail
	}
	x.many = len(m.Rcpts) > 1
	if b.o.Received {
		head := b.received(m, rc, session)
		x.body, x.size = io.MultiReader(strings.NewReader(head), x.body), x.size+int64(len(head))
	}
	st, err := b.pool.deliver(who.User, x)
	if err != nil {
		return mail.Defer("4.3.0", "delivery process failed: %v", err)
	}
	return st
}

// received is the trace line of this server (RFC 5321 section 4.4), as Dovecot folds
// it. One of several recipients is not told of the others by it.
func (b *backend) received(m *lmtpd.Message, rc *lmtpd.Rcpt, session string) string {
	to := "\n\tfor <" + printable(rc.Addr.Quoted()) + ">"
	if len(m.Rcpts) > 1 {
		session, to = b.session, ""
	}
	return fmt.Sprintf("Received: from %s%s\n\tby %s with LMTP\n\tid %s\n\t(envelope-from <%s>)%s; %s\n", printable(m.Client), b.from, b.o.Host, session,
		printable(m.Sender.Quoted()), to, time.Now().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
}

// printable keeps what a stranger said on its line.
func printable(s string) string {
	if len(s) > 500 {
		s = s[:500]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

func (b *backend) close() { b.pool.close() }

// hangUp tells the deliver processes that nobody waits for them: one that has not
// come to the mailbox yet, because others hold its lock, leaves it as it is.
func (b *backend) hangUp() { b.pool.hangUp() }
