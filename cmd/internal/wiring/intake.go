package wiring

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/receive/intake"
	"packetboat/internal/receive/milter"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
)

// Intakes are the doors into one queue: a main.cf has one, and one more for each
// cleanup service of master.cf that some service names (cleanup_service_name).
type Intakes struct {
	kit    *Kit
	queue  *queue.Queue
	queued func(id string, env *mail.Envelope, size int64)
	byName map[string]*intake.Intake
}

// Intakes returns the doors into q, of which the first is opened at once. queued
// is told of each message that is to be delivered.
func (k *Kit) Intakes(q *queue.Queue, queued func(id string, env *mail.Envelope, size int64)) (*Intakes, error) {
	is := &Intakes{kit: k, queue: q, queued: queued, byName: map[string]*intake.Intake{}}
	_, err := is.For(k.Main)
	return is, err
}

// For returns the door that a service uses; m is main.cf with the service's own
// options.
func (is *Intakes) For(m *config.Main) (*intake.Intake, error) {
	name := m.Get("cleanup_service_name")
	if in := is.byName[name]; in != nil {
		return in, nil
	}
	own := is.kit.Main
	for _, svc := range is.kit.Services {
		if svc.Name == name && svc.Command == "cleanup" {
			own = own.With(svc.Options...)
		}
	}
	in, err := is.open(own)
	if err != nil {
		return nil, err
	}
	is.byName[name] = in
	return in, nil
}

func (is *Intakes) open(m *config.Main) (*intake.Intake, error) {
	o, err := is.kit.IntakeOptions(m)
	if err != nil {
		return nil, err
	}
	log, err := is.kit.ServiceLog(m, "cleanup")
	if err != nil {
		return nil, err
	}
	return intake.New(o, is.queue, log, is.queued)
}

// IntakeOptions decodes what a cleanup service needs; m is main.cf with the
// service's own options.
func (k *Kit) IntakeOptions(m *config.Main) (intake.Options, error) {
	var o intake.Options
	var nets struct {
		List []string `main:"mynetworks"`
	}
	if err := Decode(m, &o, &nets); err != nil {
		return o, err
	}
	o.Tables, o.Trace = k.Tables(m), k.TraceIntake
	if k.Router != nil {
		o.Expander = k.Router
		o.Local = func(domain string) (bool, error) {
			rt, err := k.Router.Resolve(mail.Address("x@" + domain))
			return err == nil && rt.Class == rewrite.Local, nil // what cannot be resolved is not ours
		}
	}
	mine, err := policy.ParseNetworks(nets.List, k.OpenTable)
	if err != nil {
		return o, paramError(m, "mynetworks", err)
	}
	// A table that does not answer holds nobody: the mail's headers stay as they are.
	o.Networks = mine.Contains
	return o, nil
}

// Source reads how the mail of a service is treated; m is main.cf with the
// service's own options.
func (k *Kit) Source(m *config.Main) (*intake.Source, error) {
	var so intake.SourceOptions
	if err := m.Decode(&so); err != nil {
		return nil, err
	}
	src, unknown := intake.NewSource(so)
	if unknown != "" {
		return nil, paramError(m, "receive_override_options", fmt.Errorf("unknown %s value %q", "receive_override_options", unknown))
	}
	var err error
	if src.Milters, err = k.milters(m, "non_smtpd_milters", so.Milters); err != nil {
		return nil, err
	}
	return src, nil
}

// milters reads a list of milters, the value of a parameter; nil for an empty one.
func (k *Kit) milters(m *config.Main, param, list string) (*milter.Set, error) {
	var o milter.Options
	if err := m.Decode(&o); err != nil {
		return nil, err
	}
	set, err := milter.New(o, list)
	if err != nil {
		return nil, paramError(m, param, err)
	}
	return set, nil
}

// SMTPDMilters reads the milters of a service, smtpd_milters and
// smtpd_milter_maps; m is main.cf with the service's own options.
func (k *Kit) SMTPDMilters(m *config.Main) (out smtpd.Milters, err error) {
	src, err := k.Source(m)
	if err != nil || src.NoMilters {
		return out, err
	}
	var o milter.Options
	var mp struct {
		List string   `main:"smtpd_milters"`
		Maps []string `main:"smtpd_milter_maps"`
	}
	if err := Decode(m, &o, &mp); err != nil {
		return out, err
	}
	common, err := k.milters(m, "smtpd_milters", mp.List)
	if err != nil {
		return out, err
	}
	maps, err := table.OpenAll(mp.Maps, k.Tables(m))
	if err != nil || common == nil && len(maps) == 0 {
		return out, err
	}
	log := k.Logs.Program("smtpd")
	out.For = func(client netip.Addr) *milter.Set {
		list, found, err := maps.Lookup(context.Background(), client.String())
		if err == nil && !found {
			return common
		}
		set := common
		if err == nil {
			set, err = milter.New(o, list)
		}
		if err != nil {
			log.Warn("smtpd_milter_maps: %s", err.Error())
			return common
		}
		return set
	}
	if k.Router != nil {
		out.Route = func(sender, rcpt mail.Address) (string, string, mail.Address, error) {
			rt, err := k.Router.ResolveFrom(sender, rcpt)
			return rt.Transport, rt.Nexthop, rt.Addr, err
		}
	}
	return out, nil
}

// paramError says where a parameter that cannot be used was set.
func paramError(m *config.Main, name string, err error) error {
	file, line := m.Where(name)
	return &config.Error{File: file, Line: line, Text: strings.TrimSpace(name + ": " + err.Error())}
}
