package sched

import (
	"context"
	"sync"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/send/bounce"
)

// BenchmarkMessage is what one message costs between Add and its removal, with a
// transport that costs nothing: one rename, one unlink, three log lines.
func BenchmarkMessage(b *testing.B) {
	q, err := queue.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	done := make(counter, 1000)
	s := New(Options{}, q, byDomain{}, map[string]Transport{"local": done}, bounce.New(bounce.Options{}, q, nil), nil)
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	ids := make([]string, b.N)
	var wg sync.WaitGroup
	for part := range 8 { // commits are not what is measured
		wg.Go(func() {
			for i := part; i < b.N; i += 8 {
				w, err := q.Create()
				if err == nil {
					err = w.Commit(envelope())
				}
				if err != nil {
					b.Error(err)
					return
				}
				ids[i] = w.ID()
			}
		})
	}
	wg.Wait()
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for _, id := range ids {
			s.Add(id, envelope(), 0)
		}
	}()
	for range b.N {
		<-done
	}
	b.StopTimer()
	s.Stop(b.Context())
}

func envelope() *mail.Envelope {
	return &mail.Envelope{Sender: "s@x", Arrived: time.Now(), UID: -1, Rcpts: []mail.Rcpt{{Addr: "u@local", State: mail.Pending}}}
}

// counter is a transport that counts.
type counter chan struct{}

func (c counter) Deliver(_ context.Context, job *mail.Job) {
	for i := range job.Rcpts {
		job.Report(i, mail.Result{Status: mail.OK("2.0.0", "ok"), Program: "local", Relay: "local"})
	}
	c <- struct{}{}
}
