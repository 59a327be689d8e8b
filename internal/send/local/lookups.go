package local

import (
	"context"
	"strings"

	"packetboat/internal/route/table"
)

// lookups are the tables of local(8) that name a transport for a user.
type lookups struct{ transports, fallbacks table.Maps }

func openLookups(o Options) (l lookups, err error) {
	topts := o.Tables
	topts.NoRegSub = true // local(8): what a stranger sent names no transport
	if l.transports, err = table.OpenAll(o.TransportMaps, topts); err != nil {
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

func first(ctx context.Context, m table.Maps, user, otherwise string) (string, error) {
	v, found, err := m.Lookup(ctx, user)
	if err != nil || !found {
		return otherwise, err
	}
	return v, nil
}

// expandNames fills $name, ${name}, $(name), ${name?text} and ${name:text}.
func expandNames(s string, value func(name string) string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, rest := after, ""
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
			continue
		case strings.HasPrefix(after, "{"):
			name, rest, _ = strings.Cut(after[1:], "}")
		case strings.HasPrefix(after, "("):
			name, rest, _ = strings.Cut(after[1:], ")")
		default:
			n := 0
			for n < len(after) && (after[n] == '_' || after[n] >= 'a' && after[n] <= 'z') {
				n++
			}
			name, rest = after[:n], after[n:]
		}
		b.WriteString(choose(name, value))
		s = rest
	}
}

// choose evaluates "name", "name?text" and "name:text".
func choose(name string, value func(string) string) string {
	i := strings.IndexAny(name, "?:")
	if i < 0 {
		return value(name)
	}
	set := value(name[:i]) != ""
	if set == (name[i] == '?') {
		return expandNames(name[i+1:], value)
	}
	return ""
}

// safeText replaces every byte of s that is not in chars by "_", as local(8)
// does before a shell could see it.
func safeText(s, chars string) string {
	return string(mapBytes([]byte(s), chars))
}

func mapBytes(b []byte, chars string) []byte {
	for i, c := range b {
		if strings.IndexByte(chars, c) < 0 {
			b[i] = '_'
		}
	}
	return b
}
