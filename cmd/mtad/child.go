package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// drainTime is how long the engine may finish what is in hand when the system
// stops or reads its configuration again.
const drainTime = 20 * time.Second

// rehearseTime is how long a new configuration may take to be opened.
const rehearseTime = 30 * time.Second

// engineProc is one run of the engine.
type engineProc struct {
	proc  *proc.Process
	ch    *proc.Channel
	ready chan struct{} // closed when the engine answers
	once  sync.Once     // for ready: an engine may say it twice
	ended chan struct{} // closed when the process is gone
	code  int
}

// startEngine starts an engine and hands it the sockets. An engine that dies
// meanwhile is no error: serve sees its end.
func (p *parent) startEngine() error {
	e, err := p.launch(p.words.in)
	if err != nil {
		return err
	}
	p.engine = e
	if err := p.sockets.send(e.ch); err != nil {
		p.log.Warn("sockets for the engine: %s", err.Error())
		e.proc.Signal(proc.SIGKILL) // without its ports it is of no use
	}
	return nil
}

// timerSlack is how late the timers of an engine may go off. Go's
// runtime looks after its threads every 20 microseconds while they work, which is a
// third of all work with the kernel's usual slack; no timer of ours knows parts of
// a millisecond.
const timerSlack = time.Millisecond

// launch starts the engine's process with more arguments.
func (p *parent) launch(stderr *os.File, args ...string) (*engineProc, error) {
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
		Path: self, Args: append([]string{"mtad", "--engine", "-c", p.main.Dir()}, args...),
		Env: proc.CleanEnv(), User: p.owner, Files: files, Stderr: stderr, Slack: timerSlack,
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
	return e, nil
}

// rehearse has an engine open everything that the configuration names, without
// beginning to work: what it cannot do is found out while the old one still runs.
func (p *parent) rehearse() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	e, err := p.launch(w, "--rehearse")
	w.Close()
	if err != nil {
		return err
	}
	said := make(chan string, 1)
	go func() {
		b := make([]byte, maxOutput)
		n := 0
		for err := error(nil); err == nil && n < len(b); {
			var k int
			k, err = r.Read(b[n:])
			n += k
		}
		said <- string(b[:n])
	}()
	select {
	case <-e.ended:
	case <-time.After(rehearseTime):
		e.proc.Signal(proc.SIGKILL)
		<-e.ended
		return fmt.Errorf("it could not be opened within %v", rehearseTime)
	}
	if e.code == 0 {
		return nil
	}
	return errors.New(oneLine(strings.TrimPrefix(<-said, "mtad: ")))
}

// drain lets the engine finish what is in hand, and ends it after drainTime.
func (p *parent) drain() {
	e := p.engine
	e.proc.Signal(proc.SIGTERM)
	select {
	case <-e.ended:
	case <-time.After(drainTime):
		e.proc.Signal(proc.SIGKILL)
		<-e.ended
	}
}

// words takes what our children say on standard error: last words of a crash,
// complaints about a configuration. It goes into the log, line by line, and to
// our own standard error until the system answers, since somebody is watching
// then. A child never has the starter's own descriptor: it would keep his terminal
// or pipe open for ever.
type words struct {
	in       *os.File // the children's end
	log      atomic.Pointer[maillog.Log]
	answered atomic.Bool   // the system answers
	ended    chan struct{} // closed when nothing more can come
}

func newWords() (*words, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	v := &words{in: w, ended: make(chan struct{})}
	go v.copy(r)
	return v, nil
}

// maxWords is the longest line that stays whole, in bytes.
const maxWords = 4096

func (v *words) copy(r *os.File) {
	defer close(v.ended)
	defer r.Close()
	for br := bufio.NewReaderSize(r, maxWords); ; {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 {
			v.say(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (v *words) say(line []byte) {
	if !v.answered.Load() {
		os.Stderr.Write(line)
	}
	if s := strings.TrimSpace(string(line)); s != "" {
		v.log.Load().Warn("%s", s)
	}
}

// speakTo changes the log.
func (v *words) speakTo(log *maillog.Log) { v.log.Store(log) }

// answers says that nobody watches any longer.
func (v *words) answers() { v.answered.Store(true) }

// flush waits a moment for what dead children have said.
func (v *words) flush() {
	v.in.Close()
	select {
	case <-v.ended:
	case <-time.After(time.Second):
	}
}
