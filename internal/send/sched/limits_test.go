package sched

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"packetboat/internal/mail"
)

// taker is a transport that notes when which job came, and takes its time.
type taker struct {
	mu   sync.Mutex
	took time.Duration
	when []time.Time
	jobs []*mail.Job
	most int
	busy int
	give func(*mail.Job)
}

func (k *taker) Deliver(_ context.Context, job *mail.Job) {
	k.mu.Lock()
	k.when, k.jobs = append(k.when, time.Now()), append(k.jobs, job)
	k.busy++
	k.most = max(k.most, k.busy)
	k.mu.Unlock()
	time.Sleep(k.took)
	k.give(job)
	k.mu.Lock()
	k.busy--
	k.mu.Unlock()
}

// gaps are the seconds between the jobs.
func (k *taker) gaps() (out []int) {
	for i := 1; i < len(k.when); i++ {
		out = append(out, int(math.Round(k.when[i].Sub(k.when[i-1]).Seconds())))
	}
	return out
}

func TestFeedback(t *testing.T) {
	for s, want := range map[string]float64{"1": 1, "0.5": 0.5, "1/8": 0.125, "1 / concurrency": 0.25, "1/sqrt_concurrency": 0.5, "0": 0, "0.8/ SQRT_CONCURRENCY": 0.4} {
		f, err := ParseFeedback(s)
		if err != nil || math.Abs(f.of(4)-want) > 1e-9 {
			t.Errorf("%q: %v %v, want %v", s, f.of(4), err, want)
		}
	}
	for _, s := range []string{"", "x", "2", "-1", "1/0", "1/x", "NaN", "3/2"} {
		if _, err := ParseFeedback(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// How the window moves, in the figures of SCHEDULER_README.
func TestWindow(t *testing.T) {
	f := func(s string) Feedback { v, _ := ParseFeedback(s); return v }
	for _, c := range []struct {
		positive, negative string
		events, want       string
	}{
		{"1", "1", "+++", "8"}, {"1/concurrency", "1", "+++++", "6"}, {"1/concurrency", "1", "++++", "5"}, {"1/4", "1", "++++++++", "7"},
		{"0", "1", "+++++++", "5"}, {"1", "1/concurrency", "-----", "4"}, {"1", "1", "---", "2"}, {"1", "0.5", "----", "3"}, {"1", "1", "--------", "1"},
	} {
		d := &dest{window: 5, busy: 100, tr: &transport{l: Limits{ConcurrencyLimit: 20, InitialConcurrency: 5, Positive: f(c.positive), Negative: f(c.negative)}}}
		for _, e := range c.events {
			if e == '+' {
				d.succeeded()
			} else {
				d.failed(func() bool { return false })
			}
		}
		if got := fmt.Sprint(d.window); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// A destination is given up when failures make up its transport's limit in cohorts.
func TestFailedCohorts(t *testing.T) {
	for limit, want := range map[int]bool{1: true, 2: false} {
		d := &dest{window: 1, tr: &transport{l: Limits{FailedCohorts: limit}}}
		d.failed(func() bool { return d.cohorts >= float64(d.tr.l.FailedCohorts) })
		if got := d.cohorts >= float64(limit); got != want {
			t.Errorf("limit %d: %t", limit, got)
		}
	}
}

// default_destination_rate_delay and default_transport_rate_delay: one job at a
// time, with a pause behind it.
func TestRateDelay(t *testing.T) {
	for _, c := range []struct {
		l    Limits
		want string
	}{
		{Limits{RateDelay: 10 * time.Second}, "[0 11 0 11 0]"}, // two sites side by side
		{Limits{TransportRateDelay: 10 * time.Second}, "[11 11 11 11 11]"},
		{Limits{}, "[0 0 0 0 0]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{Transports: map[string]Limits{"smtp": c.l}}, nil)
			k := &taker{took: time.Second, give: always(fine, "x")}
			w.s.Reload(Options{Transports: map[string]Limits{"smtp": c.l}}, byDomain{}, map[string]Transport{"smtp": k})
			for i := range 6 {
				w.send("a@b", mail.Address(fmt.Sprintf("u@%c.smtp", 'a'+i%2)))
			}
			time.Sleep(5 * time.Minute)
			w.stop()
			if got := fmt.Sprint(k.gaps()); got != c.want {
				t.Errorf("%+v: pauses of %s, want %s", c.l, got, c.want)
			}
			if n := len(w.s.transports["smtp"].dests); n != 0 {
				t.Errorf("%d destinations are kept", n)
			}
		})
	}
}

// One list of 5,000 recipients does not hold a single mail up; without slots
// (default_delivery_slot_cost = 0) it does.
func TestPreemption(t *testing.T) {
	for _, no := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := map[string]Limits{"smtp": {NoPreemption: no}}
			w := newWorld(t, Options{Transports: l}, nil)
			k := &taker{took: time.Second, give: always(fine, "x")}
			w.s.Reload(Options{Transports: l}, byDomain{}, map[string]Transport{"smtp": k})
			var list []mail.Address
			for i := range 5000 {
				list = append(list, mail.Address(fmt.Sprintf("u%d@a.smtp", i)))
			}
			w.send("list@b", list...)
			time.Sleep(100 * time.Millisecond)
			single := w.send("one@b", "x@a.smtp")
			time.Sleep(10 * time.Minute)
			w.stop()
			at := -1
			for i, j := range k.jobs {
				if j.ID == single {
					at = i
				}
			}
			if early := at >= 0 && at < 20; early == no || k.most > 20 {
				t.Errorf("no preemption %t: the single mail was job %d of %d, %d at once", no, at, len(k.jobs), k.most)
			}
		})
	}
}

// Each recipient of a VERP message has a job and a sender of his own.
func TestVerpSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, nil)
		k := &taker{give: always(fine, "x")}
		w.s.Reload(Options{}, byDomain{}, map[string]Transport{"smtp": k})
		w.sendEnv(&mail.Envelope{Sender: "list@site", Verp: "+=", Rcpts: []mail.Rcpt{{Addr: "a@x.smtp"}, {Addr: "b@x.smtp", Orig: "c@d"}}})
		time.Sleep(time.Minute)
		w.stop()
		var got []string
		for _, j := range k.jobs {
			got = append(got, fmt.Sprintf("%s %d", j.Env.Sender, len(j.Rcpts)))
		}
		if s := strings.Join(got, ", "); s != "list+a=x.smtp@site 1, list+c=d@site 1" && s != "list+c=d@site 1, list+a=x.smtp@site 1" {
			t.Errorf("%s", s)
		}
	})
}
