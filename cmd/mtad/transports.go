package main

import (
	"context"
	"fmt"
	"strings"

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

// remote makes a transport of an smtp or lmtp service.
func (e *engine) remote(svc config.Service, m *config.Main) (sched.Transport, error) {
	o, err := e.kit.Client(svc, m)
	if err != nil {
		return nil, err
	}
	o.Pass = e.pass
	return remote.New(o), nil
}

// pass hands a job to another transport (best_mx_transport): "name" or
// "name:nexthop".
func (e *engine) pass(ctx context.Context, transport string, job *mail.Job) bool {
	name, hop, _ := strings.Cut(transport, ":")
	t, ok := e.byName[name]
	if !ok {
		return false
	}
	if hop != "" {
		job.Nexthop = hop
	}
	t.Deliver(ctx, job)
	return true
}
