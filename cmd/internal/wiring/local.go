package wiring

import (
	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/table"
	"packetboat/internal/send/local"
	"packetboat/internal/sys/config"
)

// Local decodes what the transport local(8) called name needs and opens its
// aliases. m is main.cf with the service's own options. Where it hands messages
// on (Queued, Via) is for the caller to fill in.
func (k *Kit) Local(name string, m *config.Main) (o local.Options, err error) {
	x := &alias.Expander{Warn: k.Logs.Program("local").Warn, Open: k.OpenInclude, Trace: k.TraceAlias}
	var maps struct {
		Aliases []string `main:"alias_maps"`
	}
	if err := Decode(m, &o, &x.Options, &maps); err != nil {
		return o, err
	}
	o.Tables = k.Tables(m)
	topts := o.Tables
	// local(8) reads aliases itself: proxymap(8) has no say.
	topts.Alias, topts.NoRegSub, topts.Approve = true, true, nil
	tables, err := table.OpenAll(maps.Aliases, topts)
	if err != nil {
		return o, err
	}
	for _, t := range tables {
		x.Maps = append(x.Maps, aliasMap{t})
	}
	x.Resolve = func(a mail.Address) (mail.Address, bool, error) {
		r, err := k.Router.Resolve(a)
		return r.Addr, r.Transport == name, err
	}
	o.Expander, o.Expand = x, k.Router.Expand
	return o, nil
}

// aliasMap is a table with the owner of its answers.
type aliasMap struct{ table.Table }

// Owner returns the account whose rights the table's commands get.
func (m aliasMap) Owner() (int, error) { return table.OwnerOf(m.Table) }
