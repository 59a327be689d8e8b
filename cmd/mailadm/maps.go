package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
)

const (
	postmapUsage    = "usage: postmap [-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file..."
	postaliasUsage  = "usage: postalias [-Nfinoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file..."
	newaliasesUsage = "usage: newaliases"
)

// maxKey is the longest line of keys on standard input, in bytes.
const maxKey = 1 << 20

// mapTool is one call of postmap(1) or postalias(1).
type mapTool struct {
	tool
	alias                        bool // postalias
	query, remove                string
	list, insert, replace        bool
	noFold, files, quiet         bool
	headers, body, mime          bool
	defaultType                  string
	aliasMaps, aliasDatabase     []string
	hasQuery, hasRemove, hasList bool
}

// runPostmap is postmap(1).
func runPostmap(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	m := &mapTool{tool: tool{name: "postmap", stdin: stdin, stdout: stdout, stderr: stderr}}
	return m.run(args, "bc:d:fFhimnNopq:rsuUvw", postmapUsage)
}

// runPostalias is postalias(1).
func runPostalias(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	m := &mapTool{tool: tool{name: "postalias", stdin: stdin, stdout: stdout, stderr: stderr}, alias: true}
	return m.run(args, "Nc:d:finopq:rsuvw", postaliasUsage)
}

// runNewaliases is newaliases(1): postalias for every table of alias_database.
func runNewaliases(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	m := &mapTool{tool: tool{name: "postalias", stdin: stdin, stdout: stdout, stderr: stderr}, alias: true}
	if err := m.config(); err != nil {
		return m.fatal(1, "%v", err)
	}
	if len(m.aliasDatabase) == 0 {
		return 0
	}
	return m.each(m.aliasDatabase, m.create)
}

func (m *mapTool) run(args []string, spec, usage string) int {
	opts, rest, err := getopt(args, spec)
	if err != nil {
		fmt.Fprintf(m.stderr, "%s: %v\n", m.name, err)
		return m.fatal(1, "%s", usage)
	}
	for _, o := range opts {
		if why := m.option(o); why != "" {
			return m.fatal(1, "%s", why)
		}
	}
	if len(rest) == 0 {
		return m.fatal(1, "%s", usage)
	}
	if err := m.config(); err != nil {
		return m.fatal(1, "%v", err)
	}
	if (m.headers || m.body || m.mime) && m.query != "-" {
		return m.fatal(1, "specify -b -h or -m only with \"-q -\"")
	}
	if m.mime && !m.headers && !m.body {
		m.warn("ignoring -m option without -b or -h")
		m.mime = false
	}
	return m.do(rest)
}

// option takes one option; the result is a reason to end.
func (m *mapTool) option(o option) string {
	modes := map[byte]*bool{'b': &m.body, 'f': &m.noFold, 'F': &m.files, 'h': &m.headers, 'i': &m.insert, 'm': &m.mime,
		'r': &m.replace, 'w': &m.quiet}
	switch o.c {
	case 'c':
		m.dir = o.value
	case 'q', 'd', 's':
		if m.hasQuery || m.hasRemove || m.hasList {
			return "specify only one of -s -q or -d"
		}
		m.hasQuery, m.hasRemove, m.hasList = o.c == 'q', o.c == 'd', o.c == 's'
		if o.c == 'q' {
			m.query = o.value
		} else {
			m.remove = o.value
		}
		m.list = o.c == 's'
	default:
		// The others (-n -N -o -p -u -U -v) have no meaning without a database.
		if p := modes[o.c]; p != nil {
			*p = true
		}
	}
	return ""
}

// config reads what tables need of main.cf.
func (m *mapTool) config() error {
	if err := m.load(); err != nil {
		return m.noMain(err)
	}
	m.defaultType = m.main.Get("default_database_type")
	if m.defaultType == "" {
		m.defaultType = "hash"
	}
	m.aliasMaps = config.Fields(m.main.Get("alias_maps"))
	m.aliasDatabase = config.Fields(m.main.Get("alias_database"))
	return nil
}

// noMain is why main.cf cannot be read, in Postfix's words where it has some.
func (m *mapTool) noMain(err error) error {
	_, _, again := config.LoadMain(m.dir)
	var ce *config.Error
	if errors.As(again, &ce) && ce.Postfix != "" {
		return errors.New(ce.Postfix)
	}
	return err
}

func (m *mapTool) do(specs []string) int {
	switch {
	case m.hasQuery && m.query == "-":
		return m.queryInput(specs)
	case m.hasQuery:
		return m.queryOne(specs)
	case m.hasRemove:
		return m.delete(specs)
	case m.list:
		return m.each(specs[:1], m.sequence)
	case m.insert:
		return m.each(specs, m.add)
	}
	return m.each(specs, m.create)
}

// each does something to each table, up to the first failure.
func (m *mapTool) each(specs []string, do func(kind, name string) error) int {
	for _, s := range specs {
		kind, name := m.split(s)
		if err := do(kind, name); err != nil {
			return m.fatal(1, "%s", told(err))
		}
	}
	return 0
}

// split divides type:name; a name alone has the default type.
func (m *mapTool) split(spec string) (kind, name string) {
	kind, name, ok := strings.Cut(spec, ":")
	if !ok || strings.Contains(kind, "/") {
		return m.defaultType, spec
	}
	return kind, name
}

// told is an error in the words of strerror(3): the reason with a capital.
func told(err error) string {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err.Error()
	}
	why := []rune(pe.Err.Error())
	if len(why) > 0 {
		why[0] = unicode.ToUpper(why[0])
	}
	return pe.Op + " " + pe.Path + ": " + string(why)
}

// written tells whether postmap makes a database of tables of this type: then
// their text is checked, and NAME.db gets a new date.
func written(kind string) bool {
	return slices.Contains([]string{"hash", "btree", "lmdb", "cdb", "dbm", "sdbm"}, kind)
}

// noBulk is the error for types that are used as they are written.
func noBulk(kind string) error {
	return errors.New("unsupported dictionary type: " + kind + " does not support bulk-mode creation" + ".") // postmap(1) ends it so
}

func (m *mapTool) options() table.Options {
	return table.Options{Alias: m.alias, NoFold: m.noFold, AliasFiles: rewrite.AliasFiles(m.aliasMaps, m.aliasDatabase),
		Param: func(name string) (string, bool) {
			if _, set := m.main.Raw(name); !set {
				return "", false
			}
			return m.main.Get(name), true
		}}
}

// create checks a source and renews its stamp.
func (m *mapTool) create(kind, name string) error {
	if !written(kind) {
		if _, err := table.Open(kind+":"+name, m.options()); errors.Is(err, table.ErrType) {
			return err
		}
		return noBulk(kind)
	}
	problems, err := table.Compile(name, m.options())
	if err != nil {
		return err
	}
	for _, p := range problems {
		if !m.quiet || !strings.Contains(p, "duplicate entry") {
			m.warn("%s", p)
		}
	}
	return table.Stamp(name)
}

// open opens a table for look-ups and tells what is wrong with its text, for
// the types that postmap reads as text.
func (m *mapTool) open(kind, name string) (table.Table, error) {
	t, err := table.Open(kind+":"+name, m.options())
	if err != nil {
		return nil, err
	}
	if r, ok := t.(table.Reporter); ok && !written(kind) {
		for _, p := range r.Problems() {
			m.warn("%s", p)
		}
	}
	return t, nil
}

// queryOne prints the first value of a key; exit 1 says that no table has it.
func (m *mapTool) queryOne(specs []string) int {
	for _, s := range specs {
		t, err := m.open(m.split(s))
		if err != nil {
			return m.fatal(1, "%s", told(err))
		}
		v, found, err := t.Lookup(context.Background(), m.query)
		if err != nil {
			return m.fatal(1, "table %s: query error: %v", t.Name(), err)
		}
		if found {
			return m.print("", v)
		}
	}
	return 1
}

// print writes a result; with -F the value names files whose content counts.
func (m *mapTool) print(before, value string) int {
	if m.files {
		var b strings.Builder
		for _, name := range config.Fields(value) {
			text, err := os.ReadFile(name)
			if err != nil {
				return m.fatal(1, "%s", told(err))
			}
			b.Write(text)
		}
		value = b.String()
	}
	fmt.Fprintf(m.stdout, "%s%s\n", before, value)
	return 0
}

// queryInput prints the values of the keys that stand on standard input.
func (m *mapTool) queryInput(specs []string) int {
	var maps []table.Table
	for _, s := range specs {
		t, err := m.open(m.split(s))
		if err != nil {
			return m.fatal(1, "%s", told(err))
		}
		maps = append(maps, t)
	}
	found, code := false, 0
	ask := func(key string) bool {
		var one bool
		one, code = m.ask(maps, key)
		found = found || one
		return code == 0
	}
	var err error
	if m.headers || m.body {
		err = m.messageKeys(ask)
	} else {
		err = inputLines(m.stdin, ask)
	}
	switch {
	case code != 0:
		return code
	case err != nil:
		return m.fatal(1, "%v", err)
	case found:
		return 0
	}
	return 1
}

// ask prints "key<tab>value" of the first table that has key.
func (m *mapTool) ask(maps []table.Table, key string) (found bool, code int) {
	for _, t := range maps {
		v, ok, err := t.Lookup(context.Background(), key)
		if err != nil {
			return false, m.fatal(1, "table %s: query error: %v", t.Name(), err)
		}
		if ok {
			return true, m.print(key+"\t", v)
		}
	}
	return false, 0
}

// inputLines calls fn with each line until it returns false.
func inputLines(r io.Reader, fn func(string) bool) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxKey)
	for sc.Scan() {
		if !fn(sc.Text()) {
			return nil
		}
	}
	return sc.Err()
}

// sequence lists a table. An alias table ends with the entries that
// postalias(1) adds for NIS.
func (m *mapTool) sequence(kind, name string) error {
	t, err := m.open(kind, name)
	if err != nil {
		return err
	}
	l, ok := t.(table.Lister)
	if !ok {
		return fmt.Errorf("table %s: sequence operation is not supported", t.Name())
	}
	sep := "\t"
	if m.alias {
		sep = ":\t"
	}
	w := bufio.NewWriter(m.stdout)
	defer w.Flush()
	err = l.All(func(key, value string) error {
		_, err := w.WriteString(key + sep + value + "\n")
		return err
	})
	if err != nil || !m.alias || !written(kind) {
		return err
	}
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "@:\t@\nYP_LAST_MODIFIED:\t%s\nYP_MASTER_NAME:\t%s\n",
		strconv.FormatInt(fi.ModTime().Unix(), 10), m.main.Get("myhostname"))
	return nil
}

// edit is the change of a table's text.
func (m *mapTool) edit(kind, name string) (table.Edit, error) {
	if !written(kind) {
		if _, err := table.Open(kind+":"+name, m.options()); errors.Is(err, table.ErrType) {
			return table.Edit{}, err
		}
		return table.Edit{}, fmt.Errorf("%s:%s map requires O_RDONLY access mode", kind, name)
	}
	return table.Edit{Path: name, Alias: m.alias, NoFold: m.noFold}, nil
}

// delete removes keys; exit 1 says that no table had one.
func (m *mapTool) delete(specs []string) int {
	keys := []string{m.remove}
	if m.remove == "-" {
		keys = nil
		err := inputLines(m.stdin, func(k string) bool { keys = append(keys, k); return true })
		if err != nil {
			return m.fatal(1, "%v", err)
		}
	}
	gone := 0
	for _, s := range specs {
		kind, name := m.split(s)
		e, err := m.edit(kind, name)
		if err != nil {
			return m.fatal(1, "%v", err)
		}
		n, err := e.Delete(keys)
		if err == nil && n > 0 {
			err = table.Stamp(name)
		}
		if err != nil {
			return m.fatal(1, "%s", told(err))
		}
		if gone += n; n > 0 && m.remove != "-" {
			break
		}
	}
	if gone == 0 {
		return 1
	}
	return 0
}

// add appends the entries that stand on standard input, in the table's form.
func (m *mapTool) add(kind, name string) error {
	e, err := m.edit(kind, name)
	if f, made := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err == nil && made == nil {
		f.Close() // postmap -i makes a database that is not there; ours is its text
	}
	if err != nil {
		if !written(kind) && !errors.Is(err, table.ErrType) {
			err = noBulk(kind)
		}
		return err
	}
	entries, problems, err := table.ReadEntries(m.stdin, "stdin", m.options())
	if err != nil {
		return err
	}
	for _, p := range problems {
		m.warn("%s", p)
	}
	dups, err := e.Insert(entries, m.replace)
	if err != nil {
		return err
	}
	for _, k := range dups {
		if !m.quiet {
			m.warn("%s.db: duplicate entry: \"%s\"", name, k)
		}
	}
	return table.Stamp(name)
}
