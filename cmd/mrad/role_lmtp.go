package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"packetboat/cmd/internal/quotas"
	"packetboat/cmd/mrad/lmtp"
	"packetboat/internal/auth"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// lmtpSessions is how many conversations there are at once; more are refused with 421.
const lmtpSessions = 200

// lmtpRole takes mail in over LMTP and answers quota-status (package lmtp). It parses
// what strangers wrote, so it runs as default_internal_user; mailboxes are written by
// deliver processes of their owners, which the parent starts.
type lmtpRole struct {
	p      *peer
	log    *maillog.Log
	o      lmtp.Options
	policy *lmtp.Policy
	busy   atomic.Int32
}

func runLMTP(string) error {
	ch, err := proc.Inherited(channelFD)
	if err != nil {
		return err
	}
	r := &lmtpRole{p: newPeer(ch), log: roleLog()}
	r.p.serve(r.handle)
	return nil
}

func (r *lmtpRole) handle(e event) {
	switch e.Op {
	case opSetup:
		r.o, r.policy = *e.Setup.LMTP, e.Setup.Policy
		r.o.Host, _ = os.Hostname()
		r.o.Temp, r.o.Log, r.o.Busy = os.TempDir(), r.log, &lmtp.Users{}
		r.policy.Door, r.policy.Error = r, func(text string) { r.log.DovecotError("quota-status", text) }
	case opRun:
		r.p.send(message{Op: opReady})
	case opListen:
		if l, err := listenerOf(e); err == nil {
			serve := r.serve
			if e.Listen.Service == quotaStatus {
				serve = r.policy.Serve
			}
			go proc.Accept(l, nil, serve)
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
	if r.busy.Add(1) > lmtpSessions {
		r.busy.Add(-1)
		fmt.Fprintf(c, "421 4.3.2 %s Too many connections\r\n", r.o.Host)
		return
	}
	defer r.busy.Add(-1)
	lmtp.Serve(c, r.o, r)
}

// Lookup implements lmtp.Door.
func (r *lmtpRole) Lookup(ctx context.Context, address string) (who lmtp.Recipient, err error) {
	e, err := r.p.call(ctx, message{Op: opLookup, Name: address})
	e.close()
	if err != nil {
		return who, err
	}
	return lmtp.Recipient{User: e.Name, Proxy: e.Extra}, nil
}

// Deliver implements lmtp.Door.
func (r *lmtpRole) Deliver(ctx context.Context, user string) (net.Conn, error) {
	e, err := r.p.call(ctx, message{Op: opDeliver, Name: user})
	if err != nil {
		return nil, err
	}
	defer e.close()
	if len(e.files) != 1 {
		return nil, errors.New("no conversation with deliver")
	}
	return net.FileConn(e.files[0])
}

func (p *parent) setupLMTP(q *peer) error {
	s := p.settings()
	u := &setup{LMTP: &lmtp.Options{}, Policy: &lmtp.Policy{Delimiters: s.Delimiters}}
	conf := s.conf.For(config.Context{Protocol: "lmtp"})
	if err := conf.Decode(u.LMTP); err != nil {
		return err
	}
	for name, into := range map[string]*string{"success": &u.Policy.Success, "nouser": &u.Policy.NoUser, "overquota": &u.Policy.OverQuota, "toolarge": &u.Policy.TooLarge} {
		*into = conf.Get("plugin/quota_status_" + name)
	}
	if err := q.send(message{Op: opSetup, Setup: u}); err != nil {
		return err
	}
	return p.sockets.send(q, "lmtp", quotaStatus)
}

func (p *parent) fromLMTP(q *peer, e event) {
	switch e.Op {
	case opLookup:
		go p.answerLookup(q, e)
	case opDeliver:
		go p.startDeliver(q, e)
	}
	e.close()
}

// answerLookup answers whose address it is: an account, or a server of another
// machine that has it (lmtp_proxy).
func (p *parent) answerLookup(q *peer, e event) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	r, err := p.lookup(ctx, message{Op: opLookup, Name: e.Name, Kind: lookupMail})
	switch {
	case err != nil:
		q.fail(e.message, err)
	case r.User == nil:
		q.reply(e.message, message{Name: e.Name, Extra: r.Extra})
	default:
		q.reply(e.message, message{Name: r.User.User})
	}
}

// lookupMail asks auth for the passdb's proxy fields as well.
const lookupMail = "mail"

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
	account, err := quotas.Account(p.settings().conf, u, p.settings().BaseDir)
	if err != nil {
		return nil, err
	}
	near, far, err := proc.SocketPair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	args := []string{"deliver", "-z", "--as", fmt.Sprintf("%d:%d", u.UID, u.GID), "--inbox", l.Mailbox(), "--account", account}
	if name := u.Fields["system_groups_user"]; name != "" && filepath.Base(l.Inbox) == name && p.settings().MailGroup != "" {
		args = []string{"deliver", "-z", "-d", name, "--account", account} // with group mail: dotlocks in /var/mail
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
