// Package table opens the lookup tables of Postfix by their type:name, as
// DATABASE_README describes them, and asks them. Indexed types (hash, btree,
// lmdb, cdb, dbm, texthash) are read from their text source, so that what an
// administrator wrote is what is in force; a source that changes is read again.
//
// A table that cannot answer returns an error, and mail waits; it never says
// "not found" instead.
package table

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"packetboat/internal/route/table/mapfile"
	"packetboat/internal/route/table/nettable"
	"packetboat/internal/route/table/regex"
)

// Table answers look-ups. All methods may be called from many goroutines.
type Table interface {
	// Lookup returns the value of key. An error means that nobody could tell.
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
	// Name returns the specification, "hash:/etc/postfix/virtual".
	Name() string
	// Pattern tells that the table matches patterns (regexp, pcre, cidr): it is
	// asked with whole addresses only, never with parts of them.
	Pattern() bool
}

// Lister is a Table whose entries can be listed, for postmap -s.
type Lister interface {
	// All calls fn for each entry in the order of the source.
	All(fn func(key, value string) error) error
}

// Owned is a Table that belongs to an account: its deliveries to commands and
// files run with that account's rights (aliases(5), DELIVERY RIGHTS).
type Owned interface {
	// Owner returns the user number; 0 for what the system itself answers.
	Owner() (int, error)
}

// Reporter is a Table that found lines it had to skip when it was read.
type Reporter interface {
	// Problems returns one text per skipped line, "FILE, line N: why".
	Problems() []string
}

// Options says how tables are opened. The zero value reads everything as
// postmap(1) source text and folds keys to lower case.
type Options struct {
	// AliasFiles are the paths that alias_maps and alias_database name: their
	// text is in the form of aliases(5).
	AliasFiles []string
	// Alias says that the text of this table is in the form of aliases(5).
	Alias bool
	// NoFold keeps upper and lower case apart (postmap -f).
	NoFold bool
	// NoRegSub forbids $1 in results of regexp and pcre tables: alias tables
	// must not build commands from what a stranger sent (local(8), SECURITY).
	NoRegSub bool
	// Missing is told of a source that cannot be read when the table is opened;
	// each look-up fails then, until the source can be read. nil: it is an error.
	Missing func(err error)
	// Warn is told of lines that were skipped, whenever a source is read, as the
	// daemons of Postfix log them; nil = nobody, but for Reporter.
	Warn func(problem string)
	// OpenFile opens a file that this process has not the rights to read (root's
	// own tables, files with a database's password), nil = nobody can.
	OpenFile func(path string) (*os.File, error)
	// Param returns a parameter of main.cf, expanded, for tables whose settings
	// stand there (ldap:NAME); ok is false where main.cf does not set it.
	Param func(name string) (value string, ok bool)
	// Approve refuses tables of type proxy that proxy_read_maps does not list; it is
	// asked with what stands behind "proxy:". nil = all are approved, as for readers
	// that open such tables themselves (local(8), virtual(8), postmap(1)).
	Approve func(spec string) error
	// Dir is where relative file names begin; empty = the working directory.
	Dir string
}

// maxDepth is the number of tables inside tables (proxy:unionmap:{...}).
const maxDepth = 8

// opener makes a table of the part after "type:".
type opener func(name string, o Options, depth int) (Table, error)

// types names every table type that can be opened.
func types() map[string]opener {
	return map[string]opener{
		"hash": openIndexed("hash"), "btree": openIndexed("btree"), "lmdb": openIndexed("lmdb"),
		"cdb": openIndexed("cdb"), "dbm": openIndexed("dbm"), "sdbm": openIndexed("sdbm"),
		"texthash": openIndexed("texthash"),
		"regexp":   openPatterns("regexp", regex.POSIX),
		"pcre":     openPatterns("pcre", regex.PCRE),
		"cidr":     openCIDR,
		"inline":   openInline,
		"static":   openStatic,
		"environ":  openEnviron,
		"fail":     openFail,
		"unix":     openUnix,
		"unionmap": openUnion,
		"pipemap":  openPipe,
		"randmap":  openRandom,
		"proxy":    openProxy,
		"nis":      openNIS,

		"mysql": openExternal("mysql", makeMySQL), "pgsql": openExternal("pgsql", makePgSQL),
		"sqlite": openExternal("sqlite", makeSQLite), "ldap": openExternal("ldap", makeLDAP),
		"memcache": openExternal("memcache", makeMemcache),
		"tcp":      openSocket("tcp", nettable.TCP), "socketmap": openSocket("socketmap", nettable.Socketmap),
	}
}

// ErrType says that a table type is unknown here.
var ErrType = errors.New("unsupported dictionary type")

// Open opens the table that spec names. It reads the table's source, so what
// is wrong with it is told now; a source that is missing is an error too.
func Open(spec string, o Options) (Table, error) { return open(spec, o, 0) }

func open(spec string, o Options, depth int) (Table, error) {
	spec = strings.TrimSpace(spec)
	kind, name, ok := strings.Cut(spec, ":")
	if !ok || kind == "" {
		return nil, fmt.Errorf("%s: need a \"type:name\" form", spec)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: more than %d tables inside each other", spec, maxDepth)
	}
	f := types()[kind]
	if f == nil {
		return nil, fmt.Errorf("%w: %s", ErrType, kind)
	}
	return f(name, o, depth)
}

// openProxy opens what proxymap(8) would have opened: our tables are shared by
// all sessions of a process anyway.
func openProxy(name string, o Options, depth int) (Table, error) {
	for strings.HasPrefix(name, "proxy:") {
		name = strings.TrimPrefix(name, "proxy:")
	}
	if o.Approve != nil {
		if err := o.Approve(name); err != nil {
			return nil, err
		}
	}
	return open(name, o, depth+1)
}

// Maps is a list of tables that are asked in order, the first answer counts
// (maps(3)).
type Maps []Table

// OpenAll opens every table of specs.
func OpenAll(specs []string, o Options) (Maps, error) {
	var m Maps
	for _, s := range specs {
		t, err := Open(s, o)
		if err != nil {
			return nil, err
		}
		m = append(m, t)
	}
	return m, nil
}

// Lookup asks all tables for key.
func (m Maps) Lookup(ctx context.Context, key string) (string, bool, error) {
	return m.find(ctx, key, false)
}

// find asks the tables in order; with fixed only those that hold plain strings.
func (m Maps) find(ctx context.Context, key string, fixed bool) (string, bool, error) {
	for _, t := range m {
		if fixed && t.Pattern() {
			continue
		}
		v, ok, err := t.Lookup(ctx, key)
		if err != nil {
			return "", false, fmt.Errorf("%s lookup error for \"%s\": %w", t.Name(), key, err)
		}
		if ok && v == "" {
			return "", false, fmt.Errorf("%s lookup of %s returns an empty string result", t.Name(), key)
		}
		if ok {
			return v, true, nil
		}
	}
	return "", false, nil
}

// CutList splits s at white space and commas outside { }: see mapfile.CutList.
func CutList(s string) ([]string, error) { return mapfile.CutList(s) }
