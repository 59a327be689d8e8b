package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"packetboat/cmd/internal/quotas"
	"packetboat/internal/auth"
	"packetboat/internal/serve/login"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// idleTime is how long a user's process stays when its last session has ended:
// clients that look for mail every few minutes find a new one, those that open
// several connections in a row the same one.
const idleTime = 60 * time.Second

// mailTable is the processes that hold sessions, one a user number.
type mailTable struct {
	mu    sync.Mutex
	procs map[ids]*mailProc
	last  int // session number
	ended bool
}

// ids is whom a process runs as. groups is the account whose groups it has;
// empty for virtual users, which have none.
type ids struct {
	uid, gid int
	groups   string
}

func idsOf(u *auth.UserInfo) ids { return ids{u.UID, u.GID, u.Fields["system_groups_user"]} }

// mailProc is one of them.
type mailProc struct {
	*peer
	pid      int
	sessions map[int]live
	idle     *time.Timer
	gone     chan struct{}
}

// live is a session as the parent counts it.
type live struct {
	proto  login.Proto
	user   string
	remote netip.Addr
}

func (t *mailTable) init() { t.procs = make(map[ids]*mailProc) }

// handover brings a client that was let in to its user's process. Whose client
// it is comes from auth, by the ticket; login could not name another.
func (p *parent) handover(q *peer, e event) {
	defer e.close()
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	pid, err := p.place(ctx, e)
	if err != nil {
		q.fail(e.message, err)
		return
	}
	q.reply(e.message, message{Number: pid})
}

func (p *parent) place(ctx context.Context, e event) (pid int, err error) {
	if e.Handover == nil || len(e.files) != 1 {
		return 0, errors.New("handover without a client")
	}
	h := e.Handover
	r, err := p.lookup(ctx, message{Op: opClaim, Ticket: &h.Ticket})
	if err != nil {
		return 0, err
	}
	if r.User == nil || login.Proto(r.Name) != h.Proto {
		return 0, errors.New("ticket is for another service")
	}
	s := &session{Proto: h.Proto, User: r.User.User, Mail: r.User.Mail, Home: r.User.Home, Tag: h.Tag, Pending: h.Pending,
		TLS: h.TLS, Session: h.Session, Method: h.Method, Remote: h.Remote, Local: h.Local,
		Quota: quotas.Of(p.settings().conf, string(h.Proto), r.User), ShowQuota: quotas.Loaded(p.settings().conf, "imap", "imap_quota")}
	return p.deliverSession(r.User, s, e.files[0])
}

// lateEnd is how long a session is waited for that has told its client goodbye,
// but not yet the parent: a client that logs out and in again at its limit
// must not be refused.
const lateEnd = 300 * time.Millisecond

// deliverSession counts the session and sends it. It is counted first: a
// process that is about to end because it is idle then stays. The lock is not
// held while sending, so that a process that does not read stops nobody else.
func (p *parent) deliverSession(u *auth.UserInfo, s *session, f *os.File) (int, error) {
	m, err := p.admit(u, s)
	for end := time.Now().Add(lateEnd); errors.Is(err, login.ErrTooMany) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		m, err = p.admit(u, s)
	}
	if errors.Is(err, login.ErrTooMany) {
		p.logs().Info.TooManyConnections(maillog.Client{Service: string(s.Proto), User: s.User, Method: s.Method,
			Remote: s.Remote.Addr().String(), Local: s.Local.Addr().String(), Session: s.Session}, p.settings().limits[string(s.Proto)])
	}
	if err != nil {
		return 0, err
	}
	if err := m.send(message{Op: opSession, Session: s}, f); err != nil {
		p.forget(idsOf(u), m, s.Number)
		return 0, err
	}
	return m.pid, nil
}

// admit holds the session against the limits and finds its process.
func (p *parent) admit(u *auth.UserInfo, s *session) (*mailProc, error) {
	t := &p.mail
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, errGone
	}
	if limit := p.settings().limits[string(s.Proto)]; limit > 0 && t.count(s) >= limit {
		return nil, login.ErrTooMany
	}
	m, err := p.process(u)
	if err != nil {
		return nil, err
	}
	t.last++
	s.Number = t.last
	m.sessions[s.Number] = live{s.Proto, s.User, s.Remote.Addr()}
	m.idle.Stop()
	return m, nil
}

// count returns how many sessions the user has from that address.
func (t *mailTable) count(s *session) (n int) {
	for _, m := range t.procs {
		for _, l := range m.sessions {
			if l.user == s.User && l.proto == s.Proto && l.remote == s.Remote.Addr() {
				n++
			}
		}
	}
	return n
}

// process returns the user's process, starting it if there is none; t.mu is held.
func (p *parent) process(u *auth.UserInfo) (*mailProc, error) {
	key := idsOf(u)
	if m := p.mail.procs[key]; m != nil {
		return m, nil
	}
	s := p.settings()
	if u.UID < s.FirstUID {
		return nil, fmt.Errorf("uid %d is below first_valid_uid = %d", u.UID, s.FirstUID)
	}
	m, pr, err := p.startMail(u, s)
	if err != nil {
		return nil, err
	}
	p.mail.procs[key] = m
	go m.serve(func(e event) { p.fromMail(key, m, e) })
	go p.reapMail(key, m, pr)
	return m, nil
}

// startMail starts a user's process and sends it its setup. It is started as root
// and becomes the user before anything else: a process that is started as the user
// could be traced by him, and mail_privileged_group, which it has so that
// dotlocks can be made in /var/mail (mode 2775 root:mail), be his.
func (p *parent) startMail(u *auth.UserInfo, s *settings) (*mailProc, *proc.Process, error) {
	set, err := p.setupMail(u, s)
	if err != nil {
		return nil, nil, err
	}
	ch, far, err := proc.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer far.Close()
	pr, err := proc.Start(proc.Role{Path: p.self, Args: []string{"mrad", "--role", "mail"}, Env: proc.CleanEnv(),
		Stderr: p.logPipe, Files: []*os.File{far}})
	if err != nil {
		ch.Close()
		return nil, nil, err
	}
	m := &mailProc{peer: newPeer(ch), pid: pr.PID(), sessions: make(map[int]live), gone: make(chan struct{})}
	m.idle = time.AfterFunc(idleTime, func() { p.retireMail(idsOf(u), m) })
	if err := m.send(message{Op: opSetup, Setup: set}); err != nil {
		ch.Close()
		go pr.Wait()
		return nil, nil, err
	}
	return m, pr, nil
}

// setupMail says whom a process is to become, and with which groups: the user's
// own only where the userdb says that the user is an account of this machine. A
// virtual user may bear the name of one.
func (p *parent) setupMail(u *auth.UserInfo, s *settings) (*setup, error) {
	set, err := s.mailSetup()
	if err != nil || os.Geteuid() != 0 {
		return set, err
	}
	set.RunAs = &proc.User{Name: u.User, UID: u.UID, GID: u.GID}
	set.Groups = []int{u.GID}
	if name := u.Fields["system_groups_user"]; name != "" {
		set.Groups = (&proc.User{Name: name, UID: u.UID, GID: u.GID}).Groups()
	}
	if s.MailGroup != "" {
		gid, err := proc.LookupGroup(s.MailGroup)
		if err != nil {
			return nil, fmt.Errorf("mail_privileged_group %s: %w", s.MailGroup, err)
		}
		set.Groups = append(set.Groups, gid)
	}
	return set, nil
}

// renew sends changed settings to the processes that live.
func (t *mailTable) renew(set *setup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.procs {
		go m.send(message{Op: opSetup, Setup: set})
	}
}

// fromMail hears of ended sessions.
func (p *parent) fromMail(key ids, m *mailProc, e event) {
	e.close()
	if e.Op != opDone {
		return
	}
	p.forget(key, m, e.Number)
}

// forget counts a session out.
func (p *parent) forget(key ids, m *mailProc, number int) {
	p.mail.mu.Lock()
	defer p.mail.mu.Unlock()
	delete(m.sessions, number)
	if len(m.sessions) == 0 && p.mail.procs[key] == m {
		m.idle.Reset(idleTime)
	}
}

// retireMail lets a process without sessions go.
func (p *parent) retireMail(key ids, m *mailProc) {
	p.mail.mu.Lock()
	defer p.mail.mu.Unlock()
	if len(m.sessions) == 0 && p.mail.procs[key] == m {
		delete(p.mail.procs, key)
		m.ch.Close()
	}
}

// reapMail waits for the end of a process; its sessions end with it.
func (p *parent) reapMail(key ids, m *mailProc, pr *proc.Process) {
	code := pr.Wait()
	m.ch.Close()
	close(m.gone)
	p.mail.mu.Lock()
	n := len(m.sessions)
	m.sessions = make(map[int]live)
	if p.mail.procs[key] == m {
		delete(p.mail.procs, key)
	}
	ended := p.mail.ended
	p.mail.mu.Unlock()
	if n > 0 && !ended {
		p.log().DovecotError("master", fmt.Sprintf("process %d of uid %d ended with %d and took %d sessions with it", m.pid, key.uid, code, n))
	}
}

// stop ends all sessions and waits for their processes.
func (t *mailTable) stop(ctx context.Context) {
	t.mu.Lock()
	t.ended = true
	var all []*mailProc
	for _, m := range t.procs {
		all = append(all, m)
		go m.send(message{Op: opStop})
	}
	t.mu.Unlock()
	for _, m := range all {
		select {
		case <-m.gone:
		case <-ctx.Done():
		}
	}
}
