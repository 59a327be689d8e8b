package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/receive/intake"
	"packetboat/internal/receive/pickup"
	"packetboat/internal/receive/policy"
	"packetboat/internal/send/bounce"
	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// readSetup reads main.cf and master.cf in dir; empty is the default folder. The
// error holds everything that keeps the system from starting with them; with
// force, parameters that are not built do not.
func readSetup(dir string, force bool) (s setup, err error) {
	list := config.Check(dir)
	stop := config.Stop(list, force)
	if s.main, _, err = config.LoadMain(dir); err != nil {
		return s, errors.Join(stop, unseen(err, list))
	}
	if s.master, _, err = config.LoadMaster(s.main.Dir()); err != nil {
		return s, errors.Join(stop, unseen(err, list))
	}
	name := s.main.Get("mail_owner")
	if s.owner, err = proc.LookupUser(name); err != nil {
		err = fmt.Errorf("mail_owner %q: %w", name, err)
	} else if os.Geteuid() != 0 && s.owner.UID != os.Geteuid() {
		err = fmt.Errorf("mail_owner is %s: start mtad as root or as that user", s.owner.Name)
	}
	if err = errors.Join(stop, err, unseen(checkEngine(s.main, s.master), list)); err != nil {
		return s, err
	}
	s.doubts = list
	return s, nil
}

// checkOnly says what would keep a start from succeeding; postfix check asks it.
func checkOnly(dir string, force bool) int {
	if _, err := readSetup(dir, force); err != nil {
		fmt.Fprint(os.Stderr, config.Report(err))
		return 1
	}
	return 0
}

// unseen takes those errors out that are about lines, or parameters, which list
// names already.
func unseen(err error, list []config.Problem) error {
	var left []error
	for _, e := range config.Flatten(err) {
		if !slices.ContainsFunc(list, func(p config.Problem) bool { return p.Severity != config.SeverityWarning && same(e, p) }) {
			left = append(left, e)
		}
	}
	return errors.Join(left...)
}

// same tells whether an error says what a problem says.
func same(err error, p config.Problem) bool {
	var ce *config.Error
	if errors.As(err, &ce) {
		return ce.File == p.File && ce.Line == p.Line
	}
	return p.Name != "" && strings.Contains(err.Error(), p.Name+":")
}

// tellDoubts writes into the log what the system started or goes on in spite of.
func (p *parent) tellDoubts() {
	for _, d := range p.doubts {
		if d.Hint == "" {
			p.log.Warn("%s", d.String())
		} else {
			p.log.Warn("%s; %s", d.String(), d.Hint)
		}
	}
}

// checkEngine decodes what an engine would decode, so that the parent refuses a
// configuration before an engine has to die of it. It opens no table: a table
// that is broken now may be whole when it is asked.
func checkEngine(m *config.Main, services []config.Service) error {
	errs := []error{wiring.Decode(m, &bounce.Options{}, &sched.Options{}, &intake.Options{}, &pickup.Options{})}
	for _, svc := range services {
		if svc.Type == "inet" && svc.Command == "smtpd" {
			errs = append(errs, checkServer(m.With(svc.Options...), svc))
		}
	}
	return errors.Join(errs...)
}

// checkServer does the same for a smtpd service; m has its options.
func checkServer(m *config.Main, svc config.Service) error {
	_, po, err := wiring.SMTPDOptions(m)
	if err != nil {
		return err
	}
	// A restriction that nobody knows would let in what it was to keep out.
	if _, err := policy.New(po, policy.Deps{Open: unopened}); err != nil {
		return fmt.Errorf("%s: line %d: service %s: %w", svc.File, svc.Line, svc.Name, err)
	}
	return nil
}

// unopened stands for any table: checkEngine asks none.
func unopened(string) (policy.Table, error) { return nil, nil }
