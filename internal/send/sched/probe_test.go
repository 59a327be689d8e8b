package sched

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/bounce"
)

// TestProbed: what became of a probe is told to whoever sent it, once, and to
// nobody else.
func TestProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, always(never, "x"))
		var told []string
		w.s.Probed(func(env *mail.Envelope, rcpts []bounce.Report) bool {
			for _, r := range rcpts {
				told = append(told, string(r.Rcpt.Addr)+" "+r.Status.Outcome.String())
			}
			return env.Sender == "probe@local"
		})
		w.sendEnv(&mail.Envelope{Sender: "probe@local", VerifyOnly: true, Rcpts: []mail.Rcpt{{Addr: "a@smtp"}, {Addr: "b@local"}, {Addr: "c@broken"}}})
		time.Sleep(time.Minute)
		w.stop()
		slices.Sort(told)
		if got := strings.Join(told, ", "); got != "a@smtp bounced, b@local sent, c@broken deferred" {
			t.Errorf("told %q", got)
		}
		if log := w.log.String(); strings.Contains(log, "notification") || len(w.files()) != 0 {
			t.Errorf("%v\n%s", w.files(), log)
		}
	})
}
