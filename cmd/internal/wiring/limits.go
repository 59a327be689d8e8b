package wiring

import (
	"os"
	"strconv"

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
		}
	}
	return out
}

// LogOptions says how the processes of a system log; f is the open maillog_file, nil = syslog.
func LogOptions(m *config.Main, f *os.File) maillog.Options {
	return maillog.Options{Name: m.Get("syslog_name"), Handle: f}
}
