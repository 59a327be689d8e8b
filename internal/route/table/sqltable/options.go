package sqltable

import (
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/route/table/mapfile"
)

// clientOptions are the settings of an option file of MySQL, names with "-".
type clientOptions map[string]string

// maxIncludes bounds option files that include others.
const maxIncludes = 10

// readOptions reads the group [client], and option_group after it, of option_file
// or of the machine's my.cnf. With an empty option_group and no file none is read.
func (m *mysqlSetup) readOptions() clientOptions {
	o := clientOptions{}
	file, group := m.env.Params.Str("option_file", ""), m.env.Params.Str("option_group", "client")
	switch {
	case file != "":
		b, err := m.env.File(file)
		if err != nil {
			m.env.Params.Fail(err)
			return o
		}
		m.parseOptions(string(b), []string{"client", group}, o, 0)
	case group != "":
		for _, f := range []string{"/etc/my.cnf", "/etc/mysql/my.cnf"} {
			m.includeOptions(f, []string{"client", group}, o, 0)
		}
	}
	return o
}

// includeOptions reads one file, if it can be read: libmysqlclient, too, passes
// over what it cannot read.
func (m *mysqlSetup) includeOptions(path string, groups []string, o clientOptions, depth int) {
	b, err := m.env.File(path)
	if err == nil && depth < maxIncludes {
		m.parseOptions(string(b), groups, o, depth)
	}
}

// parseOptions reads "name = value" lines below [group] lines; later ones count.
func (m *mysqlSetup) parseOptions(text string, groups []string, o clientOptions, depth int) {
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		include, path, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case include == "!include":
			m.includeOptions(strings.TrimSpace(path), groups, o, depth+1)
		case include == "!includedir":
			files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(path), "*.cnf")) // well-formed
			for _, f := range files {
				m.includeOptions(f, groups, o, depth+1)
			}
		case line[0] == '[':
			in = slices.Contains(groups, strings.Trim(line, "[] "))
		case in:
			name, value, _ := strings.Cut(line, "=")
			o[strings.ReplaceAll(strings.TrimSpace(name), "_", "-")] = optionValue(strings.TrimSpace(value))
		}
	}
}

// optionValue takes quotes, escapes and a comment off a value.
func optionValue(v string) string {
	if len(v) > 1 && (v[0] == '"' || v[0] == '\'') {
		if end := strings.IndexByte(v[1:], v[0]); end >= 0 {
			v = v[1 : 1+end]
		}
	} else if i := strings.IndexByte(v, '#'); i > 0 && mapfile.IsSpace(v[i-1]) {
		v = strings.TrimSpace(v[:i])
	}
	return strings.NewReplacer(`\\`, `\`, `\s`, " ", `\t`, "\t", `\n`, "\n", `\r`, "\r", `\b`, "\b").Replace(v)
}
