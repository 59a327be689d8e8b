package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"packetboat/cmd/internal/spawn"
	"packetboat/cmd/internal/wiring"
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

// parent is the root half of mtad.
type parent struct {
	setup
	logs    *maillog.Logger
	logFile *os.File // maillog_file, handed to the engine; nil = syslog
	log     *maillog.Log
	lock    *os.File // master.pid, locked while we live
	sockets sockets
	spawned spawn.Set // the administrator's commands that are services
	bin     string    // folder of our programs
	words   *words    // what our children say on standard error
	stop    chan os.Signal
	engine  *engineProc
	force   bool // parameters that are not built do not stop us
}

// setup is a configuration that has been read and found good.
type setup struct {
	main   *config.Main
	master []config.Service
	owner  *proc.User
	doubts []config.Problem // that did not stop it
}

// runParent is mtad -F.
func runParent(dir string, readyFD int, force bool) int {
	p, err := newParent(dir, force)
	if err != nil {
		return complain(err)
	}
	defer p.close()
	if err := p.start(); err != nil {
		p.words.flush()
		p.log.Fatal("%s", err.Error())
		return complain(err)
	}
	proc.Ready(readyFD)
	return p.serve()
}

// newParent reads the configuration and takes what only root can have.
func newParent(dir string, force bool) (*parent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := proc.DropGroups(); err != nil {
		return nil, err
	}
	p := &parent{bin: filepath.Dir(self), stop: proc.Signals(), force: force}
	if p.setup, err = readSetup(dir, force); err != nil {
		return nil, err
	}
	if err := p.layOut(); err != nil {
		return nil, err
	}
	if p.lock, err = lockQueue(p.main.Get("queue_directory")); err != nil {
		return nil, err
	}
	if p.words, err = newWords(); err != nil {
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

// openLog opens the log that both processes write. After an error the log is
// the one that it was.
func (p *parent) openLog() error {
	var f *os.File
	var err error
	switch file := p.main.Get("maillog_file"); file {
	case "":
	case "/dev/stdout":
		f = os.Stdout
	default:
		if f, err = os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err != nil {
			return err
		}
	}
	logs, err := maillog.Open(wiring.LogOptions(p.main, f))
	if err != nil {
		return err
	}
	if p.logFile != nil && p.logFile != os.Stdout {
		p.logFile.Close()
	}
	p.logFile, p.logs, p.log = f, logs, logs.Program("master")
	p.words.speakTo(p.log)
	return nil
}

// start binds the ports and starts the first engine.
func (p *parent) start() error {
	if err := errors.Join(p.sockets.bind(p.main, p.master), p.spawn()); err != nil {
		return err
	}
	p.tellDoubts()
	p.logs.Program("postfix-script").Info("starting the Postfix mail system")
	if err := p.startEngine(); err != nil {
		return err
	}
	select {
	case <-p.engine.ready:
	case <-p.engine.ended:
		return fmt.Errorf("the engine did not start (exit %d): see the log", p.engine.code)
	case sig := <-p.stop:
		p.drain()
		return fmt.Errorf("terminated by signal %d", proc.SignalNumber(sig))
	}
	if _, err := fmt.Fprintf(p.lock, "%*d\n", 1, os.Getpid()); err != nil {
		return err
	}
	p.log.Info("daemon started -- version %s, configuration %s", p.main.Get("mail_version"), p.main.Dir())
	p.words.answers()
	return nil
}

// serve lives until SIGTERM: it starts the engine again when it crashes and
// reads the configuration again on SIGHUP.
func (p *parent) serve() int {
	pause, began := restartMin, time.Now()
	var again <-chan time.Time // goes off when a crashed engine is to be started again
	for {
		ended := p.engine.ended
		if again != nil {
			ended = nil // its end is known
		}
		select {
		case sig := <-p.stop:
			if sig != proc.SIGHUP {
				p.log.Info("terminating on signal %d", proc.SignalNumber(sig))
				p.drain()
				return 0
			}
			if p.reload() {
				again, pause, began = nil, restartMin, time.Now()
			}
			continue
		case <-ended:
			p.log.Warn("process %s/mtad pid %d exit status %d", p.bin, p.engine.proc.PID(), p.engine.code)
		case <-again:
			again, began = nil, time.Now()
			err := p.startEngine()
			if err == nil {
				continue
			}
			p.log.Fatal("%s", err.Error()) // no memory, no process: it may pass
		}
		if time.Since(began) > restartReset {
			pause = restartMin
		}
		again = time.After(pause)
		pause = min(2*pause, restartMax)
	}
}

// reload reads the configuration again; it tells whether a new engine runs with
// it. What cannot be used is told, and the running engine goes on with what it
// has. Ports stay open meanwhile: a client that connects just now waits a moment
// and is served.
func (p *parent) reload() bool {
	p.log.Info("reload -- version %s, configuration %s", p.main.Get("mail_version"), p.main.Dir())
	old := p.setup
	if err := p.take(); err != nil {
		p.setup = old
		err = errors.Join(err, p.openLog())
		p.log.Error("configuration not taken: %s", oneLine(config.Report(err)))
		return false
	}
	p.tellDoubts()
	p.drain()
	if err := p.startEngine(); err != nil {
		p.log.Fatal("%s", err.Error())
		return false
	}
	return true
}

// take makes the configuration on disk ours, if an engine can work with it.
func (p *parent) take() error {
	next, err := readSetup(p.main.Dir(), p.force)
	if err != nil {
		return err
	}
	// The lock that keeps a second system out is in the queue that we began with.
	if old, now := p.main.Get("queue_directory"), next.main.Get("queue_directory"); old != now {
		return fmt.Errorf("queue_directory was %s and is now %s: stop the mail system and start it again", old, now)
	}
	p.setup = next
	for _, step := range []func() error{p.openLog, p.rehearse, p.layOut} {
		if err := step(); err != nil {
			return err
		}
	}
	return errors.Join(p.sockets.bind(p.main, p.master), p.spawn())
}

// spawn opens the sockets of spawn(8).
func (p *parent) spawn() error { return p.spawned.Bind(p.main, p.master, p.logs.Program("spawn")) }

// oneLine puts what is written for people into one line of the log.
func oneLine(s string) string {
	return strings.TrimPrefix(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "), "error: ")
}

func (p *parent) close() {
	p.sockets.close()
	p.spawned.Close()
	if p.lock != nil {
		p.lock.Truncate(0)
		p.lock.Close()
	}
}
