// Package pickup takes what sendmail and postdrop leave in the maildrop folder
// and hands it to intake, as pickup(8) does. A file goes only after its message
// is committed: a crash between the two delivers it twice, never not at all.
package pickup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"packetboat/internal/mail"
	"packetboat/internal/queue/maildrop"
	"packetboat/internal/receive/intake"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/maillog"
)

// Options say where maildrop is and how fast it is emptied.
type Options struct {
	QueueDirectory string        `main:"queue_directory"`
	MinFree        int64         `main:"queue_minfree"` // octets of the queue that stay free, see Serve
	Parallel       int           // files at once, so that commits share flushes; 0 = 16
	Rescan         time.Duration // between looks at the whole folder, for what a notice missed; 0 = 60 s
	// Source says how the service's mail is treated (content_filter and so on); nil = as all mail.
	Source *intake.Source
}

const (
	defaultParallel = 16
	defaultRescan   = 60 * time.Second
	// blindRescan replaces Rescan where the kernel gives no notices.
	blindRescan = 2 * time.Second
	// maxBacklog bounds the names that wait for a worker; what is over it is
	// found again by the next scan.
	maxBacklog = 4096
	// staleTemp is the age at which what a dead postdrop left is removed.
	staleTemp = 24 * time.Hour
	// tempPrefix begins the name of a file that postdrop is writing.
	tempPrefix = "tmp."
)

// Pickup empties one maildrop folder.
type Pickup struct {
	o       Options
	dir     string
	corrupt string
	in      *intake.Intake
	log     *maillog.Log

	jobs    chan string
	done    chan string
	taken   map[string]bool // names in the backlog or with a worker; true = look again afterwards
	backlog []string
	more    bool // names were left out of the backlog
}

// New returns a Pickup for the maildrop below o.QueueDirectory, which must
// exist. log speaks as "pickup".
func New(o Options, in *intake.Intake, log *maillog.Log) *Pickup {
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Source == nil {
		o.Source = &intake.Source{}
	}
	if o.Rescan <= 0 {
		o.Rescan = defaultRescan
	}
	return &Pickup{o: o, in: in, log: log,
		dir:     filepath.Join(o.QueueDirectory, "maildrop"),
		corrupt: filepath.Join(o.QueueDirectory, "corrupt"),
		jobs:    make(chan string), done: make(chan string), taken: map[string]bool{}}
}

// Run takes mail until ctx ends; messages in hand are finished first. The
// error is that of a folder which cannot be read at all.
func (p *Pickup) Run(ctx context.Context) error {
	if _, err := os.Stat(p.dir); err != nil {
		return err
	}
	watch, rescan := p.watch()
	if watch != nil {
		defer watch.Close()
	}
	var workers sync.WaitGroup
	for range p.o.Parallel {
		workers.Go(func() {
			for name := range p.jobs {
				p.take(name)
				p.done <- name
			}
		})
	}
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	p.scan()
	p.loop(ctx, watch, tick.C)

	close(p.jobs)
	go func() { workers.Wait(); close(p.done) }()
	for range p.done {
	}
	return nil
}

// watch asks for notices of new files. Without them the folder is looked at often.
func (p *Pickup) watch() (*fsnotify.Watcher, time.Duration) {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		if err = w.Add(p.dir); err == nil {
			return w, p.o.Rescan
		}
		w.Close()
	}
	p.log.Warn("cannot watch %s: %v; looking every %v", p.dir, err, blindRescan)
	return nil, min(blindRescan, p.o.Rescan)
}

// loop hands names to the workers.
func (p *Pickup) loop(ctx context.Context, watch *fsnotify.Watcher, tick <-chan time.Time) {
	var events chan fsnotify.Event
	var lost chan error
	if watch != nil {
		events, lost = watch.Events, watch.Errors
	}
	for {
		var jobs chan string // nil, and so never ready, while nothing waits
		var first string
		if len(p.backlog) > 0 {
			jobs, first = p.jobs, p.backlog[0]
		}
		select {
		case <-ctx.Done():
			return
		case jobs <- first:
			p.backlog = p.backlog[1:]
		case name := <-p.done:
			p.finished(name)
		case e := <-events:
			// Our postdrop renames into place, Postfix's sets a mode bit.
			if e.Has(fsnotify.Create) || e.Has(fsnotify.Chmod) {
				p.offer(filepath.Base(e.Name))
			}
		case <-lost: // the kernel dropped notices
			p.scan()
		case <-tick:
			p.scan()
		}
	}
}

// offer puts a name into the backlog.
func (p *Pickup) offer(name string) {
	if !validName(name) {
		return
	}
	if _, ok := p.taken[name]; ok {
		p.taken[name] = true
		return
	}
	if len(p.backlog) >= maxBacklog {
		p.more = true
		return
	}
	p.taken[name] = false
	p.backlog = append(p.backlog, name)
}

// finished lets go of a name that a worker is done with.
func (p *Pickup) finished(name string) {
	again := p.taken[name]
	delete(p.taken, name)
	if again {
		p.offer(name)
	}
	if p.more && len(p.backlog) == 0 {
		p.scan()
	}
}

// validName tells whether name can be a queue id, short or long.
func validName(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
}

// scan offers every file of the folder, some names at a time, so that a flood
// in maildrop costs no memory.
func (p *Pickup) scan() {
	p.more = false
	d, err := os.Open(p.dir)
	if err != nil {
		p.log.PickupFailed("maildrop", err)
		return
	}
	defer d.Close()
	for !p.more {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			if strings.HasPrefix(name, tempPrefix) {
				p.sweep(name)
				continue
			}
			p.offer(name)
		}
		if err != nil {
			return
		}
	}
}

// sweep removes what a postdrop that died has left.
func (p *Pickup) sweep(name string) {
	path := filepath.Join(p.dir, name)
	if fi, err := os.Lstat(path); err == nil && time.Since(fi.ModTime()) > staleTemp {
		os.Remove(path)
	}
}

// take brings one file into the queue.
func (p *Pickup) take(name string) {
	defer func() {
		if r := recover(); r != nil {
			p.log.PickupFailed(name, fmt.Errorf("panic: %v", r))
		}
	}()
	path := filepath.Join(p.dir, name)
	m, err := p.open(name)
	if errors.Is(err, maildrop.ErrIncomplete) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = p.submit(m)
		m.Close()
	}
	var damage *maildrop.CorruptError
	var distrust *disk.UntrustedError
	switch {
	case err == nil:
		os.Remove(path)
	case errors.As(err, &damage):
		p.log.PickupCorrupt(name, damage.Reason)
		p.setAside(path, name)
	case errors.As(err, &distrust):
		// Only the name is removed, never what it points to.
		p.log.PickupUntrusted(name, distrust.Why)
		os.Remove(path)
	default:
		if fi, e := os.Lstat(path); e == nil && fi.Mode()&fs.ModeSymlink != 0 {
			p.log.PickupUntrusted(name, "a symbolic link")
			os.Remove(path)
			return
		}
		p.log.PickupFailed(name, err)
	}
}

// open opens a file. One that postdrop has just given its name belongs to its
// caller alone until postdrop has changed its mode, of which we get a notice.
func (p *Pickup) open(name string) (*maildrop.Message, error) {
	m, err := maildrop.Open(p.dir, name)
	if !errors.Is(err, fs.ErrPermission) {
		return m, err
	}
	fi, e := os.Lstat(filepath.Join(p.dir, name))
	switch {
	case e != nil:
		return nil, e
	case fi.Mode().IsRegular() && !maildrop.Ready(fi.Mode()):
		return nil, maildrop.ErrIncomplete
	}
	return maildrop.Open(p.dir, name)
}

// setAside moves a damaged file where the administrator finds it.
func (p *Pickup) setAside(path, name string) {
	if err := os.Rename(path, filepath.Join(p.corrupt, name)); err != nil {
		p.log.PickupFailed(name, err)
	}
}

// submit writes one message into the queue. The messages of one user and of
// many wait together for the disk: commits share its flushes.
func (p *Pickup) submit(d *maildrop.Message) error {
	m, err := p.in.OpenFrom(p.o.Source)
	if err != nil {
		return err
	}
	defer m.Abort()
	p.log.PickupFrom(m.ID(), d.Env.UID, string(d.Env.Sender))
	m.SetFullName(d.FullName)
	if d.Remote {
		m.SetRemote()
	}
	if err := m.Start(d.Env); err != nil {
		return err
	}
	if err := d.WriteContent(m); err != nil {
		return err
	}
	if len(d.Env.Rcpts) == 0 {
		return &maildrop.CorruptError{Reason: "no recipients"}
	}
	err = m.Commit()
	if st := mail.AsStatus(err); err != nil && !st.Temporary() {
		// intake refuses no local mail for good: a message nobody can take is damaged.
		return &maildrop.CorruptError{Reason: st.Text}
	}
	return err
}
