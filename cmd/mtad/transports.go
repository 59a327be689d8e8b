package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/mail"
	"packetboat/internal/send/local"
	"packetboat/internal/send/remote"
	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// transports makes a transport of each client service of master.cf.
func (e *engine) transports() (map[string]sched.Transport, error) {
	out := map[string]sched.Transport{}
	e.byName = out
	for _, svc := range e.services {
		if svc.Type != "unix" {
			continue
		}
		t, err := e.transport(svc)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: service %s: %w", svc.File, svc.Line, svc.Name, err)
		}
		if t != nil {
			out[svc.Name] = t
		}
	}
	return out, nil
}

// transport returns nil for services that are part of the engine itself or have
// no meaning here (pickup, cleanup, tlsmgr ...).
func (e *engine) transport(svc config.Service) (sched.Transport, error) {
	m := e.main.With(svc.Options...)
	switch svc.Command {
	case "smtp", "lmtp":
		t, err := e.remote(svc, m)
		if err == nil || e.rehearsal {
			return t, err
		}
		complain(err)
		return e.orBroken(nil, svc, err)
	case "local":
		t, err := e.local(svc.Name, m)
		return e.orBroken(t, svc, err)
	case "virtual":
		t, err := e.virtual(svc.Name, m)
		return e.orBroken(t, svc, err)
	case "error":
		if svc.Name == "retry" {
			return local.Retry{}, nil
		}
		return local.Error{}, nil
	case "discard":
		return local.Discard{}, nil
	case "pipe":
		// Every master.cf of Debian's has some that nobody uses, for programs that are
		// not there: only mail for such a one waits.
		t, err := e.pipe(svc, m)
		return e.orBroken(t, svc, err)
	}
	return nil, nil
}

// orBroken lets the system start with a transport that cannot work: every
// master.cf names virtual, and few machines have a virtual_mailbox_base. Mail for
// it waits, and the log says why, as Postfix does when a daemon dies at its start.
func (e *engine) orBroken(t sched.Transport, svc config.Service, err error) (sched.Transport, error) {
	if err == nil {
		return t, nil
	}
	return broken{err, e.logs.Program(svc.Command)}, nil
}

// broken is a transport that could not be made.
type broken struct {
	err error
	log *maillog.Log
}

// Deliver defers every recipient.
func (b broken) Deliver(_ context.Context, job *mail.Job) {
	b.log.Fatal("%s", b.err.Error())
	for i := range job.Rcpts {
		job.Report(i, mail.Result{Status: mail.Defer("4.3.0", "mail transport unavailable"), Program: "error", Relay: "none"})
	}
}

// lmtpNames are the parameters of smtp(8) whose twins of lmtp(8) are decoded
// into the same options.
var lmtpNames = [...]string{"connect_timeout", "helo_timeout", "mail_timeout", "rcpt_timeout", "data_init_timeout",
	"data_xfer_timeout", "data_done_timeout", "quit_timeout", "mx_address_limit", "mx_session_limit", "line_length_limit",
	"address_preference", "bind_address", "bind_address6", "skip_5xx_greeting",
	"starttls_timeout", "tls_security_level", "tls_wrappermode", "tls_loglevel", "tls_protocols", "tls_mandatory_protocols",
	"tls_exclude_ciphers", "tls_mandatory_exclude_ciphers", "tls_verify_cert_match", "tls_secure_cert_match",
	"tls_fingerprint_cert_match", "tls_fingerprint_digest", "tls_scert_verifydepth", "tls_servername", "tls_policy_maps",
	"tls_per_site", "tls_trust_anchor_file", "tls_CAfile", "tls_CApath", "tls_cert_file", "tls_key_file", "tls_chain_files",
	"use_tls", "enforce_tls", "tls_enforce_peername", "sasl_auth_enable", "sasl_password_maps", "sasl_security_options",
	"sasl_tls_security_options", "sasl_tls_verified_security_options", "sasl_mechanism_filter", "sasl_type",
	"sasl_auth_soft_bounce", "sasl_auth_cache_name", "sender_dependent_authentication"}

func (e *engine) remote(svc config.Service, m *config.Main) (sched.Transport, error) {
	var o remote.Options
	o.LMTP = svc.Command == "lmtp"
	if o.LMTP {
		var over []config.Setting
		for _, n := range lmtpNames {
			over = append(over, config.Setting{Name: "smtp_" + n, Value: m.Get("lmtp_" + strings.Replace(n, "helo", "lhlo", 1))})
		}
		m = m.With(over...)
	}
	if err := m.Decode(&o); err != nil {
		return nil, err
	}
	o.Log, o.Own = e.logs, ownAddrs
	if err := e.tables(m, &o); err != nil {
		return nil, err
	}
	if err := e.security(m, &o); err != nil {
		return nil, err
	}
	if o.LineLimit == 0 { // postconf(5): 0 switches the limit off; in Options it is the default
		o.LineLimit = math.MaxInt
	}
	o.Program = wiring.ProgramName(e.main, m, svc.Command)
	return remote.New(o), nil
}

// ownAddrs returns the addresses of this machine, to find mail that comes back
// to us through the MX of another domain.
func ownAddrs() (out []netip.Addr) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}
