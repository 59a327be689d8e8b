package main

import (
	"fmt"
	"net"
	"time"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/sys/config"
)

// openServers makes a Server of each smtpd service of master.cf. One that cannot
// work does not keep the others from it: its clients are told to come again, as
// by a smtpd(8) of Postfix's that dies at its start.
func (e *engine) openServers() error {
	e.servers, e.doors = map[string]*smtpd.Server{}, map[string]func(net.Conn){}
	var ao gate.AnvilOptions
	if err := e.main.Decode(&ao); err != nil {
		return err
	}
	e.anvil, e.bans = gate.NewAnvil(ao, e.logs.Program("anvil")), gate.NewBans()
	for _, svc := range e.services {
		if svc.Type != "inet" {
			continue
		}
		if !listens(svc) {
			e.log.Warn("%s: line %d: service %s: %s is not supported: nothing listens there", svc.File, svc.Line, svc.Name, svc.Command)
			continue
		}
		door, err := e.openDoor(svc)
		if err != nil {
			err = fmt.Errorf("%s: line %d: service %s: %w", svc.File, svc.Line, svc.Name, err)
		}
		if err != nil && e.rehearsal {
			return err
		}
		if err != nil {
			complain(err)
		}
		e.doors[svc.ID()] = door
	}
	return nil
}

// outOfOrder is the reply of a service that cannot work (RFC 5321 section 3.8).
const outOfOrder = "421 4.3.5 %s Server configuration problem - try again later\r\n"

// refuse turns the clients of such a service away.
func (e *engine) refuse(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, outOfOrder, e.main.Get("myhostname"))
}

func (e *engine) openServer(svc config.Service) (*smtpd.Server, error) {
	m := e.main.With(svc.Options...)
	log, err := e.kit.ServiceLog(m, svc.Command)
	if err != nil {
		return nil, err
	}
	o, po, err := wiring.SMTPDOptions(m)
	if err != nil {
		return nil, err
	}
	o.Service = wiring.ProgramName(e.main, m, svc.Command)
	pol, err := e.kit.Policy(po, log)
	if err != nil {
		return nil, err
	}
	tc, ca, err := e.kit.ServerTLS(m, &o, e.log)
	if err != nil {
		return nil, err
	}
	in, err := e.intakes.For(m)
	if err != nil {
		return nil, err
	}
	src, err := e.kit.Source(m)
	if err != nil {
		return nil, err
	}
	milters, err := e.kit.SMTPDMilters(m)
	if err != nil {
		return nil, err
	}
	if svc.MaxProc > 0 {
		o.MaxSessions = svc.MaxProc // a process of Postfix's holds one session
	}
	o.Entry = svc.Name
	return smtpd.New(o, smtpd.Deps{Log: log, Policy: pol, Resolver: e.names, Auth: e.kit.AuthClient(m), TLS: tc, Authorities: ca,
		Free: e.queue.Free, Anvil: e.anvil, Bans: e.bans, Table: e.gateTable, Milters: milters,
		Flush: func(site string) error {
			_, err := e.sched.FlushSite(site)
			return err
		},
		Open: func() (smtpd.Message, error) { return in.OpenFrom(src) }})
}

// missing says what is done about tables that cannot be read. At a start the mail
// that needs them waits and all other mail flows; a new configuration is not taken.
func (e *engine) missing() func(error) {
	if e.rehearsal {
		return nil
	}
	return func(err error) { e.log.Warn("%s: mail that needs it will wait", err.Error()) }
}

// gateTable opens a table for the lists of clients and commands.
func (e *engine) gateTable(spec string) (gate.Table, error) { return e.kit.OpenTable(spec) }
