package main

import (
	"context"
	"path/filepath"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/mail"
	"packetboat/internal/receive/intake"
	"packetboat/internal/receive/policy/greylist"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/send/bounce"
	"packetboat/internal/send/sched"
	"packetboat/internal/send/verify"
	"packetboat/internal/sys/config"
)

// openMemory opens what the access lists remember of addresses and clients.
func (e *engine) openMemory() (err error) {
	var vo verify.Options
	var gl greylist.Options
	if err := wiring.Decode(e.main, &vo, &gl); err != nil {
		return err
	}
	if e.verify, err = verify.New(vo, e.sendProbe, e.logs.Program("verify")); err != nil {
		return err
	}
	e.sched.Probed(e.probed)
	e.kit.Verify = e.verify
	for _, svc := range e.services {
		if svc.Type == "inet" && e.main.With(svc.Options...).Get("smtpd_greylist") == "yes" {
			e.grey = greylist.New(gl, filepath.Join(e.main.Get("data_directory"), "greylist"), e.logs.Program("smtpd").Warn)
			e.kit.Grey = e.grey
			return nil
		}
	}
	return nil
}

// runMemory keeps them until ctx ends.
func (e *engine) runMemory(ctx context.Context) {
	go e.verify.Run(ctx)
	e.runTrust(ctx)
	if e.grey != nil {
		go e.grey.Run(ctx)
	}
}

// saveMemory writes what is new since the last time.
func (e *engine) saveMemory() {
	e.verify.Save()
	e.saveTrust()
	if e.grey != nil {
		e.grey.Flush()
	}
}

// sendProbe takes a probe of verify's into the queue, past checks and milters. An
// alias with several members is deliverable without asking them all.
func (e *engine) sendProbe(env *mail.Envelope) error {
	a := env.Rcpts[0].Addr
	members, err := e.router.Expand(a)
	if err != nil {
		return err
	}
	if len(members) > 1 {
		e.verify.Update(a, mail.OK("2.0.0", "aliased to multiple recipients"))
		return nil
	}
	in, err := e.intakes.For(e.main)
	if err != nil {
		return err
	}
	m, err := in.OpenFrom(&intake.Source{})
	if err != nil {
		return err
	}
	if err = m.Start(env); err == nil {
		if _, err = m.Write([]byte("\n")); err == nil {
			return m.Commit()
		}
	}
	m.Abort()
	return err
}

// probed tells verify what became of a probe of its own.
func (e *engine) probed(env *mail.Envelope, rcpts []bounce.Report) bool {
	if !e.verify.Mine(env) {
		return false
	}
	for _, r := range rcpts {
		a := r.Rcpt.Orig
		if a == "" {
			a = r.Rcpt.Addr
		}
		e.verify.Update(a, r.Status)
	}
	return true
}

// probeRouter sends probes another way than mail (address_verify_transport_maps
// and its like).
type probeRouter struct {
	*rewrite.Router
	probes *rewrite.Router
}

// Route says where a recipient goes.
func (r probeRouter) Route(env *mail.Envelope, rcpt *mail.Rcpt) (transport, nexthop string, err error) {
	if env.VerifyOnly && !env.Verify {
		return r.probes.Route(env, rcpt)
	}
	return r.Router.Route(env, rcpt)
}

// probeNames are the parameters of probes, each with the one in whose place it
// stands.
var probeNames = [...][2]string{
	{"address_verify_transport_maps", "transport_maps"},
	{"address_verify_local_transport", "local_transport"},
	{"address_verify_virtual_transport", "virtual_transport"},
	{"address_verify_relay_transport", "relay_transport"},
	{"address_verify_default_transport", "default_transport"},
	{"address_verify_relayhost", "relayhost"},
	{"address_verify_sender_dependent_relayhost_maps", "sender_dependent_relayhost_maps"},
	{"address_verify_sender_dependent_default_transport_maps", "sender_dependent_default_transport_maps"},
}

// schedRouter is what the scheduler asks: the router, and where main.cf says so
// another one for probes.
func (e *engine) schedRouter() (sched.Router, error) {
	var over []config.Setting
	for _, name := range probeNames {
		if v := e.main.Get(name[0]); v != e.main.Get(name[1]) {
			over = append(over, config.Setting{Name: name[1], Value: v})
		}
	}
	if over == nil {
		return e.router, nil
	}
	kit := *e.kit
	kit.Main = e.main.With(over...)
	probes, err := kit.NewRouter()
	return probeRouter{e.router, probes}, err
}
