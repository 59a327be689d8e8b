package sched

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/send/bounce"
	"packetboat/internal/sys/maillog"
)

// byDomain routes to the transport that a domain is named after: u@smtp goes to
// smtp, u@x.smtp to smtp with next hop x.smtp. bounce and broken fail to resolve.
type byDomain struct{}

func (byDomain) Route(_ *mail.Envelope, r *mail.Rcpt) (string, string, error) {
	d := r.Addr.Domain()
	switch d {
	case "bounce":
		return "", "", mail.Bounce("5.1.2", "no such domain")
	case "broken":
		return "", "", errors.New("table is broken")
	case "panic":
		panic("router")
	}
	return d[strings.LastIndexByte(d, '.')+1:], d, nil
}

// world is a scheduler with a transport that the test answers for.
type world struct {
	t   *testing.T
	dir string
	q   *queue.Queue
	s   *Sched
	log syncBuffer

	mu    sync.Mutex
	jobs  []string // "id nexthop n"
	reply func(job *mail.Job)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (w *world) Deliver(_ context.Context, job *mail.Job) {
	w.mu.Lock()
	w.jobs = append(w.jobs, fmt.Sprintf("%s %s %d", job.ID, job.Nexthop, len(job.Rcpts)))
	reply := w.reply
	w.mu.Unlock()
	reply(job)
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.jobs)
}

// sink takes everything: where bounces end.
type sink struct{}

func (sink) Deliver(_ context.Context, job *mail.Job) {
	for i := range job.Rcpts {
		job.Report(i, mail.Result{Status: mail.OK("2.0.0", "delivered to mailbox"), Program: "local", Relay: "local"})
	}
}

// always answers all recipients alike.
func always(st *mail.Status, relay string) func(*mail.Job) {
	return func(job *mail.Job) {
		for i := range job.Rcpts {
			job.Report(i, mail.Result{Status: st, Program: "smtp", Relay: relay})
		}
	}
}

var (
	refused = mail.Defer("4.4.1", "connect to x[192.0.2.1]:25: Connection refused")
	later   = mail.Defer("4.2.0", "host x said: 450 later")
	fine    = mail.OK("2.0.0", "250 2.0.0 Ok: queued as ABC")
	never   = mail.Bounce("5.1.1", "host x said: 550 no such user")
)

func newWorld(t *testing.T, o Options, reply func(*mail.Job)) *world {
	w := &world{t: t, dir: t.TempDir(), reply: reply}
	w.start(o)
	t.Cleanup(func() { w.q.Close() })
	return w
}

func (w *world) start(o Options) {
	w.t.Helper()
	var err error
	if w.q, err = queue.Open(w.dir); err != nil {
		w.t.Fatal(err)
	}
	l := maillog.To(&w.log, maillog.Options{Host: "mail"})
	b := bounce.New(bounce.Options{Hostname: "mail.example.org", DelayWarning: o.DelayWarning}, w.q, l)
	w.s = New(o, w.q, byDomain{}, map[string]Transport{"smtp": w, "local": sink{}}, b, l)
	if err := w.s.Start(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.s.Stop(ctx)
}

// send commits a message and adds it.
func (w *world) send(from mail.Address, to ...mail.Address) string {
	w.t.Helper()
	return w.sendEnv(&mail.Envelope{Sender: from, Arrived: time.Now(), UID: -1}, to...)
}

func (w *world) sendEnv(env *mail.Envelope, to ...mail.Address) string {
	w.t.Helper()
	env.Arrived = time.Now()
	for _, a := range to {
		env.Rcpts = append(env.Rcpts, mail.Rcpt{Addr: a, State: mail.Pending})
	}
	qw, err := w.q.Create()
	if err != nil {
		w.t.Fatal(err)
	}
	qw.WriteString("Subject: x\n\nbody\n")
	if err := qw.Commit(env); err != nil {
		w.t.Fatal(err)
	}
	w.s.Add(qw.ID(), env, qw.Size())
	return qw.ID()
}

// empty tells whether the queue holds nothing.
func (w *world) files() map[string]int {
	n := map[string]int{}
	for _, f := range []queue.Folder{queue.Incoming, queue.Active, queue.Deferred, queue.Hold, queue.Corrupt} {
		w.q.IDs(f, func(string) error { n[f.String()]++; return nil })
	}
	return n
}

// logged tells whether the log matches, with ID for queue ids and N for figures.
func (w *world) logged(want string) bool {
	return strings.Contains(normal(w.log.String()), want)
}

var (
	reDelays = regexp.MustCompile(`delay=[0-9.e+]+, delays=[0-9./]+`)
	reHead   = regexp.MustCompile(`(?m)^\w+ +\d+ [0-9:]+ mail `)
	rePid    = regexp.MustCompile(`\[\d+\]: `)
	reID     = regexp.MustCompile(`\b[0-9A-F]{8,}\b`)
)

func normal(s string) string {
	s = reHead.ReplaceAllString(reDelays.ReplaceAllString(s, "delay=N"), "")
	return reID.ReplaceAllString(rePid.ReplaceAllString(s, ": "), "ID")
}

// TestLog holds the lines against those of a real qmgr, smtp and bounce.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(job *mail.Job) {
			time.Sleep(70 * time.Millisecond)
			for i, st := range []*mail.Status{fine, never}[:len(job.Rcpts)] {
				job.Report(i, mail.Result{Status: st, Program: "smtp", Relay: "x[192.0.2.1]:25", Connect: 20 * time.Millisecond, Send: 50 * time.Millisecond})
			}
		})
		w.send("a b@local", "u@smtp", "v@smtp")
		synctest.Wait()
		time.Sleep(time.Second)
		w.stop()
		for _, want := range []string{
			"postfix/qmgr: ID: from=<\"a b\"@local>, size=17, nrcpt=2 (queue active)\n",
			"postfix/smtp: ID: to=<u@smtp>, relay=x[192.0.2.1]:25, delay=N, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as ABC)\n",
			"postfix/smtp: ID: to=<v@smtp>, relay=x[192.0.2.1]:25, delay=N, dsn=5.1.1, status=bounced (host x said: 550 no such user)\n",
			"postfix/bounce: ID: sender non-delivery notification: ID\n",
			"postfix/qmgr: ID: from=<>, size=", "postfix/local: ID: to=<\"a b\"@local>, relay=local, delay=N, dsn=2.0.0, status=sent (delivered to mailbox)\n",
			"postfix/qmgr: ID: removed\n",
		} {
			if !w.logged(want) {
				t.Errorf("no line %q in\n%s", want, normal(w.log.String()))
			}
		}
		if !strings.Contains(w.log.String(), "delay=0.07, delays=0/0/0.02/0.05,") {
			t.Errorf("delays in\n%s", w.log.String())
		}
		if n := w.files(); len(n) != 0 {
			t.Errorf("left: %v", n)
		}
	})
}

// TestTwoWeeks: a message that cannot be delivered is tried with growing pauses,
// its sender is warned once, and told after five days; the report that cannot be
// delivered either goes silently after five more.
func TestTwoWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tries []time.Time
		w := newWorld(t, Options{DelayWarning: 4 * time.Hour}, nil)
		w.reply = func(job *mail.Job) {
			if job.Env.Sender != "" {
				mu.Lock()
				tries = append(tries, time.Now())
				mu.Unlock()
			}
			always(later, "x[192.0.2.1]:25")(job)
		}
		begin := time.Now()
		w.send("me@smtp", "u@smtp")
		time.Sleep(14 * 24 * time.Hour)
		w.stop()
		first, last := tries[1].Sub(begin), tries[len(tries)-1].Sub(begin)
		if first < 300*time.Second || first > 301*time.Second {
			t.Errorf("first retry after %v", first)
		}
		if pause := tries[20].Sub(tries[19]); pause < 3999*time.Second || pause > 4001*time.Second {
			t.Errorf("later pause %v", pause)
		}
		if last < 5*24*time.Hour || last > 5*24*time.Hour+4001*time.Second || len(tries) > 120 {
			t.Errorf("%d tries, last after %v", len(tries), last)
		}
		for i := 1; i < len(tries); i++ {
			// qmgr(8): the pause is the message's age, between the two backoff times.
			want := min(max(tries[i-1].Sub(begin), 300*time.Second), 4000*time.Second)
			if pause := tries[i].Sub(tries[i-1]); pause < want || pause > want+time.Second {
				t.Errorf("pause %d is %v, not %v", i, pause, want)
			}
		}
		log := normal(w.log.String())
		if n := strings.Count(log, "sender delay notification"); n != 1 {
			t.Errorf("%d warnings", n)
		}
		if n := strings.Count(log, "from=<me@smtp>, status=expired, returned to sender"); n != 1 {
			t.Errorf("expired %d times", n)
		}
		if n := strings.Count(log, "sender non-delivery notification"); n != 1 {
			t.Errorf("%d reports", n)
		}
		if n := strings.Count(log, "from=<>, status=expired, returned to sender"); n != 2 {
			t.Errorf("%d reports expired, not 2", n)
		}
		if n := w.files(); len(n) != 0 {
			t.Errorf("left: %v", n)
		}
		if left, _ := filepath.Glob(filepath.Join(w.dir, "defer", "*", "*")); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// TestNobodyClassified: errors that nobody classified, a table that fails, a
// panicking or silent transport, an unknown one: the mail is deferred.
func TestNobodyClassified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(job *mail.Job) {
			switch job.Nexthop {
			case "panic.smtp":
				panic("bug")
			case "nil.smtp":
				job.Report(0, mail.Result{})
			case "twice.smtp":
				always(fine, "x")(job)
				always(never, "x")(job)
				job.Report(17, mail.Result{Status: fine})
				job.Report(-1, mail.Result{Status: fine})
			}
		})
		w.send("me@local", "a@panic.smtp", "b@silent.smtp", "c@nil.smtp", "d@nosuchtransport", "e@broken", "f@panic", "g@twice.smtp")
		synctest.Wait()
		time.Sleep(time.Second)
		w.stop()
		if n := w.files(); n["deferred"] != 1 || len(n) != 1 {
			t.Fatalf("files %v\n%s", n, w.log.String())
		}
		var m *queue.Message
		w.q.IDs(queue.Deferred, func(id string) (err error) { m, err = w.q.Load(id, queue.Deferred); return err })
		for i, r := range m.Env.Rcpts {
			if (r.State == mail.Done) != (i == 6) {
				t.Errorf("%s: %q", r.Addr, byte(r.State))
			}
		}
		if !w.logged("to=<d@nosuchtransport>, relay=none, delay=N, dsn=4.3.0, status=deferred (mail transport unavailable)") {
			t.Error(w.log.String())
		}
	})
}

// TestDeadSite: when a site cannot be reached, mail that waits for it is not tried
// one by one.
func TestDeadSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(job *mail.Job) {
			time.Sleep(30 * time.Second)
			always(refused, "none")(job)
		})
		for range 100 {
			w.send("me@local", "u@dead.smtp")
		}
		time.Sleep(2 * time.Minute)
		first := w.count()
		if first > 6 {
			t.Errorf("%d tries at first", first)
		}
		if !w.logged("postfix/error: ID: to=<u@dead.smtp>, relay=none, delay=N, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to x[192.0.2.1]:25: Connection refused)") {
			t.Error(w.log.String())
		}
		w.send("me@local", "u@dead.smtp", "v@alive.local")
		time.Sleep(time.Minute)
		if w.count() != first {
			t.Error("tried while suspended")
		}
		var id string
		w.q.IDs(queue.Deferred, func(i string) error { id = i; return nil })
		w.s.FlushID(id)
		time.Sleep(time.Second)
		if w.count() != first+1 {
			t.Errorf("postqueue -i: %d tries, not %d", w.count(), first+1)
		}
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.reply = always(fine, "x")
		w.mu.Unlock()
		time.Sleep(2 * time.Hour)
		w.stop()
		if n := w.files(); len(n) != 0 {
			t.Errorf("left: %v", n)
		}
		if n := len(w.s.transports["smtp"].dests); n != 0 {
			t.Errorf("%d destinations are still in memory", n)
		}
	})
}

// TestFair: a destination with a thousand messages does not hold up another, and
// no destination gets more jobs at once than its limit.
func TestFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy, most := map[string]int{}, map[string]int{}
		var mu sync.Mutex
		var done time.Duration
		begin := time.Now()
		w := newWorld(t, Options{ConcurrencyLimit: 10, Transports: map[string]Limits{"smtp": {ProcessLimit: 15}}}, nil)
		w.reply = func(job *mail.Job) {
			mu.Lock()
			busy[job.Nexthop]++
			busy["all"]++
			most[job.Nexthop] = max(most[job.Nexthop], busy[job.Nexthop])
			most["all"] = max(most["all"], busy["all"])
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			busy[job.Nexthop]--
			busy["all"]--
			if job.Nexthop == "small.smtp" {
				done = time.Since(begin)
			}
			mu.Unlock()
			always(fine, "x")(job)
		}
		for range 250 {
			w.send("", "u@big.smtp")
			w.send("", "u@large.smtp")
		}
		time.Sleep(3 * time.Second)
		w.send("", "u@small.smtp")
		time.Sleep(10 * time.Minute)
		w.stop()
		if done > 6*time.Second {
			t.Errorf("small destination waited until %v", done)
		}
		if most["big.smtp"] > 10 || most["big.smtp"] < 5 || most["all"] != 15 {
			t.Errorf("most at once: %v", most)
		}
		if n := w.files(); len(n) != 0 {
			t.Errorf("left: %v", n)
		}
	})
}

// TestBatches: recipients of one next hop share jobs of at most
// default_destination_recipient_limit, local ones get one each.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(fine, "x"))
		to := []mail.Address{"a@local", "b@local"}
		for i := range 120 {
			to = append(to, mail.Address(fmt.Sprintf("u%d@smtp", i)), mail.Address(fmt.Sprintf("u%d@o.smtp", i%3)))
		}
		id := w.send("", to...)
		time.Sleep(time.Minute)
		w.stop()
		sizes := map[string]int{}
		for _, j := range w.jobs {
			sizes[strings.TrimPrefix(j, id+" ")]++
		}
		if sizes["smtp 50"] != 2 || sizes["smtp 20"] != 1 || sizes["o.smtp 50"] != 2 {
			t.Errorf("%v", sizes)
		}
		if len(w.files()) != 0 {
			t.Error(w.files())
		}
	})
}

// TestActiveLimit: no more messages are in hand than the limit, and those that
// wait come from disk.
func TestActiveLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{ActiveLimit: 7}, nil)
		most := 0
		w.reply = func(job *mail.Job) {
			a, _, _ := w.s.Counts()
			w.mu.Lock()
			most = max(most, a)
			w.mu.Unlock()
			time.Sleep(time.Second)
			always(fine, "x")(job)
		}
		for i := range 1100 {
			w.send("", mail.Address(fmt.Sprintf("u@d%d.smtp", i)))
		}
		time.Sleep(time.Hour)
		w.stop()
		if most != 7 || w.count() != 1100 || len(w.files()) != 0 {
			t.Errorf("most %d, jobs %d, files %v", most, w.count(), w.files())
		}
	})
}

// TestAdmin: an administrator's commands while mail waits and while it is being
// delivered.
func TestAdmin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(later, "x"))
		id := w.send("", "u@smtp")
		time.Sleep(time.Second)
		check := func(what string, err error, jobs int, folder string) {
			t.Helper()
			time.Sleep(time.Second)
			if err != nil || w.count() != jobs || folder != "" && w.files()[folder] != 1 {
				t.Fatalf("%s: %v, %d jobs, files %v", what, err, w.count(), w.files())
			}
		}
		check("hold", w.s.Hold(id), 1, "hold")
		time.Sleep(time.Hour)
		check("held", nil, 1, "hold")
		check("release", w.s.Release(id), 2, "deferred")
		if !w.s.FlushID(id) {
			t.Fatal("nothing to flush")
		}
		check("flush id", nil, 3, "deferred")
		w.s.FlushAll()
		check("flush", nil, 4, "deferred")
		check("requeue", w.s.Requeue(id), 5, "deferred")
		check("delete", w.s.Delete(id), 5, "")
		if len(w.files()) != 0 || !errors.Is(w.s.Delete(id), fs.ErrNotExist) {
			t.Fatal(w.files())
		}
		time.Sleep(24 * time.Hour)
		check("deleted", nil, 5, "")
		if _, _, waiting := w.s.Counts(); waiting != 0 {
			t.Fatal("still waiting")
		}
		w.stop()
	})
}

// TestAdminInFlight: messages touched while a job runs.
func TestAdminInFlight(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*Sched, string) error
		left string
		jobs int
	}{
		{"delete", (*Sched).Delete, "", 1}, {"hold", (*Sched).Hold, "hold", 1}, {"requeue", (*Sched).Requeue, "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{RecipientsPerJob: 1, Transports: map[string]Limits{"smtp": {ProcessLimit: 1}}}, func(job *mail.Job) {
					time.Sleep(time.Minute)
					always(fine, "x")(job)
				})
				id := w.send("", "u@smtp", "v@smtp")
				time.Sleep(2 * settleTime) // its file is in active then
				if err := c.do(w.s, id); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				w.stop()
				n := w.files()
				if w.count() != c.jobs || c.left == "" && len(n) != 0 || c.left != "" && n[c.left] != 1 {
					t.Errorf("%d jobs, files %v\n%s", w.count(), n, w.log.String())
				}
				if c.left == "hold" {
					m, err := w.q.Load(id, queue.Hold)
					if err != nil || m.Env.Rcpts[0].State != mail.Done || m.Env.Rcpts[1].State != mail.Pending {
						t.Errorf("%v %+v", err, m.Env.Rcpts)
					}
				}
			})
		})
	}
}

// TestRestart: Stop ends in time, and what was in hand is tried again.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, nil)
		w.reply = func(job *mail.Job) {
			if job.Rcpts[0].Addr == "slow@smtp" {
				time.Sleep(time.Minute)
			}
			always(later, "x")(job)
		}
		w.send("", "slow@smtp")
		w.send("", "quick@smtp")
		w.send("", "x@local")
		time.Sleep(time.Second)
		begin := time.Now()
		w.stop()
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("stop took %v", d)
		}
		w.q.Close()
		w.reply = always(fine, "x")
		w.start(Options{})
		time.Sleep(time.Hour)
		w.stop()
		if n := w.files(); len(n) != 0 {
			t.Errorf("left %v", n)
		}
	})
}

// TestWrongClock: a next try that was written by a clock far ahead of ours does not
// keep mail for years, neither at a start nor later.
func TestWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, nil)
		w.reply = always(later, "x")
		first, second := w.send("", "a@smtp"), w.send("", "b@smtp")
		time.Sleep(time.Minute)
		w.stop()
		far := time.Now().AddDate(20, 0, 0)
		if err := w.q.SetNextTry(first, far); err != nil {
			t.Fatal(err)
		}
		w.q.Close()
		w.reply = always(fine, "x")
		w.start(Options{})
		w.q.SetNextTry(second, far)
		w.s.Changed(second)
		time.Sleep(2 * time.Hour)
		w.stop()
		if n := w.files(); len(n) != 0 {
			t.Errorf("left %v", n)
		}
	})
}

// TestStopBreaks: conversations that our own end breaks neither make a site dead
// nor cost the mail a backoff.
func TestStopBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{ProcessLimit: 5, InitialConcurrency: 5}, nil)
		w.s.transports["smtp"].t = breaking{w}
		for i := range 20 {
			w.send("", mail.Address(fmt.Sprintf("u@d%d.smtp", i/10)))
		}
		time.Sleep(time.Second)
		w.stop()
		if n := w.files(); n["active"] != 20 {
			t.Fatalf("after stop: %v\n%s", n, w.log.String())
		}
		w.q.Close()
		w.reply = always(fine, "x")
		w.start(Options{})
		time.Sleep(time.Second)
		w.stop()
		if n := w.files(); len(n) != 0 {
			t.Errorf("left %v", n)
		}
	})
}

// breaking loses its connection when the scheduler stops.
type breaking struct{ w *world }

func (b breaking) Deliver(ctx context.Context, job *mail.Job) {
	<-ctx.Done()
	always(mail.Defer("4.4.2", "lost connection with x"), "x")(job)
}

// TestReload: what waits follows the new options and transports.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{ConcurrencyLimit: 1}, func(job *mail.Job) { time.Sleep(time.Minute); always(fine, "x")(job) })
		for range 50 {
			w.send("", "u@smtp")
			w.send("", "u@other.smtp", "a@local")
		}
		time.Sleep(90 * time.Second)
		w.s.Reload(Options{ConcurrencyLimit: 50}, byDomain{}, map[string]Transport{"smtp": w, "local": sink{}})
		time.Sleep(20 * time.Minute)
		if n := w.files(); len(n) != 0 {
			t.Errorf("left %v", n)
		}
		w.send("", "u@smtp")
		w.s.Reload(Options{}, byDomain{}, map[string]Transport{})
		time.Sleep(10 * time.Minute)
		w.stop()
		if n := w.files(); n["deferred"] > 1 || n["active"] != 0 {
			t.Errorf("left %v", n)
		}
	})
}

// TestCorruptFile: a file that cannot be read is kept in corrupt.
func TestCorruptFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(later, "x"))
		id := w.send("", "u@smtp")
		time.Sleep(time.Second)
		os.Truncate(w.q.Path(id, queue.Deferred), 5)
		time.Sleep(time.Hour)
		w.stop()
		if n := w.files(); n["corrupt"] != 1 || len(n) != 1 || !strings.Contains(w.log.String(), "corrupt") {
			t.Errorf("%v\n%s", n, w.log.String())
		}
	})
}

// pipe is a transport that takes many messages for u@local at once.
type pipe struct {
	mu         sync.Mutex
	busy, most map[mail.Address]int
}

func (p *pipe) Pipeline(rcpt mail.Address) int {
	if rcpt == "u@local" {
		return 30
	}
	return 0
}

func (p *pipe) Deliver(_ context.Context, job *mail.Job) {
	a := job.Rcpts[0].Addr
	p.mu.Lock()
	p.busy[a]++
	p.most[a] = max(p.most[a], p.busy[a])
	p.mu.Unlock()
	time.Sleep(time.Second)
	p.mu.Lock()
	p.busy[a]--
	p.mu.Unlock()
	always(fine, "local")(job)
}

// TestPipeliner: a transport may take more for a recipient than the limits allow.
func TestPipeliner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, nil)
		p := &pipe{busy: map[mail.Address]int{}, most: map[mail.Address]int{}}
		w.s.Reload(Options{}, byDomain{}, map[string]Transport{"local": p})
		for range 50 {
			w.send("", "u@local")
			w.send("", "v@local")
		}
		time.Sleep(time.Hour)
		w.stop()
		if p.most["u@local"] != 30 || p.most["v@local"] != 2 {
			t.Errorf("%v", p.most)
		}
	})
}

// TestTornFile: what a crash tore while it was committed is kept in corrupt, and
// what was committed beside it is delivered.
func TestTornFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(fine, "x"))
		w.stop()
		var ids []string
		for range 2 {
			f, err := w.q.Create()
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString("Subject: x\n\nbody\n")
			if err := f.Commit(&mail.Envelope{Sender: "s@x", Rcpts: []mail.Rcpt{{Addr: "u@smtp"}}}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, f.ID())
		}
		path := w.q.Path(ids[0], queue.Incoming)
		b, _ := os.ReadFile(path)
		os.WriteFile(path, append(make([]byte, 8), b[8:]...), 0o600) // a block that never came to the disk
		w.start(Options{})
		time.Sleep(time.Second)
		w.stop()
		if n := w.files(); n["corrupt"] != 1 || len(n) != 1 || w.count() != 1 {
			t.Errorf("%v\n%s", n, w.log.String())
		}
	})
}

// TestReports: what NOTIFY, -v and -bv ask for.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(never, "x"))
		w.sendEnv(&mail.Envelope{Sender: "me@local", VerifyOnly: true}, "a@smtp", "b@local", "c@broken")
		w.sendEnv(&mail.Envelope{Sender: "me@local", Verify: true}, "b@local")
		w.sendEnv(&mail.Envelope{Sender: "me@local", Rcpts: []mail.Rcpt{{Addr: "b@local", Notify: mail.NotifySuccess}}})
		w.sendEnv(&mail.Envelope{Sender: "me@local", Rcpts: []mail.Rcpt{{Addr: "b@smtp", Notify: mail.NotifyNever}}})
		w.sendEnv(&mail.Envelope{Sender: ""}, "b@smtp")
		time.Sleep(time.Minute)
		w.stop()
		log := normal(w.log.String())
		if n := strings.Count(log, "sender delivery status notification"); n != 3 {
			t.Errorf("%d status reports\n%s", n, log)
		}
		for _, want := range []string{"dsn=5.1.1, status=undeliverable (", "dsn=2.0.0, status=deliverable (", "dsn=4.3.0, status=undeliverable (table is broken)"} {
			if !strings.Contains(log, want) {
				t.Errorf("no %q", want)
			}
		}
		if strings.Contains(log, "non-delivery") || len(w.files()) != 0 {
			t.Errorf("%v\n%s", w.files(), log)
		}
	})
}

// TestSoftBounce: with soft_bounce nothing is returned.
func TestSoftBounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{SoftBounce: true}, always(never, "x"))
		w.send("me@local", "u@smtp", "u@bounce")
		time.Sleep(time.Minute)
		w.stop()
		if n := w.files(); n["deferred"] != 1 || len(n) != 1 {
			t.Errorf("%v", n)
		}
		if !w.logged("dsn=4.1.1, status=SOFTBOUNCE (") || !w.logged("dsn=4.1.2, status=SOFTBOUNCE (") {
			t.Error(w.log.String())
		}
	})
}

// TestBounceFirst: when the report cannot be written, the failed recipient stays
// in the queue.
func TestBounceFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(never, "x"))
		w.s.bounce = bounce.New(bounce.Options{}, brokenQueue(t), maillog.To(&w.log, maillog.Options{}))
		id := w.send("me@local", "u@smtp", "v@local")
		time.Sleep(time.Second)
		m, err := w.q.Load(id, queue.Deferred)
		if err != nil || m.Env.Rcpts[0].State != mail.Pending || m.Env.Rcpts[1].State != mail.Done {
			t.Fatalf("%v\n%s", err, w.log.String())
		}
		w.stop()
	})
}

// brokenQueue is a queue whose folders are gone.
func brokenQueue(t *testing.T) *queue.Queue {
	dir := t.TempDir()
	q, err := queue.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	q.Close()
	os.RemoveAll(dir)
	return q
}

// TestControl speaks to the socket, also in tongues.
func TestControl(t *testing.T) {
	w := newWorld(t, Options{FlushDomains: []string{"smtp", ".far"}}, always(later, "x"))
	defer w.stop()
	id := w.send("", "u@smtp")
	for i := 0; i < 500 && w.files()["deferred"] == 0; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	for _, c := range []struct{ in, out string }{
		{"F\n", "ok 1\n"}, {"I 00000FFFFF\n", "ok 0\n"}, {"I ../x\n", "no bad queue id\n"}, {"S other\n", "no flush service is not configured for this destination\n"},
		{"S SMTP\n", "ok "}, {"S x.far\nF\n", "ok 0\nok "}, {"C " + id + "\n", "ok 1\n"}, {"A\n", "ok "}, {"\x00\x01\n", "no such command\n"}, {"\n", ""},
		{strings.Repeat("x", 5000), ""}, {"Z", ""},
	} {
		a, b := net.Pipe()
		go w.s.ServeControl(a)
		go func() { b.Write([]byte(c.in)); time.Sleep(50 * time.Millisecond); b.Close() }()
		buf := make([]byte, 4096)
		n, _ := b.Read(buf)
		for n > 0 && n < len(c.out) {
			k, err := b.Read(buf[n:])
			if n += k; err != nil {
				break
			}
		}
		if got := string(buf[:n]); !strings.HasPrefix(got, c.out) || c.out == "" && got != "" {
			t.Errorf("%q: %q, not %q", c.in, got, c.out)
		}
		b.Close()
	}
}

// TestWaitingMemory: what a deferred message costs while it waits.
func TestWaitingMemory(t *testing.T) {
	const n = 100000
	var before, after runtime.MemStats
	ws := make([]queue.Wait, n)
	for i := range ws {
		ws[i] = queue.Wait{ID: fmt.Sprintf("%05X%07X", i*7919%1000000, i), Next: time.Unix(int64(i*7919%n), 0)}
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := newWaitList()
	for _, x := range ws {
		w.put(strings.Clone(x.ID), x.Next)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / n
	t.Logf("%.0f bytes a waiting message", each)
	if each > 160 {
		t.Errorf("%.0f bytes a waiting message", each)
	}
	last := int64(-1)
	for w.len() > 0 {
		at := w.list[0].at
		if _, ok := w.take(time.Unix(1<<33, 0)); !ok || at < last {
			t.Fatal("out of order")
		}
		last = at
	}
	runtime.KeepAlive(ws)
}

// TestStorm: real time, many messages with random answers and an administrator;
// nothing is lost, nothing is stuck.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, nil)
		var mu sync.Mutex
		n := 0
		w.reply = func(job *mail.Job) {
			mu.Lock()
			n++
			k := n
			mu.Unlock()
			time.Sleep(time.Duration(k%7) * time.Second)
			switch k % 9 {
			case 0:
				panic("storm")
			case 1:
				always(refused, "none")(job)
			case 2:
				always(later, "x")(job)
			case 3:
				always(never, "x")(job)
			default:
				always(fine, "x")(job)
			}
		}
		for i := range 600 {
			id := w.send("me@local", mail.Address(fmt.Sprintf("u@d%d.smtp", i%20)), mail.Address(fmt.Sprintf("u%d@local", i%5)), "v@smtp")
			switch i % 50 {
			case 0:
				w.s.Hold(id)
				w.s.Release(id)
			case 1:
				w.s.Requeue(id)
			case 2:
				w.s.LookAtAll()
			case 3:
				w.s.FlushAll()
			}
		}
		time.Sleep(12 * 24 * time.Hour)
		w.stop()
		active, ready, waiting := w.s.Counts()
		if f := w.files(); len(f) != 0 || active+ready+waiting != 0 {
			t.Errorf("left %v, %d %d %d", f, active, ready, waiting)
		}
		log := normal(w.log.String())
		if n := strings.Count(log, "(queue active)"); n < 600 {
			t.Errorf("%d messages only", n)
		}
	})
}
