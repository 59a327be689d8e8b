package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"packetboat/cmd/mrad/authconf"
	"packetboat/cmd/mrad/logfile"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// parent is the root process. It binds, starts, and passes on.
type parent struct {
	path    string
	force   bool // go on without what is not built
	self    string
	lock    *os.File
	logPipe *os.File // every role's standard error
	sockets sockets
	signals chan os.Signal

	mu       sync.Mutex
	s        *settings
	current  *maillog.Log // see log
	files    logfile.Files
	auth     *role
	login    *role
	lmtp     *role
	scripts  []*role
	mail     mailTable
	stopping bool
	unwatch  func() // ends the watch over the certificate
}

// runParent is mrad -F.
func runParent(path string, readyFD int, force bool) int {
	p := &parent{path: path, force: force, signals: proc.Signals()}
	p.mail.init()
	if err := p.start(); err != nil {
		if p.log() != nil {
			p.log().DovecotError("master", err.Error())
		}
		p.halt()
		return complain(err)
	}
	proc.Ready(readyFD)
	return p.run()
}

func (p *parent) start() error {
	var err error
	if p.self, err = os.Executable(); err != nil {
		return err
	}
	if p.s, err = load(p.path, p.force); err != nil {
		return err
	}
	if err := p.layOut(); err != nil {
		return err
	}
	if err := p.openLog(); err != nil {
		return err
	}
	if err := p.sockets.bind(p.s); err != nil {
		return err
	}
	p.serveAnvil()
	keys, keysErr := p.s.openKeys()
	if err := p.startRoles(); err != nil {
		return err
	}
	p.watchKeys(keys, keysErr)
	if _, err := fmt.Fprintf(p.lock, "%d\n", os.Getpid()); err != nil {
		return err
	}
	p.warn()
	p.logs().Info.MasterStarting("2.3.19.1 (packetboat "+version+")", strings.Join(p.s.Protocols, ", "))
	return nil
}

// layOut makes base_dir with the empty folder of the login process, and takes
// the lock that only one system at a time can have.
func (p *parent) layOut() error {
	dirs := []string{p.s.BaseDir, filepath.Join(p.s.BaseDir, "login"), filepath.Join(p.s.BaseDir, "empty")}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	lock, err := disk.LockFile(filepath.Join(p.s.BaseDir, "master.pid"))
	if errors.Is(err, disk.ErrRunning) {
		return fmt.Errorf("another mrad is running already with base_dir %s", p.s.BaseDir)
	}
	p.lock = lock
	return err
}

// openLog opens the log, and at the first time the pipe through which the roles
// write to it: so log files can be moved at any time, and a process without
// files can log.
func (p *parent) openLog() error {
	files, err := logfile.Open(p.s.Log)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.files, p.current = files, files.Errors
	p.mu.Unlock()
	if p.logPipe != nil {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	p.logPipe = w
	go p.copyLog(r)
	return nil
}

// copyLog writes what the roles said. A line that is not one of maillog's is
// the last word of a role that crashed.
func (p *parent) copyLog(r io.Reader) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		// One without an end is cut: a role that was broken into must not fill
		// the memory of root's process.
		b, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		line := strings.TrimSuffix(string(b), "\n")
		if _, text, ok := strings.Cut(line, " - dovecot: "); ok && len(line)-len(text) == logPrefix {
			p.logs().For(text).Info("%s", text)
		} else if line != "" {
			p.log().DovecotError("master", line)
		}
	}
}

// logPrefix is the length of "Nov 23 18:28:05 - dovecot: ".
const logPrefix = len(time.Stamp) + len(" - dovecot: ")

// run waits for signals until the system is to stop.
func (p *parent) run() int {
	for s := range p.signals {
		if s == proc.SIGHUP {
			p.reload()
			continue
		}
		p.log().MasterSignal(proc.SignalNumber(s))
		p.halt()
		return 0
	}
	return 0
}

// reload reads the configuration again; with an error the old one stays. auth
// and login are replaced; sessions go on.
func (p *parent) reload() {
	s, err := load(p.path, p.force)
	if err == nil { // what the new processes would read they must be able to
		err = errors.Join(authconf.Try(s.conf, s.Hostname), s.tryKeys())
	}
	if err == nil {
		err = p.sockets.bind(s)
	}
	if err != nil {
		p.log().DovecotError("master", "reload: "+err.Error())
		return
	}
	p.mu.Lock()
	p.s = s
	p.mu.Unlock()
	p.serveAnvil()
	p.watchKeys(s.openKeys())
	if set, err := s.mailSetup(); err == nil {
		p.mail.renew(set)
	}
	if err := p.openLog(); err != nil {
		p.log().DovecotError("master", "reload: "+err.Error())
	}
	p.log().DovecotWarning("master", "SIGHUP received - reloading configuration")
	p.warn()
	for _, r := range append([]*role{p.auth, p.login, p.lmtp}, p.scripts...) {
		if r != nil {
			r.replace()
		}
	}
}

// warn logs what the files hold that is odd, but no error.
func (p *parent) warn() {
	for _, w := range p.settings().conf.Warnings {
		p.log().DovecotWarning("config", w.String())
	}
	for _, w := range p.settings().without {
		p.log().DovecotWarning("config", w.String()+" (--force: goes on without it)")
	}
}

// halt ends everything: clients are told, then processes end, then names go.
func (p *parent) halt() {
	p.mu.Lock()
	p.stopping = true
	if p.unwatch != nil {
		p.unwatch()
	}
	p.mu.Unlock()
	p.sockets.close()
	ctx, cancel := context.WithTimeout(context.Background(), stopTime+2*time.Second)
	defer cancel()
	p.mail.stop(ctx)
	for _, r := range append([]*role{p.login, p.lmtp, p.auth}, p.scripts...) {
		if r != nil {
			r.stop(ctx)
		}
	}
	if p.lock != nil {
		os.Remove(p.lock.Name())
		p.lock.Close()
	}
}

// log is where the log goes at this moment.
func (p *parent) log() *maillog.Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// logs are all logs of this moment.
func (p *parent) logs() logfile.Files {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files
}

// settings returns the configuration of this moment.
func (p *parent) settings() *settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.s
}

// peerOf returns the living process of a role.
func peerOf(r *role) (*peer, error) {
	if r == nil {
		return nil, errGone
	}
	if q := r.current(); q != nil {
		return q, nil
	}
	return nil, errGone
}

// connectAuth answers a login process that wants to talk with auth.
func (p *parent) connectAuth(from *peer, e event) {
	a, err := peerOf(p.auth)
	if err != nil {
		from.fail(e.message, err)
		return
	}
	near, far, err := proc.SocketPair()
	if err != nil {
		from.fail(e.message, err)
		return
	}
	defer near.Close()
	defer far.Close()
	if err := a.send(message{Op: opClient}, near); err != nil {
		from.fail(e.message, err)
		return
	}
	from.reply(e.message, message{}, far)
}

// lookup asks auth where the mail of a user is.
func (p *parent) lookup(ctx context.Context, m message) (event, error) {
	a, err := peerOf(p.auth)
	if err != nil {
		return event{}, err
	}
	return a.call(ctx, m)
}

// fileListener is a listener whose socket can be passed on.
type fileListener interface {
	net.Listener
	File() (*os.File, error)
}
