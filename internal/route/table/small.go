package table

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"packetboat/internal/route/table/mapfile"
	"packetboat/internal/sys/proc"
)

// plain is a table whose answers come from a function.
type plain struct {
	name   string
	lookup func(ctx context.Context, key string) (string, bool, error)
	owner  int // see Owned; -1 = nobody can tell
}

// Lookup implements Table.
func (t *plain) Lookup(ctx context.Context, key string) (string, bool, error) {
	return t.lookup(ctx, key)
}

// Name implements Table.
func (t *plain) Name() string { return t.name }

// Pattern implements Table.
func (t *plain) Pattern() bool { return false }

// Owner implements Owned.
func (t *plain) Owner() (int, error) {
	if t.owner < 0 {
		return 0, fmt.Errorf("%s: no owner UID", t.name)
	}
	return t.owner, nil
}

// inBraces takes { } from around s.
func inBraces(s string) (string, bool) {
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return s, false
	}
	return strings.TrimSpace(s[1 : len(s)-1]), true
}

// openInline reads inline:{ key=value, { key = text with blanks } }.
func openInline(name string, o Options, _ int) (Table, error) {
	body, ok := inBraces(name)
	items, err := mapfile.CutList(body)
	if !ok || err != nil || len(items) == 0 {
		return nil, fmt.Errorf("bad syntax: \"inline:%s\"; need \"inline:{name=value...}\"", name)
	}
	entries := make(map[string]string, len(items))
	for _, it := range items {
		k, v, ok := strings.Cut(it, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" || v == "" {
			return nil, fmt.Errorf("missing '=' after attribute name: \"inline:%s\"; need \"inline:{name=value...}\"", name)
		}
		if !o.NoFold {
			k = strings.ToLower(k)
		}
		entries[k] = v
	}
	fold := !o.NoFold
	return &plain{name: "inline:" + name, lookup: func(_ context.Context, key string) (string, bool, error) {
		if fold {
			key = strings.ToLower(key)
		}
		v, ok := entries[key]
		return v, ok, nil
	}}, nil
}

// openStatic answers every key with the same value.
func openStatic(name string, _ Options, _ int) (Table, error) {
	value, _ := inBraces(name)
	return &plain{name: "static:" + name, lookup: func(context.Context, string) (string, bool, error) {
		return value, true, nil
	}}, nil
}

// openEnviron answers with the environment of the process.
func openEnviron(name string, _ Options, _ int) (Table, error) {
	return &plain{name: "environ:" + name, lookup: func(_ context.Context, key string) (string, bool, error) {
		v, ok := os.LookupEnv(key)
		return v, ok, nil
	}}, nil
}

// failText is what postmap(1) says of every question to a fail: table.
const failText = "Application error"

// openFail makes a table that never answers, to test what mail does then.
func openFail(name string, _ Options, _ int) (Table, error) {
	return &plain{name: "fail:" + name, lookup: func(context.Context, string) (string, bool, error) {
		return "", false, fmt.Errorf("%s", failText)
	}}, nil
}

// openUnix asks the accounts and groups of this machine.
func openUnix(name string, _ Options, _ int) (Table, error) {
	t := &plain{name: "unix:" + name}
	switch name {
	case "passwd.byname":
		users := &proc.Users{}
		t.lookup = func(_ context.Context, key string) (string, bool, error) { return passwdByName(users, key) }
	case "group.byname":
		t.lookup = groupByName
	default:
		return nil, fmt.Errorf("unknown table: unix:%s", name)
	}
	return t, nil
}

func passwdByName(users *proc.Users, key string) (string, bool, error) {
	u, err := users.Lookup(key)
	if errors.Is(err, proc.ErrNoUser) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	line := strings.Join([]string{u.Name, "x", strconv.Itoa(u.UID), strconv.Itoa(u.GID), u.Gecos, u.Home, u.Shell}, ":")
	return line, true, nil
}

// groupByName returns a line of group(5) without its members.
func groupByName(_ context.Context, key string) (string, bool, error) {
	g, err := user.LookupGroup(key)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	members, err := groupMembers(g.Name)
	return g.Name + ":x:" + g.Gid + ":" + members, err == nil, err
}

// groupMembers reads the last column of a group's line in /etc/group.
func groupMembers(name string) (string, error) {
	b, err := os.ReadFile("/etc/group")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimRight(line, "\n"), ":"); len(f) == 4 && f[0] == name {
			return f[3], nil
		}
	}
	return "", nil
}
