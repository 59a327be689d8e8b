package check

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"packetboat/cmd/mailadm/where"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/route/table/mapfile"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
)

// tableTypes are the types of tables that words of a value may begin with; other
// words with a colon are addresses of servers or transports.
const tableTypes = ` hash btree lmdb cdb dbm sdbm texthash regexp pcre cidr inline static environ fail unix unionmap pipemap
randmap proxy tcp socketmap memcache mysql pgsql ldap sqlite `

// tables opens every table that main.cf and the services name.
func (c *checker) tables() {
	names := map[string]bool{"alias_maps": true}
	for _, m := range c.mains() {
		for _, s := range m.Settings() {
			names[s.Name] = true
		}
	}
	for _, svc := range c.services {
		for _, s := range svc.Options {
			names[s.Name] = true
		}
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	for _, m := range c.mains() {
		for _, n := range sorted {
			c.tablesOf(m, n)
		}
	}
}

// tablesOf opens the tables of one parameter.
func (c *checker) tablesOf(m *config.Main, name string) {
	if isCache(name) || where.Of(m, name).File == "" && name != "alias_maps" {
		return
	}
	list := where.Words(m, name)
	for i, w := range list.Words {
		for strings.HasPrefix(w, "!") {
			w = w[1:]
		}
		inner := []string{w}
		if strings.HasPrefix(w, "{") && strings.HasSuffix(w, "}") {
			inner = config.Fields(w[1 : len(w)-1])
		}
		for _, spec := range inner {
			kind, rest, ok := strings.Cut(spec, ":")
			if !ok || !strings.Contains(strings.ReplaceAll(tableTypes, "\n", " "), " "+kind+" ") || kind == "unix" && !strings.HasSuffix(rest, ".byname") {
				continue
			}
			c.table(m, name, spec, list.At(i))
		}
	}
}

// isCache tells the parameters whose tables the mail system itself fills: they
// have no source.
func isCache(name string) bool {
	return strings.HasSuffix(name, "_cache_database") || strings.HasSuffix(name, "_cache_map") || name == "address_verify_map"
}

// table opens one table and tells what its reader had to skip.
func (c *checker) table(m *config.Main, name, spec string, at where.Place) {
	o := c.tableOptions(m, name)
	t, err := table.Open(spec, o)
	if err != nil {
		c.place(at, config.SeverityError, openHint(spec, err), "%s: %v", spec, err)
		return
	}
	_, path := where.Source(spec)
	if r, ok := t.(table.Reporter); ok {
		for _, text := range r.Problems() {
			c.skipped(path, text, o.Alias || slices.Contains(o.AliasFiles, path))
		}
	}
	if path != "" {
		c.readable(path)
	}
}

// tableOptions are those with which the parameter's reader opens its tables.
func (c *checker) tableOptions(m *config.Main, name string) table.Options {
	o := c.kit.Tables(m)
	o.Missing = nil
	switch name {
	case "alias_maps", "alias_database":
		o.Alias, o.NoRegSub, o.Approve = true, true, nil // local(8) reads them itself
		return o
	case "transport_maps", "sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps",
		"mailbox_transport_maps", "fallback_transport_maps":
		o.NoRegSub = true
	}
	o.AliasFiles = rewrite.AliasFiles(config.Fields(c.main.Get("alias_maps")), config.Fields(c.main.Get("alias_database")))
	return o
}

func openHint(spec string, err error) string {
	_, path := where.Source(spec)
	switch {
	case errors.Is(err, table.ErrType):
		return "use a type that is built in: hash, cdb, lmdb, texthash, pcre, regexp, cidr, inline, unionmap, pipemap or one of a data base"
	case errors.Is(err, fs.ErrNotExist):
		var pe *fs.PathError
		if errors.As(err, &pe) {
			path = pe.Path
		}
		return "make " + path + ", or take the table out: mail that needs it waits"
	case strings.Contains(err.Error(), "proxy_read_maps"):
		return "take proxy: off, or set proxy_read_maps to its default and proxy:" + strings.TrimPrefix(spec, "proxy:")
	case errors.Is(err, fs.ErrPermission):
		return "run mailadm check as root"
	}
	return "correct the table, or take it out: mail that needs it waits"
}

// placed finds file and line in what a reader of tables says.
var placed = regexp.MustCompile(`^(?:[a-z]+ map )?(/.*), line ([0-9]+): (.*)$`)

// skipped adds what a table's reader had to say about a line.
func (c *checker) skipped(path, text string, isAlias bool) {
	p := config.Problem{File: path, Severity: config.SeverityWarning, Text: text,
		Hint: "correct the line: without it the table answers as if it were not there"}
	if m := placed.FindStringSubmatch(text); m != nil {
		p.Text = strings.TrimSuffix(strings.TrimSuffix(m[3], ": skipping this rule"), ": ignoring this rule")
		p.Line, _ = strconv.Atoi(m[2])
	}
	if _, key, ok := strings.Cut(text, "duplicate entry: "); ok {
		key, _ = strconv.Unquote(key)
		first, again := entryLines(path, key, isAlias)
		p.Line, p.Text = again, "duplicate entry for "+key
		p.Hint = "take one of them out: line " + strconv.Itoa(first) + " counts, this one is never used"
	}
	c.add(p)
}

// entryLines finds the first two lines that give a key a value.
func entryLines(path, key string, isAlias bool) (first, second int) {
	eachEntry(path, isAlias, func(k, _ string, line int) bool {
		switch {
		case !strings.EqualFold(k, key):
		case first == 0:
			first = line
		default:
			second = line
			return false
		}
		return true
	})
	return first, second
}

// eachEntry calls fn for the entries of a text source until it returns false.
func eachEntry(path string, isAlias bool, fn func(key, value string, line int) bool) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for l := mapfile.NewLines(io.LimitReader(f, maxSource)); ; {
		text, n, err := l.Next()
		if err != nil {
			return
		}
		var k, v string
		if isAlias {
			k, v, err = alias.ParseLine(string(text))
		} else {
			kb, vb := mapfile.SplitKey(bytes.Clone(text))
			k, v = string(kb), string(vb)
		}
		if err == nil && !fn(k, v, n) {
			return
		}
	}
}

// maxSource is how much of a table is looked at line by line, in octets.
const maxSource = 64 << 20

// statTarget is what a path leads to, over links.
func statTarget(path string) (disk.Stat, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return disk.Stat{}, err
	}
	return disk.StatPath(real)
}

// readable warns of a table that everybody may write, and of one that the parent
// of mtad does not open for its engine.
func (c *checker) readable(path string) {
	st, err := statTarget(path)
	if err != nil {
		return
	}
	if st.Mode.Perm()&0o002 != 0 {
		c.warn(path, "chmod o-w "+path, "everybody may write this table: whoever does decides about all mail")
	}
	f, err := disk.OpenConfigured(path)
	if err != nil {
		c.warn(path, "name the file itself in main.cf", "%s", strings.TrimPrefix(err.Error(), "open "+path+": "))
		return
	}
	f.Close()
}
