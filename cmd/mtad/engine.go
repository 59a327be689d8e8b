package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/gate/screen"
	"packetboat/internal/receive/intake"
	"packetboat/internal/receive/pickup"
	"packetboat/internal/receive/policy/greylist"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/send/bounce"
	"packetboat/internal/send/sched"
	"packetboat/internal/send/verify"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// engine is the half of mtad that has no rights: it receives, queues, schedules
// and sends.
type engine struct {
	main     *config.Main
	services []config.Service
	logs     *maillog.Logger
	log      *maillog.Log
	link     *link
	names    *dns.Resolver
	kit      *wiring.Kit
	router   *rewrite.Router
	queue    *queue.Queue
	intakes  *wiring.Intakes
	pickup   *pickup.Pickup
	sched    *sched.Sched
	servers  map[string]*smtpd.Server   // by service id; nil for one that cannot work
	byName   map[string]sched.Transport // by master.cf name
	sockets  []net.Listener
	doors    map[string]func(net.Conn) // by service id: what serves its connections
	screens  []*screen.Screen
	anvil    *gate.Anvil
	bans     *gate.Bans
	verify   *verify.Cache
	grey     *greylist.List // nil where no service greylists
	trust    trust

	rehearsal bool // a configuration is tried: it must be without a fault
}

// runEngine is mtad --engine: it lives until SIGTERM or until its parent is gone.
// What it says on standard error the parent writes into the log. A rehearsal
// ends when everything is open, before any of it is used.
func runEngine(dir string, rehearsal bool) int {
	ch, err := inherit()
	if err != nil {
		return complain(fmt.Errorf("the engine is started by mtad, not by hand: %w", err))
	}
	e := &engine{rehearsal: rehearsal, link: newLink(ch), names: dns.New(dns.Options{})}
	defer func() {
		if e.logs != nil {
			e.logs.Flush()
		}
	}()
	if err := e.open(dir); err != nil {
		return complain(err)
	}
	if rehearsal {
		return 0
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := e.run(ctx); err != nil {
		return complain(err)
	}
	return e.wait(cancel)
}

// logDelay is how long a line of the log waits for others: a busy engine has seven
// for each message.
const logDelay = 10 * time.Millisecond

// open reads the configuration and opens what needs no other process.
func (e *engine) open(dir string) (err error) {
	if e.main, _, err = config.LoadMain(dir); err != nil {
		return err
	}
	e.main = e.main.OpenWith(e.link.openTable)
	if e.services, _, err = config.LoadMaster(e.main.Dir()); err != nil {
		return err
	}
	var handle *os.File
	if e.main.Get("maillog_file") != "" {
		handle = os.NewFile(logFD, e.main.Get("maillog_file"))
	}
	lo := wiring.LogOptions(e.main, handle)
	lo.Delay = logDelay
	if e.logs, err = maillog.Open(lo); err != nil {
		return err
	}
	e.log = e.logs.Program("qmgr")
	e.kit = &wiring.Kit{Main: e.main, Services: e.services, Logs: e.logs, Names: e.names, Missing: e.missing(),
		ReadKey: e.link.readKey, OpenFile: e.link.openTable, OpenInclude: e.link.openInclude}
	if e.router, err = e.kit.NewRouter(); err != nil {
		return err
	}
	e.kit.Router = e.router
	back, err := e.srs(e.main)
	if err != nil {
		return err
	}
	if back != nil {
		e.kit.Bounces = back.Takes
	}
	if e.queue, err = queue.Open(e.main.Get("queue_directory")); err != nil {
		return err
	}
	e.queue.LongIDs(e.main.Get("enable_long_queue_ids") == "yes")
	return e.wire()
}

// wire connects the rooms: intake to the queue, the queue to the scheduler, the
// scheduler to the transports and to the writer of bounces.
func (e *engine) wire() error {
	var bo bounce.Options
	var so sched.Options
	if err := wiring.Decode(e.main, &bo, &so); err != nil {
		return err
	}
	e.openTrust()
	transports, err := e.transports()
	if err != nil {
		return err
	}
	so.Transports = wiring.TransportLimits(e.main, e.services)
	// An explicit 0 means one try only; the zero value of Options is the default.
	for name, d := range map[string]*time.Duration{"maximal_queue_lifetime": &so.Lifetime, "bounce_queue_lifetime": &so.BounceLifetime} {
		if _, set := e.main.Raw(name); set && *d == 0 {
			*d = -1
		}
	}
	bo.Parameter = func(name string) (string, bool) {
		_, known := config.LookupParam(name)
		return e.main.Get(name), known
	}
	b := bounce.New(bo, e.queue, e.logs)
	b.Expand(e.expandRcpt)
	if slices.Contains(bo.Inspected, "bounce") {
		b.Inspect(e.draft)
	}
	router, err := e.schedRouter()
	if err != nil {
		return err
	}
	e.sched = sched.New(so, e.queue, router, transports, b, e.logs)
	if e.intakes, err = e.kit.Intakes(e.queue, e.sched.Add); err != nil {
		return err
	}
	if err := e.openMemory(); err != nil {
		return err
	}
	return e.openServers()
}

// expandRcpt lets reports go through canonical tables and virtual aliases; a table
// that fails now leaves the address as it is, since a report must not be lost for it.
func (e *engine) expandRcpt(a mail.Address) []mail.Rcpt {
	list := []mail.Address{}
	to, err := e.router.CanonicalMaps(e.router.Canonical(a))
	if err == nil {
		list, err = e.router.Expand(to)
	}
	if err != nil {
		return []mail.Rcpt{{Addr: a}}
	}
	out := make([]mail.Rcpt, len(list))
	for i, to := range list {
		out[i] = mail.Rcpt{Addr: to, Orig: a}
	}
	return out
}

// run starts everything; when it returns the system answers.
func (e *engine) run(ctx context.Context) error {
	if err := e.sandbox(); err != nil {
		return err
	}
	if err := e.sched.Start(); err != nil {
		return err
	}
	var po pickup.Options
	if err := e.main.Decode(&po); err != nil {
		return err
	}
	in, source, err := e.localIntake()
	po.Source = source
	if err != nil {
		return err
	}
	e.pickup = pickup.New(po, in, e.logs.Program("pickup"))
	if err := e.serveControl(); err != nil {
		return err
	}
	go func() {
		if err := e.pickup.Run(ctx); err != nil && ctx.Err() == nil {
			e.logs.Program("pickup").Fatal("%s", err.Error()) // not kept back: it is no mere information
			os.Exit(1)                                        // the parent starts us again
		}
	}()
	e.watchClients(ctx)
	e.runMemory(ctx)
	if err := e.listen(); err != nil {
		return err
	}
	return e.link.ready()
}

// localIntake returns the door into the queue for local mail, as the pickup service of
// master.cf has it, and how its mail is treated.
func (e *engine) localIntake() (in *intake.Intake, source *intake.Source, err error) {
	m := e.main
	for _, svc := range e.services {
		if svc.Command == "pickup" {
			m = m.With(svc.Options...)
		}
	}
	if source, err = e.kit.Source(m); err != nil {
		return nil, nil, err
	}
	in, err = e.intakes.For(m)
	return in, source, err
}

// listen takes the sockets that the parent hands over and serves them.
func (e *engine) listen() error {
	for h := range e.link.sockets {
		if h.file == nil {
			return nil
		}
		l, err := net.FileListener(h.file)
		h.file.Close()
		if err != nil {
			return err
		}
		serve, known := e.doors[h.service]
		if !known {
			// Somebody edited master.cf, and we were started again after a crash
			// before the parent read it.
			l.Close()
			e.log.Warn("service %s is no longer in master.cf: reload the mail system", h.service)
			continue
		}
		e.sockets = append(e.sockets, l)
		go e.accept(l, serve)
	}
	return errParentGone
}

// accept serves connections until the listener is closed.
func (e *engine) accept(l net.Listener, serve func(net.Conn)) {
	proc.Accept(l, func(err error) { e.log.Warn("accept connection: %s", proc.ErrText(err)) }, serve)
}

// wait returns when the system stops: what is in hand is finished first.
func (e *engine) wait(cancel func()) int {
	signals := proc.Signals()
	for {
		select {
		case sig := <-signals:
			if sig == proc.SIGHUP {
				continue // the parent reads the configuration and starts a new engine
			}
		case <-e.link.gone:
			// The parent was killed. A new one may be starting: it waits for the lock
			// that we hold, and what is in hand is on disk.
			return 1
		}
		break
	}
	cancel()
	for _, l := range e.sockets {
		l.Close()
	}
	ctx, done := context.WithTimeout(context.Background(), drainTime-2*time.Second)
	defer done()
	for _, s := range e.servers {
		if s != nil {
			s.Drain(ctx)
		}
	}
	e.sched.Stop(ctx)
	e.saveMemory()
	return 0
}
