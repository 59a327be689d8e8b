// Package sched does the work of Postfix's qmgr(8): it takes committed messages,
// asks where each recipient goes, gives them to transports with fairness between
// destinations, records each answer at once, writes the delivery log, and tries
// again later, warns, or gives up.
//
// # Memory
//
// A message that is being delivered has its envelope in memory, never its bytes;
// how many there are is bounded by qmgr_message_active_limit and
// qmgr_message_recipient_limit. A deferred message costs its id and the time of
// its next try: about 150 bytes (TestWaitingMemory). A heap says which is next, so
// nothing scans the folders while the system runs.
package sched

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/send/bounce"
	"packetboat/internal/sys/maillog"
)

// Options are qmgr's parameters. The zero value is Postfix's default.
type Options struct {
	ActiveLimit    int           `main:"qmgr_message_active_limit"`
	RecipientLimit int           `main:"qmgr_message_recipient_limit"` // of all active messages; the last one may go over it
	MinBackoff     time.Duration `main:"minimal_backoff_time"`
	MaxBackoff     time.Duration `main:"maximal_backoff_time"`
	Lifetime       time.Duration `main:"maximal_queue_lifetime"` // 0 = the default; negative = one try only
	BounceLifetime time.Duration `main:"bounce_queue_lifetime"`
	DelayWarning   time.Duration `main:"delay_warning_time"`
	QueueRunDelay  time.Duration `main:"queue_run_delay"` // how long a message that could not be read is left alone

	InitialConcurrency int      `main:"initial_destination_concurrency"`
	ConcurrencyLimit   int      `main:"default_destination_concurrency_limit"`
	RecipientsPerJob   int      `main:"default_destination_recipient_limit"`
	ProcessLimit       int      `main:"default_process_limit"` // jobs of one transport at once
	FailedCohorts      int      `main:"default_destination_concurrency_failed_cohort_limit"`
	SoftBounce         bool     `main:"soft_bounce"` // permanent failures are tried again
	ConfirmCleared     bool     `main:"confirm_delay_cleared"`
	DeferTransports    []string `main:"defer_transports"`
	FlushDomains       []string `main:"fast_flush_domains"` // plain domains, and .domain for those below

	// Transports overrides by transport name, as the parameters
	// NAME_destination_concurrency_limit and so on do.
	Transports map[string]Limits
}

// Limits are one transport's own limits; 0 means the default.
type Limits struct {
	InitialConcurrency int // NAME_initial_destination_concurrency
	ConcurrencyLimit   int // NAME_destination_concurrency_limit
	RecipientsPerJob   int // NAME_destination_recipient_limit
	ProcessLimit       int // maxproc of master.cf

	FailedCohorts      int           // NAME_destination_concurrency_failed_cohort_limit
	Positive           Feedback      // NAME_destination_concurrency_positive_feedback
	Negative           Feedback      // NAME_destination_concurrency_negative_feedback
	RateDelay          time.Duration // NAME_destination_rate_delay: between two jobs, of which only one runs at once
	TransportRateDelay time.Duration // NAME_transport_rate_delay: the same for all destinations together
	NoPreemption       bool          // NAME_delivery_slot_cost = 0: a message goes out whole before the next one
}

// withDefaults fills in what postconf(5) says for parameters that are not set.
func (o Options) withDefaults() Options {
	ints := []struct {
		v   *int
		def int
	}{
		{&o.ActiveLimit, 20000}, {&o.RecipientLimit, 20000}, {&o.InitialConcurrency, 5},
		{&o.ConcurrencyLimit, 20}, {&o.RecipientsPerJob, 50}, {&o.ProcessLimit, 100}, {&o.FailedCohorts, 1},
	}
	for _, d := range ints {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	const day = 24 * time.Hour
	times := []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&o.MinBackoff, 300 * time.Second}, {&o.MaxBackoff, 4000 * time.Second}, {&o.QueueRunDelay, 300 * time.Second},
		{&o.Lifetime, 5 * day}, {&o.BounceLifetime, 5 * day},
	}
	for _, d := range times {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	return o
}

// limits returns the limits of one transport. local(8) takes one recipient at a
// time and two jobs for the same one, as Postfix's local_destination_... say.
func (o *Options) limits(name string) Limits {
	l := o.Transports[name]
	if name == "local" {
		l.RecipientsPerJob = orElse(l.RecipientsPerJob, 1)
		l.ConcurrencyLimit = orElse(l.ConcurrencyLimit, 2)
	}
	l.InitialConcurrency = orElse(l.InitialConcurrency, o.InitialConcurrency)
	l.ConcurrencyLimit = orElse(l.ConcurrencyLimit, o.ConcurrencyLimit)
	l.RecipientsPerJob = orElse(l.RecipientsPerJob, o.RecipientsPerJob)
	l.ProcessLimit = orElse(l.ProcessLimit, o.ProcessLimit)
	l.FailedCohorts = orElse(l.FailedCohorts, o.FailedCohorts)
	l.InitialConcurrency = min(l.InitialConcurrency, l.ConcurrencyLimit)
	return l
}

func orElse(v, def int) int {
	if v > 0 {
		return v
	}
	return def
}

// Router says where a recipient goes. An error is a *mail.Status: a bounce, or a
// failure to find out now; any other error defers the recipient.
type Router interface {
	Route(env *mail.Envelope, r *mail.Rcpt) (transport, nexthop string, err error)
}

// Transport delivers jobs; there is one for each client service of master.cf.
// Deliver answers for every recipient through job.Report before it returns, and
// returns soon after ctx is done.
type Transport interface {
	Deliver(ctx context.Context, job *mail.Job)
}

// Pipeliner is a Transport that puts jobs for one destination one behind the
// other in the same conversation and so gains from having several at once.
type Pipeliner interface {
	// Pipeline is how many jobs for one destination it takes at once, where that is
	// more than the concurrency limits allow. rcpt is the recipient, where each
	// is a destination of its own, and empty else. It is asked before every job.
	Pipeline(rcpt mail.Address) int
}

// workers is how many messages are read and routed at once: a table that answers
// slowly holds up this many messages and not all.
const workers = 4

// Sched is the scheduler of one queue.
type Sched struct {
	probed func(env *mail.Envelope, rcpts []bounce.Report) bool // nil = nobody sends probes

	q      *queue.Queue
	bounce *bounce.Bouncer
	log    *maillog.Log // qmgr's voice
	voices *voices

	ctx    context.Context // done when transports must stop
	cancel context.CancelFunc
	jobs   sync.WaitGroup // deliveries and workers

	mu         sync.Mutex
	wake       *sync.Cond // for the workers: something is ready, or there is room, or we stop
	o          Options
	router     Router
	transports map[string]*transport
	fresh      fifo // new mail
	due        fifo // deferred mail whose time has come
	lastDue    bool // the last candidate taken was from due: take turns
	waiting    waitList
	timer      *time.Timer // goes off when the first of waiting is due
	active     map[string]*message
	young      []young         // active messages whose file is in incoming, the oldest first
	settling   *time.Timer     // moves the files of those that are not young any more
	rcpts      int             // recipients of active messages that are no lists
	listed     int             // recipients of active lists
	lists      fifo            // lists for which there is no room
	spent      map[string]bool // messages that are done with, but could not be removed
	stopping   bool
}

// New returns a scheduler; nothing happens before Start. transports are named as
// in master.cf; "error", "retry" and "discard" exist unless given.
func New(o Options, q *queue.Queue, r Router, transports map[string]Transport, b *bounce.Bouncer, l *maillog.Logger) *Sched {
	s := &Sched{
		q: q, bounce: b, voices: newVoices(l), o: o.withDefaults(), router: r,
		active: map[string]*message{}, spent: map[string]bool{}, waiting: newWaitList(), transports: map[string]*transport{},
	}
	s.log = s.voices.of("qmgr")
	s.wake = sync.NewCond(&s.mu)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.setTransports(transports)
	return s
}

// Probed has f told what became of each recipient of a message that was only to
// be verified. It returns true for a probe of its own, of which nobody else is to
// hear. Call it before Start.
func (s *Sched) Probed(f func(env *mail.Envelope, rcpts []bounce.Report) bool) { s.probed = f }

// Start puts the queue in order, takes on what it holds and begins to deliver.
// Mail may be added from then on.
func (s *Sched) Start() error {
	found, err := s.q.Recover()
	if err != nil {
		return err
	}
	for _, n := range found.Renamed {
		s.log.QueueRenamed(n[0], n[1])
	}
	for _, n := range found.Foreign {
		s.log.MessageSkipped(filepath.Base(n[0]), errors.New(n[1]))
	}
	s.log.QueueUnfinished(found.Removed)
	s.mu.Lock()
	defer s.mu.Unlock()
	torn := make(map[string]bool, len(found.Fresh))
	for _, id := range found.Fresh {
		torn[id] = true
	}
	for _, id := range found.Ready {
		s.fresh.push(candidate{id: id, from: queue.Incoming, check: torn[id]})
	}
	for i := range found.Waiting {
		found.Waiting[i].Next = s.sane(found.Waiting[i].Next)
	}
	s.waiting.fill(found.Waiting)
	s.timer = time.AfterFunc(time.Hour, s.tick)
	s.setTimer()
	for range workers {
		s.jobs.Add(1)
		go s.work()
	}
	return nil
}

// maxFresh is how many envelopes of new mail are kept while the active queue is
// full; beyond it they are read again from their files.
const maxFresh = 1000

// Add takes a committed message. It does not block; env is the scheduler's from
// now on.
func (s *Sched) Add(id string, env *mail.Envelope, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := candidate{id: id, from: queue.Incoming, env: env, size: size}
	if s.fresh.len() >= maxFresh {
		c.env = nil
	}
	s.fresh.push(c)
	s.wake.Signal()
}

// Stop lets jobs that have begun finish until ctx is done, then tells transports
// to give up and waits for graceTime more. Messages that are not finished stay
// in the active folder, and Start finds them there.
func (s *Sched) Stop(ctx context.Context) {
	s.mu.Lock()
	s.stopping = true
	for _, t := range []*time.Timer{s.timer, s.settling} {
		if t != nil {
			t.Stop()
		}
	}
	s.wake.Broadcast()
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.jobs.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.cancel()
	select {
	case <-done:
	case <-time.After(graceTime):
	}
}

// graceTime is how long transports have to return after they were told to stop.
const graceTime = 5 * time.Second

// Reload takes new options, a new router and new transports. Jobs that have begun
// end with the old ones; what waits is given to the new ones.
func (s *Sched) Reload(o Options, r Router, transports map[string]Transport) {
	s.mu.Lock()
	s.o, s.router = o.withDefaults(), r
	old := s.transports
	s.transports = map[string]*transport{}
	s.setTransports(transports)
	s.adopt(old)
	s.dispatch()
	s.wake.Broadcast()
	s.mu.Unlock()
}

// Counts tells how many messages are being delivered, are ready, and wait.
func (s *Sched) Counts() (active, ready, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active), s.fresh.len() + s.due.len() + s.lists.len(), s.waiting.len()
}

// voices are the programs in whose names we log.
type voices struct {
	l  *maillog.Logger
	mu sync.Mutex
	m  map[string]*maillog.Log
}

func newVoices(l *maillog.Logger) *voices { return &voices{l: l, m: map[string]*maillog.Log{}} }

// of returns the voice of a program; silent without a Logger.
func (v *voices) of(program string) *maillog.Log {
	if v.l == nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	g := v.m[program]
	if g == nil {
		g = v.l.Program(program)
		v.m[program] = g
	}
	return g
}
