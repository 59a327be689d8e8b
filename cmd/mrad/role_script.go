package main

import (
	"os"
	"time"

	"packetboat/cmd/mrad/scripts"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// runScript is the role of one script service; it runs as the service's user.
func runScript(string) error {
	ch, err := proc.Inherited(channelFD)
	if err != nil {
		return err
	}
	p, log := newPeer(ch), roleLog()
	var s *scripts.Server
	p.serve(func(e event) {
		switch e.Op {
		case opSetup:
			s = scripts.New(*e.Setup.Script, func(text string) { log.DovecotError(e.Setup.Script.Name, text) })
		case opRun:
			p.send(message{Op: opReady})
		case opListen:
			if l, err := listenerOf(e); err == nil {
				go proc.Accept(l, nil, s.Serve)
			}
			return
		case opRetire, opStop:
			time.AfterFunc(100*time.Millisecond, func() { os.Exit(0) }) // commands go on by themselves
		}
		e.close()
	})
	return nil
}

// startScripts starts a role for each script service that has a socket.
func (p *parent) startScripts() error {
	for _, v := range p.s.services {
		argv, ok := scripts.Command(v.Executable)
		if !ok || len(v.Unix)+len(v.Inet) == 0 {
			continue
		}
		r := &role{name: "script", p: p, handle: func(_ *peer, e event) { e.close() }, user: func() (*proc.User, error) { return scriptUser(v) }}
		r.setup = func(q *peer) error {
			if err := q.send(message{Op: opSetup, Setup: &setup{Script: &scripts.Service{Name: v.Name, Argv: argv}}}); err != nil {
				return err
			}
			return p.sockets.send(q, scriptService+v.Name)
		}
		p.scripts = append(p.scripts, r)
		if err := r.start(); err != nil {
			return err
		}
	}
	return nil
}

// scriptUser is whom a service's commands run as: its user, else root, as with
// Dovecot.
func scriptUser(v config.DovecotService) (*proc.User, error) {
	if os.Geteuid() != 0 || v.User == "" || v.User == "root" {
		return nil, nil
	}
	return proc.LookupUser(v.User)
}
