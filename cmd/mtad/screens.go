package main

import (
	"context"
	"fmt"
	"net"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/receive/gate/screen"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/sys/config"
)

// listens tells whether a service of master.cf takes SMTP clients from the network.
func listens(svc config.Service) bool {
	return svc.Type == "inet" && (svc.Command == "smtpd" || svc.Command == "postscreen")
}

// openScreen makes a Screen of a postscreen service. Clients that it lets in go
// to the smtpd service of type "pass" that smtpd_service_name names.
func (e *engine) openScreen(svc config.Service) (*screen.Screen, error) {
	m := e.main.With(svc.Options...)
	log, err := e.kit.ServiceLog(m, svc.Command)
	if err != nil {
		return nil, err
	}
	var o screen.Options
	var behind struct {
		Service string `main:"smtpd_service_name"`
		Footer  string `main:"smtpd_reject_footer"`
	}
	if err := wiring.Decode(m, &o, &behind); err != nil {
		return nil, err
	}
	if o.Footer == "$smtpd_reject_footer" { // the default, which stands for the value as it is written
		o.Footer = behind.Footer
	}
	// What postconf(5) makes stricter under stress.
	o.Stress = new(screen.Options)
	if err := m.With(config.Setting{Name: "stress", Value: "yes"}).Decode(o.Stress); err != nil {
		return nil, err
	}
	server, err := e.passService(behind.Service)
	if err != nil {
		return nil, err
	}
	// The dialogue of the tests has the TLS that smtpd would have.
	so := smtpd.Options{}
	tc, _, err := e.kit.ServerTLS(m, &so, log)
	if err != nil || o.TLSLevel == "" || o.TLSLevel == "none" {
		tc = nil
	}
	if svc.MaxProc > 1 {
		o.Queue = svc.MaxProc
	}
	return screen.New(o, screen.Deps{Log: log, Resolver: e.names, Table: e.gateTable, TLS: tc, Serve: server.ServeConn})
}

// passService opens the smtpd service that has no port of its own.
func (e *engine) passService(name string) (*smtpd.Server, error) {
	for _, svc := range e.services {
		if svc.Type != "pass" || svc.Name != name || svc.Command != "smtpd" {
			continue
		}
		if s := e.servers[svc.ID()]; s != nil {
			return s, nil
		}
		// Whom it serves the Screen has learnt from the load balancer already.
		svc.Options = append(svc.Options, config.Setting{Name: "smtpd_upstream_proxy_protocol"})
		s, err := e.openServer(svc)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", svc.Name, err)
		}
		e.servers[svc.ID()] = s
		return s, nil
	}
	return nil, fmt.Errorf("master.cf has no service for the clients that postscreen lets in: write \"%s pass - - n - - smtpd\"", name)
}

// openDoor returns what serves the connections of a service's port.
func (e *engine) openDoor(svc config.Service) (func(net.Conn), error) {
	if svc.Command == "postscreen" {
		s, err := e.openScreen(svc)
		if err != nil {
			return e.refuse, err
		}
		e.screens = append(e.screens, s)
		return s.ServeConn, nil
	}
	s, err := e.openServer(svc)
	if err != nil {
		return e.refuse, err
	}
	e.servers[svc.ID()] = s
	return s.ServeConn, nil
}

// watchClients runs what remembers clients, until ctx ends.
func (e *engine) watchClients(ctx context.Context) {
	go e.anvil.Run(ctx)
	for _, s := range e.screens {
		go s.Run(ctx)
	}
}
