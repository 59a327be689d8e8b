package wiring

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"packetboat/internal/auth/wire"
	"packetboat/internal/mail"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// saslParams say whom a service asks for passwords.
type saslParams struct {
	Enable bool   `main:"smtpd_sasl_auth_enable"`
	Type   string `main:"smtpd_sasl_type"`
	Path   string `main:"smtpd_sasl_path"`
}

// SMTPDOptions decodes what a service needs, and refuses what it cannot do. m is
// main.cf with the service's own options.
func SMTPDOptions(m *config.Main) (o smtpd.Options, po policy.Options, err error) {
	var sp saslParams
	if err := Decode(m, &o, &po, &sp); err != nil {
		return o, po, err
	}
	po.Classes = map[string][]string{}
	for _, name := range po.ClassNames {
		po.Classes[name] = config.Fields(m.Get(name))
	}
	// What postconf(5) makes stricter under stress, as master(8) asks for it.
	o.Stress = new(smtpd.Options)
	if err := m.With(config.Setting{Name: "stress", Value: "yes"}).Decode(o.Stress); err != nil {
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

// Policy opens the access lists of a service.
func (k *Kit) Policy(po policy.Options, log *maillog.Log) (*policy.Policy, error) {
	d := policy.Deps{Log: log, Router: PolicyRouter{k.Router, k.Bounces}, Open: k.OpenTable, Tables: k.Tables(k.Main), Trace: k.TracePolicy, Verify: k.Verify, Grey: k.Grey}
	if k.Names != nil {
		d.Servers = k.Names
	}
	switch {
	case k.Resolver != nil:
		d.Resolver = k.Resolver
	case k.Names != nil:
		d.Resolver = k.Names
	}
	return policy.New(po, d)
}

// OpenTable opens a lookup table for an access list.
func (k *Kit) OpenTable(spec string) (policy.Table, error) {
	return table.Open(spec, k.Tables(k.Main))
}

// ProgramName is what stands behind "postfix/" in the tag: smtpd, or
// submission/smtpd where the service has a syslog_name of its own.
func ProgramName(base, service *config.Main, command string) string {
	own, common := service.Get("syslog_name"), base.Get("syslog_name")
	if rest, ok := strings.CutPrefix(own, common+"/"); ok {
		return rest + "/" + command
	}
	return command
}

// ServiceLog returns a service's voice in the log.
func (k *Kit) ServiceLog(m *config.Main, command string) (*maillog.Log, error) {
	own, common := m.Get("syslog_name"), k.Main.Get("syslog_name")
	sameFacility := m.Get("syslog_facility") == k.Main.Get("syslog_facility")
	if sameFacility && (own == common || strings.HasPrefix(own, common+"/")) {
		return k.Logs.Program(ProgramName(k.Main, m, command)), nil
	}
	logs, err := maillog.Open(LogOptions(m, k.Logs.Handle()))
	if err != nil {
		return nil, err
	}
	return logs.Program(command), nil
}

// AuthClient asks the server behind smtpd_sasl_path; nil without AUTH.
func (k *Kit) AuthClient(m *config.Main) smtpd.Auth {
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

// PolicyRouter answers policy's questions from route/rewrite.
type PolicyRouter struct {
	*rewrite.Router
	Bounces func(mail.Address) bool // as Kit's
}

// Class says what kind of domain a has.
func (r PolicyRouter) Class(_ context.Context, a mail.Address) (policy.Class, error) {
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
func (r PolicyRouter) Exists(_ context.Context, a mail.Address) (bool, error) {
	if r.Bounces != nil && r.Bounces(a) {
		return true, nil
	}
	ok, _, err := r.Router.Exists(a)
	return ok, err
}
