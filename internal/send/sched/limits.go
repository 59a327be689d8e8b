package sched

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Feedback is how much one job that ended well, or did not reach its site, changes
// the concurrency of a destination (SCHEDULER_README): a number, divided by
// nothing, by the concurrency or by its square root. The zero value is 1.
type Feedback struct {
	set   bool
	value float64 // 0 to 1
	by    uint8   // 0 nothing, 1 the concurrency, 2 its square root
}

// ParseFeedback reads "number", "number / number", "number / concurrency" or
// "number / sqrt_concurrency" (default_destination_concurrency_positive_feedback).
func ParseFeedback(s string) (Feedback, error) {
	bad := errors.New("need a number from 0 to 1, or number / concurrency, or number / sqrt_concurrency: " + s)
	num, den, divided := strings.Cut(s, "/")
	f := Feedback{set: true}
	var err error
	if f.value, err = strconv.ParseFloat(strings.TrimSpace(num), 64); err != nil {
		return f, bad
	}
	switch den = strings.TrimSpace(den); {
	case !divided:
	case strings.EqualFold(den, "concurrency"):
		f.by = 1
	case strings.EqualFold(den, "sqrt_concurrency"):
		f.by = 2
	default:
		d, err := strconv.ParseFloat(den, 64)
		if err != nil || d <= 0 {
			return f, bad
		}
		f.value /= d
	}
	if !(f.value >= 0 && f.value <= 1) {
		return f, bad
	}
	return f, nil
}

// of is the feedback at a concurrency.
func (f Feedback) of(window int) float64 {
	switch {
	case !f.set:
		return 1
	case f.by == 1:
		return f.value / float64(max(window, 1))
	case f.by == 2:
		return f.value / math.Sqrt(float64(max(window, 1)))
	}
	return f.value
}

// succeeded widens the window, up to the limit, and only as far as it is used.
func (d *dest) succeeded() {
	d.cohorts = 0
	if d.window >= d.tr.l.ConcurrencyLimit || d.window > d.busy+d.tr.l.InitialConcurrency {
		return
	}
	step := d.tr.l.Positive.of(d.window)
	// Half a step more: sums of fractions fall short of the whole by a rounding error.
	for d.credit += step; d.credit+step/2 >= 1 && step > 0; d.credit-- {
		d.window++
		d.debt = 0
	}
	d.window = min(d.window, d.tr.l.ConcurrencyLimit)
}

// failed declares the site dead when failures make up the limit in cohorts
// (pseudo-cohorts of the current window's size), and narrows the window else.
func (d *dest) failed(dead func() bool) {
	d.cohorts += 1 / float64(max(d.window, 1))
	if dead() {
		return
	}
	step := d.tr.l.Negative.of(d.window)
	for d.debt += step; d.debt+step/2 >= 1 && step > 0; d.debt-- {
		d.window = max(d.window-1, 1)
		d.credit = 0
	}
}

// rest keeps a destination and its transport quiet after a job, as
// default_destination_rate_delay and default_transport_rate_delay say. The caller
// holds s.mu.
func (s *Sched) rest(d *dest) {
	if wait := d.tr.l.RateDelay; wait > 0 {
		d.resting = true
		time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			d.resting = false
			d.offer()
			d.forget()
			s.dispatch()
		})
	}
	tr := d.tr
	if wait := tr.l.TransportRateDelay; wait > 0 {
		tr.resting = true
		time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			tr.resting = false
			s.dispatch()
		})
	}
}

// forget drops a destination that nothing needs any more.
func (d *dest) forget() {
	if d.busy == 0 && len(d.todo) == 0 && d.dead == nil && d.cohorts == 0 && !d.resting && d.tr.dests[d.key] == d {
		delete(d.tr.dests, d.key)
	}
}

// free tells whether a transport may begin one more job.
func (tr *transport) free() bool {
	if tr.l.TransportRateDelay > 0 && (tr.resting || tr.busy > 0) {
		return false
	}
	return tr.busy < tr.l.ProcessLimit
}
