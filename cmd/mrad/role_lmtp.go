package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"packetboat/internal/auth"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// Figures of the LMTP service.
const (
	lmtpIdle     = 5 * time.Minute  // silence of a client
	deliverWait  = 10 * time.Minute // one message into one mailbox, locks included
	lmtpSessions = 200              // conversations at once; more are refused with 421
)

// lmtpRole takes mail in over LMTP. It parses what strangers wrote, so it runs
// as default_internal_user; mailboxes are written by deliver processes of
// their owners, which the parent starts.
type lmtpRole struct {
	p    *peer
	log  *maillog.Log
	temp string
	host string
	busy atomic.Int32
}

func runLMTP(string) error {
	ch, err := proc.Inherited(channelFD)
	if err != nil {
		return err
	}
	r := &lmtpRole{p: newPeer(ch), log: roleLog(), temp: os.TempDir()}
	r.host, _ = os.Hostname()
	r.p.serve(r.handle)
	return nil
}

func (r *lmtpRole) handle(e event) {
	switch e.Op {
	case opRun:
		r.p.send(message{Op: opReady})
	case opListen:
		if l, err := listenerOf(e); err == nil {
			go proc.Accept(l, nil, r.serve)
		}
		return
	case opRetire, opStop:
		// A conversation that is cut off is taken up by the sender's queue; a
		// message is answered only when it is on disk.
		go func() {
			for end := time.Now().Add(stopTime); r.busy.Load() > 0 && time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
			}
			os.Exit(0)
		}()
	}
	e.close()
}

func (r *lmtpRole) serve(c net.Conn) {
	defer c.Close()
	peerName := "local"
	if t, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		peerName = t.IP.String()
	}
	if r.busy.Add(1) > lmtpSessions {
		r.busy.Add(-1)
		fmt.Fprintf(c, "421 4.3.2 %s Too many connections\r\n", r.host)
		return
	}
	defer r.busy.Add(-1)
	r.log.LMTPConnect(os.Getpid(), peerName)
	b := &lmtpBackend{r: r, convs: make(map[string]*smtp.Client)}
	defer b.close()
	reason := "Logged out"
	if err := lmtpd.Serve(c, lmtpd.Options{Host: r.host, Idle: lmtpIdle, Temp: r.temp, Gone: b.hangUp}, b); err != nil {
		reason = err.Error()
	}
	r.log.LMTPDisconnect(os.Getpid(), peerName, reason, "READY")
}

// lmtpBackend is the mailboxes as one conversation sees them. Its deliver
// processes are kept until the conversation ends: a batch for one user costs
// one process.
type lmtpBackend struct {
	r  *lmtpRole
	n  int
	mu sync.Mutex // over what hangUp touches

	convs map[string]*smtp.Client
	gone  bool // the client is
}

// maxConvs bounds the deliver processes of one conversation.
const maxConvs = 8

// Rcpt implements lmtpd.Backend: it asks the userdbs.
func (b *lmtpBackend) Rcpt(rc *lmtpd.Rcpt) *mail.Status {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	e, err := b.r.p.call(ctx, message{Op: opLookup, Name: string(rc.Addr)})
	e.close()
	if errors.Is(err, auth.ErrNoUser) {
		return mail.Bounce("5.1.1", "<%s> User doesn't exist: %s", rc.Addr.Quoted(), rc.Addr.Quoted())
	}
	if err != nil {
		return mail.Defer("4.3.0", "<%s> Temporary internal error", rc.Addr.Quoted())
	}
	rc.Box = e.User.User
	return nil
}

// Deliver implements lmtpd.Backend.
func (b *lmtpBackend) Deliver(batch []*lmtpd.Message) {
	for _, m := range batch {
		for _, rc := range m.Rcpts {
			b.n++
			rc.Status = b.one(m, rc)
			user, _ := rc.Box.(string)
			session := fmt.Sprintf("%d-%d", os.Getpid(), b.n)
			if rc.Status.Outcome == mail.Sent {
				b.r.log.LMTPSaved(user, os.Getpid(), session, messageID(m))
				continue
			}
			b.r.log.LMTPFailed(user, os.Getpid(), session, messageID(m), rc.Status.Text)
		}
	}
}

// one delivers a message to one recipient and returns deliver's answer.
func (b *lmtpBackend) one(m *lmtpd.Message, rc *lmtpd.Rcpt) *mail.Status {
	if m.Unwanted() {
		return mail.Defer("4.4.2", "<%s> the client is gone", rc.Addr.Quoted())
	}
	user, _ := rc.Box.(string)
	c, err := b.conversation(user)
	if err != nil {
		return mail.Defer("4.3.0", "<%s> %v", rc.Addr.Quoted(), err)
	}
	if err := transaction(c, m, rc); err != nil {
		var s *smtp.SMTPError
		if errors.As(err, &s) {
			return fromSMTP(s, rc)
		}
		// The process is gone: nobody knows, so the sender tries again.
		b.forget(user)
		return mail.Defer("4.3.0", "<%s> delivery process failed: %v", rc.Addr.Quoted(), err)
	}
	return mail.OK("2.0.0", "<%s> Saved", rc.Addr.Quoted())
}

func transaction(c *smtp.Client, m *lmtpd.Message, rc *lmtpd.Rcpt) error {
	if err := c.Mail(string(m.Sender), nil); err != nil {
		return err
	}
	if err := c.Rcpt(string(rc.Addr), nil); err != nil {
		c.Reset()
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := copyTo(w, m.Reader()); err != nil {
		return err
	}
	return w.Close()
}

// fromSMTP turns deliver's refusal into ours.
func fromSMTP(e *smtp.SMTPError, rc *lmtpd.Rcpt) *mail.Status {
	code := fmt.Sprintf("%d.%d.%d", e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	if e.EnhancedCode[0] <= 0 {
		code = fmt.Sprintf("%d.0.0", e.Code/100)
	}
	if e.Code >= 500 {
		return mail.Bounce(code, "<%s> %s", rc.Addr.Quoted(), e.Message).WithReply(e.Code)
	}
	return mail.Defer(code, "<%s> %s", rc.Addr.Quoted(), e.Message).WithReply(e.Code)
}

// conversation returns the LMTP conversation with the user's deliver process.
func (b *lmtpBackend) conversation(user string) (*smtp.Client, error) {
	if c := b.known(user); c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	e, err := b.r.p.call(ctx, message{Op: opDeliver, Name: user})
	if err != nil {
		return nil, err
	}
	defer e.close()
	if len(e.files) != 1 {
		return nil, errors.New("no conversation with deliver")
	}
	conn, err := net.FileConn(e.files[0])
	if err != nil {
		return nil, err
	}
	c := smtp.NewClientLMTP(conn)
	c.SubmissionTimeout, c.CommandTimeout = deliverWait, deliverWait
	if err := c.Hello("localhost"); err != nil {
		c.Close()
		return nil, err
	}
	return c, b.keep(user, c)
}

// known returns the conversation that there is, and makes room for one more.
func (b *lmtpBackend) known(user string) *smtp.Client {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.convs[user]; c != nil || len(b.convs) < maxConvs {
		return c
	}
	b.quitAll()
	return nil
}

// keep remembers a conversation, unless hangUp came before it.
func (b *lmtpBackend) keep(user string, c *smtp.Client) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		c.Close()
		return errors.New("the client is gone")
	}
	b.convs[user] = c
	return nil
}

// forget ends a conversation that is of no use any more.
func (b *lmtpBackend) forget(user string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.convs[user]; c != nil {
		c.Close()
		delete(b.convs, user)
	}
}

// hangUp tells the deliver processes that nobody waits for them: one that has not
// come to the mailbox yet, because others hold its lock, leaves it as it is.
func (b *lmtpBackend) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	for _, c := range b.convs {
		c.Close()
	}
	clear(b.convs)
}

func (b *lmtpBackend) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.quitAll()
}

func (b *lmtpBackend) quitAll() {
	for user, c := range b.convs {
		c.Quit()
		c.Close()
		delete(b.convs, user)
	}
}

func (p *parent) setupLMTP(q *peer) error { return p.sockets.send(q, "lmtp") }

func (p *parent) fromLMTP(q *peer, e event) {
	switch e.Op {
	case opLookup:
		go p.answerLookup(q, e)
	case opDeliver:
		go p.startDeliver(q, e)
	}
	e.close()
}

func (p *parent) answerLookup(q *peer, e event) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	r, err := p.lookup(ctx, message{Op: opLookup, Name: withoutDetail(e.Name, p.settings().Delimiters)})
	if err != nil {
		q.fail(e.message, err)
		return
	}
	q.reply(e.message, message{User: r.User})
}

// withoutDetail returns the account of an address: alice@example.com of
// alice+shop@example.com. Each byte of delimiters separates (recipient_delimiter).
func withoutDetail(addr, delimiters string) string {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		at = len(addr)
	}
	if i := strings.IndexAny(addr[:at], delimiters); i > 0 && delimiters != "" {
		return addr[:i] + addr[at:]
	}
	return addr
}

// startDeliver starts a deliver process as the user, whom the parent looks up
// itself, and hands its conversation over.
func (p *parent) startDeliver(q *peer, e event) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	r, err := p.lookup(ctx, message{Op: opLookup, Name: e.Name})
	if err != nil {
		q.fail(e.message, err)
		return
	}
	f, err := p.deliverProcess(r.User)
	if err != nil {
		p.log().DovecotError("lmtp", fmt.Sprintf("user %q: %v", e.Name, err))
		q.fail(e.message, errors.New("temporary internal error"))
		return
	}
	defer f.Close()
	q.reply(e.message, message{}, f)
}

func (p *parent) deliverProcess(u *auth.UserInfo) (*os.File, error) {
	l, err := location.Parse(u.Mail)
	if err != nil {
		return nil, err
	}
	if u.UID < p.settings().FirstUID {
		return nil, fmt.Errorf("uid %d is below first_valid_uid", u.UID)
	}
	near, far, err := proc.SocketPair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	args := []string{"deliver", "-z", "--as", fmt.Sprintf("%d:%d", u.UID, u.GID), "--inbox", l.Mailbox()}
	if name := u.Fields["system_groups_user"]; name != "" && filepath.Base(l.Inbox) == name && p.settings().MailGroup != "" {
		args = []string{"deliver", "-z", "-d", name} // with group mail: dotlocks in /var/mail
	}
	pr, err := proc.Start(proc.Role{Path: filepath.Join(filepath.Dir(p.self), "deliver"), Args: args,
		Env: proc.CleanEnv(), Stderr: p.logPipe, Files: []*os.File{far}})
	if err != nil {
		near.Close()
		return nil, err
	}
	go pr.Wait()
	return near, nil
}
