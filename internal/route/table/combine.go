package table

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"packetboat/internal/route/table/mapfile"
)

// combined is a table made of tables: unionmap and pipemap.
type combined struct {
	name   string
	tables []Table
	pipe   bool
}

// openParts opens the tables of kind:{type:name, type:name ...}.
func openParts(kind, name string, o Options, depth int) ([]Table, error) {
	body, ok := inBraces(name)
	items, err := mapfile.CutList(body)
	if !ok || err != nil || len(items) == 0 {
		return nil, fmt.Errorf("bad syntax: \"%s:%s\"; need \"%s:{type:name...}\"", kind, name, kind)
	}
	var parts []Table
	for _, it := range items {
		t, err := open(it, o, depth+1)
		if err != nil {
			return nil, err
		}
		parts = append(parts, t)
	}
	return parts, nil
}

// openUnion answers with the answers of all tables, joined by commas.
func openUnion(name string, o Options, depth int) (Table, error) {
	parts, err := openParts("unionmap", name, o, depth)
	return &combined{name: "unionmap:" + name, tables: parts}, err
}

// openPipe gives the answer of each table to the next one as its key.
func openPipe(name string, o Options, depth int) (Table, error) {
	parts, err := openParts("pipemap", name, o, depth)
	return &combined{name: "pipemap:" + name, tables: parts, pipe: true}, err
}

// Name implements Table.
func (c *combined) Name() string { return c.name }

// Pattern implements Table: parts of an address are asked for only where every
// table holds plain keys (for pipemap the first one decides what comes in).
func (c *combined) Pattern() bool {
	if c.pipe {
		return c.tables[0].Pattern()
	}
	for _, t := range c.tables {
		if t.Pattern() {
			return true
		}
	}
	return false
}

// Owner implements Owned: the tables' common owner. Tables of several owners
// have none that could be trusted for all.
func (c *combined) Owner() (int, error) {
	owner := -1
	for _, t := range c.tables {
		uid, err := OwnerOf(t)
		if err != nil {
			return 0, err
		}
		if owner >= 0 && uid != owner {
			return 0, fmt.Errorf("%s: tables of different owners", c.name)
		}
		owner = uid
	}
	return owner, nil
}

// OwnerOf returns the owner of t's answers; an error where nobody can tell.
func OwnerOf(t Table) (int, error) {
	if o, ok := t.(Owned); ok {
		return o.Owner()
	}
	return 0, fmt.Errorf("%s: no owner UID", t.Name())
}

// Lookup implements Table.
func (c *combined) Lookup(ctx context.Context, key string) (string, bool, error) {
	if c.pipe {
		return c.through(ctx, key)
	}
	var all []string
	for _, t := range c.tables {
		v, ok, err := t.Lookup(ctx, key)
		if err != nil {
			return "", false, err
		}
		if ok {
			all = append(all, v)
		}
	}
	return strings.Join(all, ","), len(all) > 0, nil
}

func (c *combined) through(ctx context.Context, key string) (string, bool, error) {
	for _, t := range c.tables {
		v, ok, err := t.Lookup(ctx, key)
		if err != nil || !ok {
			return "", false, err
		}
		key = v
	}
	return key, true, nil
}

// openRandom answers every key with one of its values, by chance.
func openRandom(name string, _ Options, _ int) (Table, error) {
	body, ok := inBraces(name)
	values, err := mapfile.CutList(body)
	if !ok || err != nil || len(values) == 0 {
		return nil, fmt.Errorf("bad syntax: \"randmap:%s\"; need \"randmap:{value...}\"", name)
	}
	return &plain{name: "randmap:" + name, lookup: func(context.Context, string) (string, bool, error) {
		return values[rand.IntN(len(values))], true, nil
	}}, nil
}
