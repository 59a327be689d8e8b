package table

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"packetboat/internal/route/table/ldaptable"
	"packetboat/internal/route/table/mapfile"
	"packetboat/internal/route/table/nettable"
	"packetboat/internal/route/table/query"
	"packetboat/internal/route/table/sqltable"
	"packetboat/internal/sys/disk"
)

// driver asks a database. Its connections close by themselves when nobody uses
// them, so a driver is let go like any value.
type driver interface {
	Lookup(ctx context.Context, key string) (string, bool, error)
}

// external is a table whose settings stand in a file: mysql, pgsql, sqlite,
// ldap, memcache. A changed file is read again, and a new driver made.
type external struct {
	*source[driver]
	name string
}

// Name implements Table.
func (t *external) Name() string { return t.name }

// Pattern implements Table. As in Postfix, whole keys and parts of them are asked.
func (t *external) Pattern() bool { return false }

// Lookup implements Table.
func (t *external) Lookup(ctx context.Context, key string) (string, bool, error) {
	d, err := t.get()
	if err != nil {
		return "", false, err
	}
	return d.Lookup(ctx, key)
}

// maker makes a driver of a table's settings.
type maker func(env query.Env, o Options, depth int) (driver, error)

// openExternal returns the opener of one type. A name that begins with "/" or
// "." is a file; any other stands for parameters NAME_x of main.cf.
func openExternal(kind string, build maker) opener {
	return func(name string, o Options, depth int) (Table, error) {
		spec := kind + ":" + name
		switch {
		case name == "":
			return nil, fmt.Errorf("%s: no name after the type", kind)
		case name[0] != '/' && name[0] != '.':
			d, err := build(envOf(spec, inMain(name, o), o, depth), o, depth)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", spec, err)
			}
			return &plain{name: spec, lookup: d.Lookup}, nil
		}
		src, err := openSource(resolve(name, o), o, func(f *os.File) (driver, []string, error) {
			p, err := mapfile.ReadParams(io.LimitReader(f, maxSettings))
			if err != nil {
				return nil, nil, err
			}
			d, err := build(envOf(spec, p, o, depth), o, depth)
			return d, nil, err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		return &external{src, spec}, nil
	}
}

// maxSettings is how much of a file of settings is read, in bytes.
const maxSettings = 1 << 20

// inMain finds the settings of a table among the parameters of main.cf.
func inMain(name string, o Options) *mapfile.Params {
	return mapfile.NewParams(func(param string) (string, bool) {
		if o.Param == nil {
			return "", false
		}
		return o.Param(name + "_" + param)
	})
}

// envOf is what a driver may use.
func envOf(spec string, p *mapfile.Params, o Options, depth int) query.Env {
	return query.Env{Name: spec, Params: p, Fold: !o.NoFold, Read: o.read, Open: o.OpenFile,
		Domains: func(items string) (func(context.Context, string) (bool, error), error) {
			list, err := mapfile.CutList(items)
			if err != nil {
				return nil, err
			}
			if depth >= maxDepth {
				return nil, fmt.Errorf("more than %d tables inside each other", maxDepth)
			}
			l, err := OpenList(list, Exact, o)
			if err != nil {
				return nil, err
			}
			return l.Match, nil
		}}
}

func makeMySQL(env query.Env, _ Options, _ int) (driver, error)  { return sqltable.MySQL(env) }
func makePgSQL(env query.Env, _ Options, _ int) (driver, error)  { return sqltable.PgSQL(env) }
func makeSQLite(env query.Env, _ Options, _ int) (driver, error) { return sqltable.SQLite(env) }
func makeLDAP(env query.Env, _ Options, _ int) (driver, error)   { return ldaptable.Open(env) }

func makeMemcache(env query.Env, o Options, depth int) (driver, error) {
	return nettable.OpenMemcache(env, func(spec string) (nettable.Backup, error) { return open(spec, o, depth+1) })
}

// openSocket returns the opener of tcp or socketmap.
func openSocket(kind string, build func(string, query.Env) (*nettable.Table, error)) opener {
	return func(name string, o Options, depth int) (Table, error) {
		t, err := build(name, envOf(kind+":"+name, nil, o, depth))
		if err != nil {
			return nil, fmt.Errorf("%s:%s: %w", kind, name, err)
		}
		// Nobody knows whose answers these are: an alias from there runs nothing.
		return &plain{name: kind + ":" + name, lookup: t.Lookup, owner: -1}, nil
	}
}

// open opens a regular file, through OpenFile where our own rights do not suffice.
// A pipe that nobody writes to would be waited for for ever.
func (o Options) open(path string) (*os.File, error) {
	f, err := disk.OpenAs(path, os.Geteuid(), os.Getegid())
	if o.OpenFile != nil && os.IsPermission(err) {
		return o.OpenFile(path)
	}
	return f, err
}

// read reads a small file, as open.
func (o Options) read(path string) ([]byte, error) {
	f, err := o.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSettings))
}

// Files returns the paths of all files that the table of spec reads, those of
// tables inside it and of its certificates and databases too: what a process
// that may open them grants to one that may not. What cannot be read names nothing.
func Files(spec string, o Options) []string { return files(nil, spec, o, 0) }

func files(list []string, spec string, o Options, depth int) []string {
	kind, name, ok := strings.Cut(strings.TrimSpace(spec), ":")
	if !ok || depth > maxDepth {
		return list
	}
	switch kind {
	case "hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash", "regexp", "pcre", "cidr":
		if strings.HasPrefix(name, "{") {
			return list // rules in main.cf itself
		}
		return append(list, resolve(name, o))
	case "proxy":
		return files(list, name, o, depth+1)
	case "unionmap", "pipemap":
		body, _ := inBraces(name)
		parts, _ := mapfile.CutList(body) // a mistake is told when the table is opened
		for _, p := range parts {
			list = files(list, p, o, depth+1)
		}
	case "mysql", "pgsql", "sqlite", "ldap", "memcache":
		return settingsFiles(list, name, o, depth)
	}
	return list
}

// settingsFiles adds the file of settings, and the files that these name.
func settingsFiles(list []string, name string, o Options, depth int) []string {
	p := inMain(name, o)
	if name != "" && (name[0] == '/' || name[0] == '.') {
		path := resolve(name, o)
		list = append(list, path)
		f, err := o.open(path)
		if err != nil {
			return list
		}
		defer f.Close()
		if p, err = mapfile.ReadParams(io.LimitReader(f, maxSettings)); err != nil {
			return list
		}
	}
	for _, param := range [...]string{"dbpath", "option_file", "tls_cert_file", "tls_key_file", "tls_CAfile", "tls_CApath", "tls_cert", "tls_key",
		"tls_ca_cert_file", "tls_ca_cert_dir"} {
		if path := p.Str(param, ""); strings.HasPrefix(path, "/") {
			list = append(list, path)
		}
	}
	domains, _ := mapfile.CutList(p.Str("domain", "")) // as above
	for _, item := range domains {
		if item = strings.TrimLeft(item, "!"); strings.HasPrefix(item, "/") {
			list = append(list, item)
		} else {
			list = files(list, item, o, depth+1)
		}
	}
	return files(list, p.Str("backup", ""), o, depth+1)
}
