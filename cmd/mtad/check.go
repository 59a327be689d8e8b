package main

import (
	"fmt"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/receive/intake"
	"packetboat/internal/receive/pickup"
	"packetboat/internal/receive/policy"
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
		_, po, err := wiring.SMTPDOptions(m.With(svc.Options...))
		if err != nil {
			return err
		}
		// A restriction that nobody knows would let in what it was to keep out.
		if _, err := policy.New(po, policy.Deps{Open: unopened}); err != nil {
			return fmt.Errorf("%s: line %d: service %s: %w", svc.File, svc.Line, svc.Name, err)
		}
	}
	return nil
}

// unopened stands for any table: checkEngine asks none.
func unopened(string) (policy.Table, error) { return nil, nil }
