package sched

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
)

// listTo returns n recipients: all of one domain, or each of one of its own.
func listTo(n int, one bool) (out []mail.Address) {
	for i := range n {
		if one {
			out = append(out, mail.Address(fmt.Sprintf("u%d@lists.smtp", i)))
		} else {
			out = append(out, mail.Address(fmt.Sprintf("u@d%d.smtp", i)))
		}
	}
	return out
}

// TestListDelaysNobody: a list of 50,000 recipients holds up no single mail, whether
// its recipients are of one domain, each of another, or each a destination of its own
// as those of local are; another list waits for the first, and then goes out as well.
func TestListDelaysNobody(t *testing.T) {
	for name, c := range map[string]struct {
		n      int
		one    bool
		limits Limits
	}{
		"one domain":       {n: 50_000, one: true},
		"many domains":     {n: 50_000},
		"many recipients":  {n: 50_000, one: true, limits: Limits{RecipientsPerJob: 1}},
		"with a cohort":    {n: 5_000, limits: Limits{ProcessLimit: 20}},
		"single at a time": {n: 25_000, one: true, limits: Limits{ProcessLimit: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, done := c.n, 0
				var late time.Duration
				w := newWorld(t, Options{RecipientLimit: 4_500, Transports: map[string]Limits{"smtp": c.limits}}, nil)
				w.reply = func(job *mail.Job) {
					time.Sleep(time.Second)
					w.mu.Lock()
					if done += len(job.Rcpts); job.Env.Sender == "me@here" {
						late = max(late, time.Since(job.Env.Arrived))
					}
					w.mu.Unlock()
					always(fine, "x[192.0.2.1]:25")(job)
				}
				w.send("list@here", listTo(n, c.one)...)
				synctest.Wait()
				w.send("list2@here", listTo(1000, c.one)...)
				for i := range 10 {
					// To strangers, to the list's domain, and to one of its recipients.
					to := []mail.Address{"bob@other.smtp", "bob@lists.smtp", "u4000@lists.smtp", "u@d4000.smtp"}[i%4]
					w.send("me@here", to)
					time.Sleep(5 * time.Second)
				}
				if late == 0 || late > 5*time.Second {
					t.Errorf("a single mail took %v", late)
				}
				if active, ready, _ := w.s.Counts(); active != 1 || ready != 1 {
					t.Errorf("%d active, %d ready: the second list does not wait", active, ready)
				}
				for end := time.Now().Add(72 * time.Hour); ; time.Sleep(time.Minute) {
					if active, ready, waiting := w.s.Counts(); active+ready+waiting == 0 {
						break
					}
					if time.Now().After(end) {
						t.Fatal("the lists do not end")
					}
				}
				if want := n + 1000 + 10; done != want {
					t.Errorf("%d recipients, not %d", done, want)
				}
				w.stop()
			})
		})
	}
}

// TestListNotStarved: a stream of single mails for all slots does not stop a list.
func TestListNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 400
		w := newWorld(t, Options{Transports: map[string]Limits{"smtp": {ProcessLimit: 4}}}, nil)
		w.reply = func(job *mail.Job) {
			time.Sleep(time.Second)
			w.mu.Lock()
			if job.Env.Sender == "list@here" {
				left -= len(job.Rcpts)
			}
			w.mu.Unlock()
			always(fine, "x[192.0.2.1]:25")(job)
		}
		w.send("list@here", listTo(400, false)...)
		start := time.Now()
		for i := 0; left > 0; i++ {
			for k := range 5 { // more than the slots bear
				w.send("me@here", mail.Address(fmt.Sprintf("u@s%d-%d.smtp", i, k)))
			}
			time.Sleep(time.Second)
			if time.Since(start) > 240*time.Second {
				t.Fatalf("%d of the list are left", left)
			}
		}
		if took := time.Since(start); took > 220*time.Second { // half of four a second
			t.Errorf("the list took %v", took)
		}
		w.stop()
	})
}

// TestNoPreemption: with a slot cost of 0 a list goes out whole before what came later.
func TestNoPreemption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		w := newWorld(t, Options{Transports: map[string]Limits{"smtp": {ProcessLimit: 1, NoPreemption: true, RecipientsPerJob: 1}}}, nil)
		w.reply = func(job *mail.Job) {
			time.Sleep(time.Second)
			w.mu.Lock()
			order = append(order, string(job.Env.Sender))
			w.mu.Unlock()
			always(fine, "x[192.0.2.1]:25")(job)
		}
		w.send("list@here", listTo(200, true)...)
		synctest.Wait()
		w.send("me@here", "bob@other.smtp")
		time.Sleep(300 * time.Second)
		if len(order) != 201 || strings.Join(order[199:], " ") != "list@here me@here" {
			t.Errorf("%d jobs, the last ones of %v", len(order), order[max(len(order)-3, 0):])
		}
		w.stop()
	})
}

// TestSpent: a message that cannot be removed is not delivered again, and goes when the
// disk is well.
func TestSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(fine, "x[192.0.2.1]:25"))
		w.reply = func(job *mail.Job) {
			// A folder of that name can neither be removed as a file, nor written.
			path := w.q.Path(job.ID, queue.Incoming)
			if err := os.Rename(path, path+".away"); err != nil {
				t.Error(err)
			}
			os.MkdirAll(path+"/x", 0o700)
			always(fine, "x[192.0.2.1]:25")(job)
		}
		id := w.send("me@here", "u@smtp")
		time.Sleep(time.Hour)
		if n := w.count(); n != 1 {
			t.Errorf("delivered %d times", n)
		}
		path := w.q.Path(id, queue.Incoming)
		os.RemoveAll(path)
		os.Rename(path+".away", path)
		time.Sleep(time.Hour)
		if n := w.count(); n != 1 || len(w.files()) != 0 || len(w.s.spent) != 0 {
			t.Errorf("delivered %d times, left %v, %v", n, w.files(), w.s.spent)
		}
		w.stop()
	})
}

// TestConfirmCleared is confirm_delay_cleared: the end of a delay that the sender was told
// of is told, and no other delivery.
func TestConfirmCleared(t *testing.T) {
	for yes, want := range map[bool]int{true: 1, false: 0} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{DelayWarning: 4 * time.Hour, ConfirmCleared: yes}, nil)
			begin := time.Now()
			w.reply = func(job *mail.Job) {
				if job.Env.Sender != "" && job.Rcpts[0].Addr == "late@smtp" && time.Since(begin) < 9*time.Hour {
					always(later, "x[192.0.2.1]:25")(job)
					return
				}
				always(fine, "x[192.0.2.1]:25")(job)
			}
			w.send("me@smtp", "late@smtp")
			w.send("me@smtp", "soon@smtp")
			time.Sleep(24 * time.Hour)
			log := w.log.String()
			if n := strings.Count(log, "sender delay notification"); n != 1 {
				t.Errorf("%d warnings", n)
			}
			if n := strings.Count(log, "sender delivery status notification"); n != want {
				t.Errorf("%v: %d confirmations", yes, n)
			}
			w.stop()
		})
	}
}
