package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// The pauses before a crashed engine is started again: at once the first time,
// then longer and longer while it does not last a minute.
const (
	restartMin   = 100 * time.Millisecond
	restartMax   = 30 * time.Second
	restartReset = time.Minute
)

// drainTime is how long the engine may finish what is in hand when the system
// stops or reads its configuration again.
const drainTime = 20 * time.Second

// parent is the root half of mtad.
type parent struct {
	main    *config.Main
	master  []config.Service
	dir     string // configuration directory
	owner   *proc.User
	logs    *maillog.Logger
	logFile *os.File // maillog_file, handed to the engine; nil = syslog
	log     *maillog.Log
	lock    *os.File // master.pid, locked while we live
	sockets sockets
	bin     string   // folder of our programs
	words   *os.File // standard error of our children, copied to ours
	stop    chan os.Signal

	mu     sync.Mutex
	engine *engineProc
}

// engineProc is one run of the engine.
type engineProc struct {
	proc  *proc.Process
	ch    *proc.Channel
	ready chan struct{} // closed when the engine answers
	ended chan struct{} // closed when the process is gone
	code  int
}

// runParent is mtad -F.
func runParent(dir string, readyFD int) int {
	p, err := newParent(dir)
	if err != nil {
		return complain(err)
	}
	defer p.close()
	if err := p.start(); err != nil {
		p.log.Fatal("%s", err.Error())
		return complain(err)
	}
	proc.Ready(readyFD)
	return p.serve()
}

// newParent reads the configuration and takes what only root can have.
func newParent(dir string) (*parent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &parent{dir: dir, bin: filepath.Dir(self), stop: proc.Signals()}
	if p.words, err = lastWords(); err != nil {
		return nil, err
	}
	if err := p.load(); err != nil {
		return nil, err
	}
	if err := p.layOut(); err != nil {
		return nil, err
	}
	if p.lock, err = lockQueue(p.main.Get("queue_directory")); err != nil {
		return nil, err
	}
	return p, p.openLog()
}

// lockQueue takes the lock that only one system at a time can have. After a
// kill of the parent its engine holds it for a moment longer.
func lockQueue(queue string) (*os.File, error) {
	for end := time.Now().Add(lockTime); ; time.Sleep(20 * time.Millisecond) {
		f, err := disk.LockFile(filepath.Join(queue, "pid/master.pid"))
		if !errors.Is(err, disk.ErrRunning) {
			return f, err
		}
		if time.Now().After(end) {
			return nil, errors.New("the mail system is already running")
		}
	}
}

// lockTime is how long a start waits for a former engine to end.
const lockTime = 2 * time.Second

// load reads main.cf and master.cf; an error leaves what was read before.
func (p *parent) load() error {
	m, _, err := config.LoadMain(p.dir)
	if err != nil {
		return err
	}
	services, _, err := config.LoadMaster(m.Dir())
	if err != nil {
		return err
	}
	owner, err := proc.LookupUser(m.Get("mail_owner"))
	if err != nil {
		return fmt.Errorf("mail_owner %q: %w", m.Get("mail_owner"), err)
	}
	if os.Geteuid() != 0 && owner.UID != os.Geteuid() {
		return fmt.Errorf("mail_owner is %s: start mtad as root or as that user", owner.Name)
	}
	if err := checkEngine(m, services); err != nil {
		return err
	}
	p.main, p.master, p.owner = m, services, owner
	return nil
}

// openLog opens the log that both processes write.
func (p *parent) openLog() error {
	if p.logFile != nil {
		p.logFile.Close()
		p.logFile = nil
	}
	if file := p.main.Get("maillog_file"); file != "" && file != "/dev/stdout" {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		p.logFile = f
	} else if file != "" {
		p.logFile = os.Stdout
	}
	logs, err := maillog.Open(logOptions(p.main, p.logFile))
	if err != nil {
		return err
	}
	p.logs, p.log = logs, logs.Program("master")
	return nil
}

// start binds the ports and starts the first engine.
func (p *parent) start() error {
	if err := p.sockets.bind(p.main, p.master); err != nil {
		return err
	}
	p.logs.Program("postfix-script").Info("starting the Postfix mail system")
	e, err := p.startEngine()
	if err != nil {
		return err
	}
	select {
	case <-e.ready:
	case <-e.ended:
		return fmt.Errorf("the engine did not start (exit %d): see the log", e.code)
	}
	if _, err := fmt.Fprintf(p.lock, "%*d\n", 1, os.Getpid()); err != nil {
		return err
	}
	p.log.Info("daemon started -- version %s, configuration %s", p.main.Get("mail_version"), p.main.Dir())
	return nil
}

// startEngine starts an engine and hands it the sockets.
func (p *parent) startEngine() (*engineProc, error) {
	near, far, err := proc.Pair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	files := []*os.File{far, p.lock}
	if p.logFile != nil {
		files = append(files, p.logFile)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	pr, err := proc.Start(proc.Role{
		Path: self, Args: []string{"mtad", "--engine", "-c", p.main.Dir()},
		Env: proc.CleanEnv(), User: p.owner, Files: files, Stderr: p.words,
	})
	if err != nil {
		near.Close()
		return nil, err
	}
	e := &engineProc{proc: pr, ch: near, ready: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		e.code = pr.Wait()
		close(e.ended)
	}()
	go newStarter(p, e).serve()
	p.mu.Lock()
	p.engine = e
	p.mu.Unlock()
	return e, p.sockets.send(near)
}

// serve lives until SIGTERM: it starts the engine again when it crashes and
// reads the configuration again on SIGHUP.
func (p *parent) serve() int {
	pause, began := restartMin, time.Now()
	for {
		select {
		case sig := <-p.stop:
			if sig == proc.SIGHUP {
				p.reload()
				began = time.Now()
				continue
			}
			p.log.Info("terminating on signal %d", proc.SignalNumber(sig))
			p.drain()
			return 0
		case <-p.current().ended:
		}
		if time.Since(began) > restartReset {
			pause = restartMin
		}
		p.log.Warn("process %s/mtad pid %d exit status %d", p.bin, p.current().proc.PID(), p.current().code)
		time.Sleep(pause)
		pause, began = min(2*pause, restartMax), time.Now()
		if _, err := p.startEngine(); err != nil {
			p.log.Fatal("%s", err.Error())
			return 1
		}
	}
}

func (p *parent) current() *engineProc {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.engine
}

// reload reads the configuration again. What cannot be used is told, and the
// running engine keeps what it has. Ports stay open meanwhile: a client that
// connects just now waits a moment and is served.
func (p *parent) reload() {
	p.log.Info("reload -- version %s, configuration %s", p.main.Get("mail_version"), p.main.Dir())
	oldMain, oldMaster, oldOwner := p.main, p.master, p.owner
	if err := p.load(); err != nil {
		p.log.Error("configuration not taken: %s", err.Error())
		return
	}
	if err := errors.Join(p.layOut(), p.sockets.bind(p.main, p.master), p.openLog()); err != nil {
		p.main, p.master, p.owner = oldMain, oldMaster, oldOwner
		p.log.Error("configuration not taken: %s", err.Error())
		return
	}
	p.drain()
	if _, err := p.startEngine(); err != nil {
		p.log.Fatal("%s", err.Error())
	}
}

// drain lets the engine finish what is in hand, and ends it after drainTime.
func (p *parent) drain() {
	e := p.current()
	e.proc.Signal(proc.SIGTERM)
	select {
	case <-e.ended:
	case <-time.After(drainTime):
		e.proc.Signal(proc.SIGKILL)
		<-e.ended
	}
}

func (p *parent) close() {
	p.sockets.close()
	if p.lock != nil {
		p.lock.Truncate(0)
		p.lock.Close()
	}
}

// lastWords returns a pipe whose text goes to our standard error, wherever that
// leads at the time: a child that had the starter's own descriptor would keep the
// starter's terminal or pipe open for ever.
func lastWords() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer r.Close()
		b := make([]byte, 4096)
		for {
			n, err := r.Read(b)
			if err != nil {
				return
			}
			os.Stderr.Write(b[:n])
		}
	}()
	return w, nil
}

// logOptions says how both processes log.
func logOptions(m *config.Main, f *os.File) maillog.Options {
	return maillog.Options{Name: m.Get("syslog_name"), Handle: f}
}
