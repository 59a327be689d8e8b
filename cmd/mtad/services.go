package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/mail"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// tlsParams are what mtad itself needs to know of a service's TLS.
type tlsParams struct {
	Level     string   `main:"smtpd_tls_security_level"`
	UseTLS    bool     `main:"smtpd_use_tls"`
	Enforce   bool     `main:"smtpd_enforce_tls"`
	Wrapper   bool     `main:"smtpd_tls_wrappermode"`
	Cert      string   `main:"smtpd_tls_cert_file"`
	Key       string   `main:"smtpd_tls_key_file"`
	Chain     []string `main:"smtpd_tls_chain_files"`
	Protocols []string `main:"smtpd_tls_protocols"`
	Mandatory []string `main:"smtpd_tls_mandatory_protocols"`
	AskCert   bool     `main:"smtpd_tls_ask_ccert"`
	NeedCert  bool     `main:"smtpd_tls_req_ccert"`
}

// saslParams say whom a service asks for passwords.
type saslParams struct {
	Enable bool   `main:"smtpd_sasl_auth_enable"`
	Type   string `main:"smtpd_sasl_type"`
	Path   string `main:"smtpd_sasl_path"`
}

// openServers makes a Server of each smtpd service of master.cf. One that cannot
// work does not keep the others from it: its clients are told to come again, as
// by a smtpd(8) of Postfix's that dies at its start.
func (e *engine) openServers() error {
	e.servers = map[string]*smtpd.Server{}
	for _, svc := range e.services {
		if svc.Type != "inet" {
			continue
		}
		if svc.Command != "smtpd" {
			e.log.Warn("%s: line %d: service %s: %s is not supported: nothing listens there", svc.File, svc.Line, svc.Name, svc.Command)
			continue
		}
		s, err := e.openServer(svc)
		if err != nil {
			err = fmt.Errorf("%s: line %d: service %s: %w", svc.File, svc.Line, svc.Name, err)
		}
		if err != nil && e.rehearsal {
			return err
		}
		if err != nil {
			complain(err)
		}
		e.servers[svc.ID()] = s
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
	log, err := e.serviceLog(m, svc.Command)
	if err != nil {
		return nil, err
	}
	o, po, err := smtpdOptions(m)
	if err != nil {
		return nil, err
	}
	o.Service = programName(e.main, m, svc.Command)
	pol, err := policy.New(po, policy.Deps{Log: log, Router: policyRouter{e.router}, Resolver: e.names, Open: e.openTable})
	if err != nil {
		return nil, err
	}
	tc, err := e.serverTLS(m, &o)
	if err != nil {
		return nil, err
	}
	if svc.MaxProc > 0 {
		o.MaxSessions = svc.MaxProc // a process of Postfix's holds one session
	}
	return smtpd.New(o, smtpd.Deps{Log: log, Policy: pol, Resolver: e.names, Auth: e.authClient(m), TLS: tc, Free: e.queue.Free,
		Open: func() (smtpd.Message, error) { return e.intake.Open() }})
}

// smtpdOptions decodes what a service needs, and refuses what it cannot do.
func smtpdOptions(m *config.Main) (o smtpd.Options, po policy.Options, err error) {
	var sp saslParams
	if err := decode(m, &o, &po, &sp); err != nil {
		return o, po, err
	}
	if sp.Enable && sp.Type != "dovecot" {
		file, line := m.Where("smtpd_sasl_type")
		return o, po, &config.Error{File: file, Line: line,
			Text: fmt.Sprintf("smtpd_sasl_type = %s is not supported", sp.Type),
			Hint: "write smtpd_sasl_type = dovecot and smtpd_sasl_path = private/auth: mrad and Dovecot both answer there"}
	}
	return o, po, nil
}

// programName is what stands behind "postfix/" in the tag: smtpd, or
// submission/smtpd where the service has a syslog_name of its own.
func programName(base, service *config.Main, command string) string {
	own, common := service.Get("syslog_name"), base.Get("syslog_name")
	if rest, ok := strings.CutPrefix(own, common+"/"); ok {
		return rest + "/" + command
	}
	return command
}

// serviceLog returns a service's voice in the log.
func (e *engine) serviceLog(m *config.Main, command string) (*maillog.Log, error) {
	own, common := m.Get("syslog_name"), e.main.Get("syslog_name")
	if own == common || strings.HasPrefix(own, common+"/") {
		return e.logs.Program(programName(e.main, m, command)), nil
	}
	logs, err := maillog.Open(logOptions(m, e.logs.Handle()))
	if err != nil {
		return nil, err
	}
	return logs.Program(command), nil
}

// authClient asks the server behind smtpd_sasl_path; nil without AUTH.
func (e *engine) authClient(m *config.Main) smtpd.Auth {
	var sp saslParams
	if m.Decode(&sp) != nil || !sp.Enable {
		return nil
	}
	network, address := "unix", sp.Path
	if rest, ok := strings.CutPrefix(sp.Path, "inet:"); ok {
		network, address = "tcp", rest
	} else {
		address = strings.TrimPrefix(address, "unix:")
		if !filepath.IsAbs(address) {
			address = filepath.Join(m.Get("queue_directory"), address)
		}
	}
	return wire.New(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	})
}

// serverTLS opens a service's certificate. Where TLS may but need not be, mail
// goes on without it and the log says why.
func (e *engine) serverTLS(m *config.Main, o *smtpd.Options) (*tls.Config, error) {
	var p tlsParams
	if err := m.Decode(&p); err != nil {
		return nil, err
	}
	// The old parameters count where the new one is empty (postconf(5)).
	if p.Level == "" && p.Enforce {
		p.Level = "encrypt"
	} else if p.Level == "" && p.UseTLS {
		p.Level = "may"
	}
	o.TLSLevel = p.Level
	if (p.Level == "" || p.Level == "none") && !p.Wrapper {
		return nil, nil
	}
	tc, err := e.loadCert(p)
	if err != nil && !p.Wrapper && p.Level == "may" {
		e.log.Warn("No server certs available. TLS won't be enabled: %s", err.Error())
		return nil, nil
	}
	return tc, err
}

func (e *engine) loadCert(p tlsParams) (*tls.Config, error) {
	files := p.Chain
	if len(files) == 0 {
		if p.Cert == "" || p.Cert == "none" {
			return nil, fmt.Errorf("TLS is asked for, but smtpd_tls_cert_file is empty")
		}
		files = []string{p.Cert}
		if p.Key != "" && p.Key != p.Cert {
			files = append(files, p.Key)
		}
	}
	store, err := cert.OpenWith(e.link.readKey, files...)
	if err != nil {
		return nil, err
	}
	go store.Watch(context.Background(), func(err error) {
		if err != nil {
			e.log.Warn("certificate not renewed: %s", err.Error())
		} else {
			e.log.Info("certificate %s renewed", files[0])
		}
	})
	protocols := p.Protocols
	if p.Wrapper || p.Level == "encrypt" {
		protocols = p.Mandatory
	}
	return store.TLSConfig(cert.Options{Protocols: protocols, AskClientCert: p.AskCert, NeedClient: p.NeedCert})
}

// policyRouter answers policy's questions from route/rewrite.
type policyRouter struct{ *rewrite.Router }

// Class says what kind of domain a has.
func (r policyRouter) Class(_ context.Context, a mail.Address) (policy.Class, error) {
	route, err := r.Resolve(a)
	if err != nil {
		return policy.Remote, err
	}
	return map[rewrite.Class]policy.Class{
		rewrite.Default: policy.Remote, rewrite.Local: policy.Local, rewrite.Relay: policy.Relay,
		rewrite.VirtualAlias: policy.VirtualAlias, rewrite.VirtualMailbox: policy.VirtualMailbox,
	}[route.Class], nil
}

// Exists tells whether a can be delivered to.
func (r policyRouter) Exists(_ context.Context, a mail.Address) (bool, error) {
	ok, _, err := r.Router.Exists(a)
	return ok, err
}

// openTable opens a lookup table for an access list.
func (e *engine) openTable(spec string) (policy.Table, error) {
	return table.Open(spec, table.Options{Missing: e.missing()})
}

// missing says what is done about tables that cannot be read. At a start the mail
// that needs them waits and all other mail flows; a new configuration is not taken.
func (e *engine) missing() func(error) {
	if e.rehearsal {
		return nil
	}
	return func(err error) { e.log.Warn("%s: mail that needs it will wait", err.Error()) }
}

// newRouter opens route/rewrite with what main.cf says.
func (e *engine) newRouter() (*rewrite.Router, error) {
	var o rewrite.Options
	if err := e.main.Decode(&o); err != nil {
		return nil, err
	}
	o.Warn, o.Missing = e.logs.Program("trivial-rewrite").Warn, e.missing()
	return rewrite.New(o)
}
