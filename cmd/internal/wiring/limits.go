package wiring

import (
	"os"
	"strconv"
	"time"

	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// TransportLimits reads the parameters that belong to one transport:
// NAME_destination_concurrency_limit and its like, and maxproc of master.cf.
func TransportLimits(m *config.Main, services []config.Service) map[string]sched.Limits {
	out := map[string]sched.Limits{}
	for _, svc := range services {
		if svc.Type != "unix" {
			continue
		}
		n := func(suffix string) int {
			v, _ := strconv.Atoi(m.Get(svc.Name + suffix)) // a value that is no number is the default
			return max(v, 0)
		}
		out[svc.Name] = sched.Limits{
			InitialConcurrency: n("_initial_destination_concurrency"),
			ConcurrencyLimit:   n("_destination_concurrency_limit"),
			RecipientsPerJob:   n("_destination_recipient_limit"),
			ProcessLimit:       max(svc.MaxProc, 0),
			FailedCohorts:      n("_destination_concurrency_failed_cohort_limit"),
			Positive:           feedback(m.Get(svc.Name + "_destination_concurrency_positive_feedback")),
			Negative:           feedback(m.Get(svc.Name + "_destination_concurrency_negative_feedback")),
			RateDelay:          delay(m, svc.Name+"_destination_rate_delay"),
			TransportRateDelay: delay(m, svc.Name+"_transport_rate_delay"),
			NoPreemption:       m.Get(svc.Name+"_delivery_slot_cost") == "0",
		}
	}
	return out
}

// feedback reads a feedback; what makes no sense is the default.
func feedback(s string) sched.Feedback {
	f, err := sched.ParseFeedback(s)
	if err != nil {
		return sched.Feedback{}
	}
	return f
}

// delay reads a time of one transport in the units of main.cf.
func delay(m *config.Main, name string) time.Duration {
	var o struct {
		Delay time.Duration `main:"default_destination_rate_delay"`
	}
	value := config.Setting{Name: "default_destination_rate_delay", Value: m.Get(name)}
	if m.With(value).Decode(&o) != nil {
		return 0
	}
	return max(o.Delay, 0)
}

// LogOptions says how the processes of a system log; f is the open maillog_file, nil = syslog.
func LogOptions(m *config.Main, f *os.File) maillog.Options {
	return maillog.Options{Name: m.Get("syslog_name"), Facility: m.Get("syslog_facility"), Handle: f}
}
