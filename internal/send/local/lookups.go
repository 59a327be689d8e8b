package local

import (
	"context"

	"packetboat/internal/route/table"
)

// lookups are the tables of local(8) that name a transport for a user.
type lookups struct {
	transports, fallbacks, commands table.Maps
}

func openLookups(o Options) (l lookups, err error) {
	topts := o.Tables
	topts.NoRegSub = true // local(8): what a stranger sent names no transport
	if l.transports, err = table.OpenAll(o.TransportMaps, topts); err != nil {
		return l, err
	}
	if l.commands, err = table.OpenAll(o.CommandMaps, topts); err != nil {
		return l, err
	}
	l.fallbacks, err = table.OpenAll(o.FallbackMaps, topts)
	return l, err
}

// transport returns mailbox_transport for a user, empty for none.
func (l lookups) transport(ctx context.Context, user, otherwise string) (string, error) {
	return first(ctx, l.transports, user, otherwise)
}

// fallback returns fallback_transport for a user, empty for none.
func (l lookups) fallback(ctx context.Context, user, otherwise string) (string, error) {
	return first(ctx, l.fallbacks, user, otherwise)
}

// command returns the command that takes a user's mail, empty for none.
func (l lookups) command(ctx context.Context, user, otherwise string) (string, error) {
	return first(ctx, l.commands, user, otherwise)
}

func first(ctx context.Context, m table.Maps, user, otherwise string) (string, error) {
	v, found, err := m.Lookup(ctx, user)
	if err != nil || !found {
		return otherwise, err
	}
	return v, nil
}
