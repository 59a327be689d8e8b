// Package local delivers to users of this machine: the transports local(8) and
// virtual(8), and the small ones error(8), retry(8) and discard(8). It follows
// aliases, and hands messages to deliver processes that run as the recipient.
// This package needs no rights: whatever needs some is asked of a Starter.
package local

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/srs"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// Starter starts processes as other users; the root parent of mtad implements
// it. It looks accounts up itself and refuses what the configuration does not
// allow. An error that is proc.ErrNoUser says that there is no such account;
// every other error defers the mail.
type Starter interface {
	// Deliver returns a new LMTP conversation with a deliver process for who.
	Deliver(ctx context.Context, who Who) (net.Conn, error)
	// Command runs a command as who.User and returns its exit code, -n for the
	// signal n that killed it, and the beginning of its output. The error of one that was killed
	// because its time was over is ErrLate.
	Command(ctx context.Context, who Who, c Command) (exit int, output string, err error)
}

// ErrLate says that a command was killed because its time was over.
var ErrLate = errors.New("command time limit exceeded")

// Who says whose rights a process gets and what it delivers to:
//
//	User alone                the account's own mailbox
//	UID, GID and Mailbox      a virtual mailbox
//	User and Mailbox, UID 0   a file that an alias names; User empty = default_privs
//	User with a Command       empty = default_privs
//
// A Mailbox that ends in "/" is a maildir. Listed is the .forward that names the
// Mailbox; zero where an alias does.
type Who struct {
	User     string
	UID, GID int
	Mailbox  string
	Listed   alias.ForwardQuery
}

// Via says what asks for a command; whoever starts it looks there again.
type Via string

// The values of Via.
const (
	ViaAlias   Via = "alias"   // alias_maps or a file that they include
	ViaForward Via = "forward" // the recipient's .forward, as Command.Query says
	ViaMailbox Via = "mailbox" // mailbox_command or mailbox_command_maps
)

// Command is a command of an alias, of a .forward, or mailbox_command.
type Command struct {
	Via     Via
	Query   alias.ForwardQuery // who the recipient is
	Argv    []string           // without a "/" in it, Argv[0] is looked for in /usr/bin:/bin
	Env     []string           // the whole environment
	Input   Input              // standard input
	Timeout time.Duration      // command_time_limit
}

// Input is what a command reads: text of ours, then the message.
type Input struct {
	Head    []byte
	Content mail.Content // the caller of Command closes it
}

// Options are the parameters of local(8). Zero times and numbers stand for the
// values of postconf(5).
type Options struct {
	Hostname       string        `main:"myhostname"`
	MailName       string        `main:"mail_name"`
	LuserRelay     string        `main:"luser_relay"`
	Transport      string        `main:"mailbox_transport"`
	TransportMaps  []string      `main:"mailbox_transport_maps"`
	Fallback       string        `main:"fallback_transport"`
	FallbackMaps   []string      `main:"fallback_transport_maps"`
	CommandTime    time.Duration `main:"command_time_limit"` // 0 = 1000 s
	CommandChars   string        `main:"command_expansion_filter"`
	CommandShell   string        `main:"local_command_shell"`
	MailboxCommand string        `main:"mailbox_command"`
	CommandMaps    []string      `main:"mailbox_command_maps"`
	StatusFilter   []string      `main:"local_delivery_status_filter"`
	Export         []string      `main:"export_environment"`
	PrependHeaders []string      `main:"prepend_delivered_header"` // of command, file, forward; nil = all
	DeliverTime    time.Duration // longest wait for an answer of deliver; 0 = 10 min
	Idle           time.Duration // a conversation without mail ends after it; 0 = 10 s
	Conversations  int           // at most so many at once, 1 MB each; 0 = 128
	Window         int           // messages without an answer in one conversation; 0 = 64
	WindowBytes    int64         // their octets; 0 = 16 MB

	// Expander follows aliases; its Resolve and Maps must be set.
	Expander *alias.Expander
	// Expand applies virtual_alias_maps to what is forwarded; nil = nothing.
	Expand func(mail.Address) ([]mail.Address, error)
	// Queued takes on a forwarded message: send/sched's Add. It must be set.
	Queued func(id string, env *mail.Envelope, size int64)
	// Via returns another transport by its master.cf name, for mailbox_transport
	// and fallback_transport; nil result = there is none.
	Via func(name string) Transport
	// Tables says how tables are opened.
	Tables table.Options
	// SRS rewrites the sender of what leaves for other hosts, and reads the
	// addresses that bounces of it come back to; nil = senders stay (srs_domain).
	SRS *srs.Rewriter
	// LookupUser finds accounts; nil = proc.Users.
	LookupUser func(name string) (*proc.User, error)
}

// Transport is what send/sched calls; see mail.Job.
type Transport interface {
	Deliver(ctx context.Context, job *mail.Job)
}

// The values that Options leaves zero.
const (
	defCommandTime = 1000 * time.Second
	defDeliverTime = 10 * time.Minute
	defIdle        = 10 * time.Second
	defConvs       = 128
	defWindow      = 64
	defWindowBytes = 16 << 20
)

// parallel is the number of recipients of one job that are worked on at once.
const parallel = 16

// Local is the transport local(8).
type Local struct {
	o     Options
	q     *queue.Queue
	start Starter
	pool  *pool
	plain plain
	log   *maillog.Log // speaks as "local"
	clean *maillog.Log // speaks as "cleanup", of forwarded mail
	maps  lookups

	filter StatusFilter
}

// New returns the transport. log writes the lines of local and cleanup.
func New(o Options, q *queue.Queue, s Starter, log *maillog.Logger) (*Local, error) {
	o.defaults()
	if o.Expander == nil || o.Expander.Resolve == nil || o.Queued == nil {
		return nil, errors.New("local: Options without Expander, Resolve or Queued")
	}
	maps, err := openLookups(o)
	if err != nil {
		return nil, err
	}
	filter, err := OpenFilter("local_delivery_status_filter", o.StatusFilter, o.Tables)
	if err != nil {
		return nil, err
	}
	l := &Local{filter: filter, o: o, q: q, start: s, maps: maps, log: log.Program("local"), clean: log.Program("cleanup")}
	x := *o.Expander
	if x.HomeOf == nil {
		x.HomeOf = func(name string) (string, error) {
			u, err := o.LookupUser(name)
			if err != nil {
				return "", err
			}
			return u.Home, nil
		}
	}
	if x.Warn == nil {
		x.Warn = l.log.LocalWarning
	}
	l.o.Expander = &x
	l.pool = newPool(o, s)
	return l, nil
}

func (o *Options) defaults() {
	o.CommandTime = orElse(o.CommandTime, defCommandTime)
	o.DeliverTime = orElse(o.DeliverTime, defDeliverTime)
	o.Idle = orElse(o.Idle, defIdle)
	o.Conversations = orElse(o.Conversations, defConvs)
	o.Window = orElse(o.Window, defWindow)
	o.WindowBytes = orElse(o.WindowBytes, int64(defWindowBytes))
	o.Hostname = orElse(o.Hostname, "localhost")
	o.MailName = orElse(o.MailName, "Postfix")
	o.CommandChars = orElse(o.CommandChars, commandChars)
	if o.PrependHeaders == nil {
		o.PrependHeaders = []string{"command", "file", "forward"}
	}
	if o.Export == nil {
		o.Export = []string{"TZ", "MAIL_CONFIG", "LANG"}
	}
	if o.LookupUser == nil {
		o.LookupUser = new(proc.Users).Lookup
	}
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Close ends the open conversations once their mail is answered for.
func (l *Local) Close() { l.pool.close() }

// Deliver implements Transport.
func (l *Local) Deliver(ctx context.Context, job *mail.Job) {
	eachRcpt(job, func(i int) mail.Result { return l.one(ctx, job, i) })
}

// Pipeline tells send/sched how many messages for a recipient are taken at once:
// a window's worth for one whose mail went to a mailbox the last time, so that
// deliver finds many to write with one flush. 0 leaves it to the concurrency
// limits, which is right for commands, files and lists.
func (l *Local) Pipeline(rcpt mail.Address) int {
	if l.plain.has(rcpt) {
		return l.o.Window
	}
	return 0
}

// plain are the recipients whose mail went to one mailbox the last time.
type plain struct {
	mu   sync.Mutex
	list map[mail.Address]struct{}
}

// maxPlain bounds plain; when it is full all are forgotten.
const maxPlain = 10000

// note remembers where mail for rcpt goes.
func (p *plain) note(rcpt mail.Address, toMailbox bool) {
	rcpt = rcpt.Fold()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !toMailbox {
		delete(p.list, rcpt)
		return
	}
	if p.list == nil || len(p.list) >= maxPlain {
		p.list = map[mail.Address]struct{}{}
	}
	p.list[rcpt] = struct{}{}
}

func (p *plain) has(rcpt mail.Address) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.list[rcpt.Fold()]
	return ok
}

// eachRcpt answers for every recipient, several at a time. A panic of one is a
// deferral of that one.
func eachRcpt(job *mail.Job, one func(i int) mail.Result) {
	work := func(i int) {
		res := mail.Result{Status: mail.Defer("4.3.0", "internal error of the delivery agent"), Program: "local", Relay: "local"}
		defer func() {
			recover() // res says what the sender's system needs to know
			job.Report(i, res)
		}()
		res = one(i)
	}
	if len(job.Rcpts) == 1 {
		work(0)
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i := range job.Rcpts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			work(i)
		})
	}
	wg.Wait()
}

// delivery is one recipient of one job on its way.
type delivery struct {
	l       *Local
	ctx     context.Context
	job     *mail.Job
	rcpt    *mail.Rcpt
	content mail.Content // open until the answer is known
	seen    *delivered   // Delivered-To: headers of the message
}

// one delivers to one recipient of the queue file: to all that it leads to.
func (l *Local) one(ctx context.Context, job *mail.Job, i int) mail.Result {
	d := &delivery{l: l, ctx: ctx, job: job, rcpt: &job.Rcpts[i]}
	began := time.Now()
	var err error
	if d.content, err = job.Open(); err == nil {
		defer d.content.Close()
		d.seen, err = readDelivered(d.content)
	}
	if err != nil {
		return d.result(mail.Defer("4.3.0", "cannot read the message: %v", err))
	}
	if l.o.SRS != nil && l.o.SRS.Mine(d.rcpt.Addr) {
		res := d.bounced()
		res.Send = time.Since(began)
		return res
	}
	dests := d.expand()
	l.plain.note(d.rcpt.Addr, len(dests) == 1 && dests[0].Kind == alias.Mailbox)
	res := d.all(dests)
	res.Status = l.filter.Apply(ctx, res.Status, l.log)
	if res.Send == 0 && res.Connect == 0 {
		res.Send = time.Since(began)
	}
	return res
}

// expand finds all that the recipient leads to. A probe of verify(8) is answered
// by the first alias; who tries "sendmail -bv", or traces, wants to see the rest.
func (d *delivery) expand() []alias.Dest {
	x := d.l.o.Expander
	if d.job.Env.VerifyOnly && !d.job.Env.Verify && x.Trace == nil {
		return x.Verify(d.ctx, d.rcpt.Addr, d.seen.has)
	}
	return x.Expand(d.ctx, d.rcpt.Addr, d.seen.has)
}

// result is an answer of this transport.
func (d *delivery) result(s *mail.Status) mail.Result {
	return mail.Result{Status: s, Program: "local", Relay: cmp.Or(d.job.Transport, "local")}
}

// orig is the recipient for X-Original-To: what the sender wrote.
func (d *delivery) orig() mail.Address {
	if d.rcpt.Orig != "" {
		return d.rcpt.Orig
	}
	return d.rcpt.Addr
}

// sender is the envelope sender for dest: an owner- alias changes it.
func (d *delivery) sender(dest *alias.Dest) mail.Address {
	if dest.Owned {
		return dest.Sender
	}
	return d.job.Env.Sender
}

// environ returns the variables of export_environment that are set.
func environ(names []string) []string {
	var env []string
	for _, n := range names {
		if v, ok := os.LookupEnv(n); ok {
			env = append(env, n+"="+v)
		}
	}
	return env
}
