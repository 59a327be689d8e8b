// Package wiring turns a configuration into the rooms of the mail system: the
// router with its tables, the access lists of a service, the aliases, TLS. The
// engine of cmd/mtad opens what it works with here, and cmd/mailadm opens the
// same to check it and to explain its decisions; so both always agree.
//
// Nothing here binds a port, starts a process or writes anything but warnings to
// the log that the caller gives.
package wiring

import (
	"os"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/send/remote"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/trust/tlsrpt"
)

// Kit is a configuration and what every room needs of the machine. Its methods
// open rooms; the fields are set before the first of them is called.
type Kit struct {
	Main     *config.Main
	Services []config.Service
	Logs     *maillog.Logger
	Names    *dns.Resolver // nil: look-ups of names are put off
	// Resolver is what the access lists ask in place of Names; nil = Names.
	Resolver policy.Resolver
	Router   *rewrite.Router
	// Verify and Grey are what the access lists remember; nil = nothing is asked:
	// reject_unverified_* defers, greylisting lets pass.
	Verify policy.Verifier
	Grey   policy.Greylist
	// STS has the MTA-STS policies of domains; nil = none counts.
	STS remote.STS
	// TLSCount is told how TLS went with other hosts, but for mail from TLSReports; nil =
	// nobody.
	TLSCount   func(tlsrpt.Policy, tlsrpt.Failure)
	TLSReports mail.Address
	// Bounces tells addresses that no table lists and local(8) takes: bounces of mail that
	// was forwarded come to them (SRS); nil = there are none.
	Bounces func(mail.Address) bool
	// Missing is told of tables that cannot be read now: mail that needs them
	// waits. nil: such a table is an error.
	Missing func(error)
	// OpenFile opens a table's file that this process may not read; nil = it opens
	// all by itself.
	OpenFile func(path string) (*os.File, error)
	// ReadKey reads a file that only root may read; nil = this process reads it.
	ReadKey func(path string) ([]byte, error)
	// OpenInclude opens an :include: file with the rights of an account; nil = as
	// this process.
	OpenInclude func(path, account string) (*os.File, error)

	// These are told each step of the decisions; nil in a daemon.
	TracePolicy func(policy.Event)
	TraceRoute  func(rewrite.Event)
	TraceAlias  func(alias.Step)
	TraceIntake func(param string, from, to mail.Address)
}

// NewRouter opens route/rewrite with what main.cf says. The caller puts it into
// Router.
func (k *Kit) NewRouter() (*rewrite.Router, error) {
	var o rewrite.Options
	if err := k.Main.Decode(&o); err != nil {
		return nil, err
	}
	o.Warn, o.Tables, o.Trace = k.Logs.Program("trivial-rewrite").Warn, k.Tables(k.Main), k.TraceRoute
	return rewrite.New(o)
}

// Decode fills several Options structs.
func Decode(m *config.Main, opts ...any) error {
	for _, o := range opts {
		if err := m.Decode(o); err != nil {
			return err
		}
	}
	return nil
}
