package wiring

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
)

// The parameters of one transport, with the defaults that they take from all.
func TestTransportLimits(t *testing.T) {
	dir := t.TempDir()
	text := "default_destination_rate_delay = 2s\nslow_destination_rate_delay = 1m\nslow_transport_rate_delay = 3\n" +
		"slow_destination_concurrency_positive_feedback = 1/concurrency\nslow_destination_concurrency_failed_cohort_limit = 7\nslow_delivery_slot_cost = 0\n" +
		"default_destination_concurrency_negative_feedback = 0.5\n"
	for name, s := range map[string]string{"main.cf": text, "master.cf": "smtp unix - - n - 9 smtp\nslow unix - - n - 2 smtp\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	services, _, err := config.LoadMaster(dir)
	if err != nil {
		t.Fatal(err)
	}
	feed := func(s string) sched.Feedback { f, _ := sched.ParseFeedback(s); return f }
	all := TransportLimits(m, services)
	l := all["slow"]
	if l.RateDelay != time.Minute || l.TransportRateDelay != 3*time.Second || l.FailedCohorts != 7 || !l.NoPreemption || l.ProcessLimit != 2 ||
		l.Positive != feed("1/concurrency") || l.Negative != feed("0.5") {
		t.Errorf("%+v", l)
	}
	if l := all["smtp"]; l.RateDelay != 2*time.Second || l.TransportRateDelay != 0 || l.NoPreemption || l.Positive != feed("1") {
		t.Errorf("%+v", l)
	}
}
