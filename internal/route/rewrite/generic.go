package rewrite

import (
	"context"
	"fmt"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
)

// Generic opens smtp_generic_maps (generic(5)), which give addresses that only
// this network knows a form that the world knows, and returns what maps one
// address: to itself where no table has it. It returns nil without tables. param
// is the parameter's name, for the log. send/remote uses it.
func (r *Router) Generic(param string, specs []string, o table.Options) (func(mail.Address) (mail.Address, error), error) {
	maps, err := table.OpenAll(specs, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", param, err)
	}
	if len(maps) == 0 {
		return nil, nil
	}
	return func(a mail.Address) (mail.Address, error) {
		if a == "" {
			return a, nil
		}
		to, err := r.mapAddress(context.Background(), maps, a, "generic", param)
		switch {
		case err != nil:
			r.warn("%s map lookup problem for %s", param, a)
			return a, mail.Defer("4.3.0", "%s map lookup problem for %s", param, a)
		case len(to) == 0:
			return a, nil
		}
		return to[0], nil
	}, nil
}
