package main

import (
	"packetboat/cmd/internal/wiring"
	"packetboat/internal/receive/intake"
	"packetboat/internal/receive/pickup"
	"packetboat/internal/send/bounce"
	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
)

// checkEngine decodes what an engine would decode, so that the parent refuses a
// configuration before an engine has to die of it. It opens no table: a table
// that is broken now may be whole when it is asked.
func checkEngine(m *config.Main, services []config.Service) error {
	if err := wiring.Decode(m, &bounce.Options{}, &sched.Options{}, &intake.Options{}, &pickup.Options{}); err != nil {
		return err
	}
	for _, svc := range services {
		if svc.Type != "inet" || svc.Command != "smtpd" {
			continue
		}
		if _, _, err := wiring.SMTPDOptions(m.With(svc.Options...)); err != nil {
			return err
		}
	}
	return nil
}
