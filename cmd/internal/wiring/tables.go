package wiring

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
)

// Tables says how tables are opened; m is main.cf with a service's own options.
func (k *Kit) Tables(m *config.Main) table.Options {
	o := table.Options{Missing: k.Missing, OpenFile: k.OpenFile, Param: param(m), Approve: k.approve}
	if k.Logs != nil {
		log := k.Logs.Program("proxymap")
		o.Warn = func(problem string) { log.Warn("%s", problem) }
	}
	return o
}

// param finds the settings of tables such as ldap:NAME, which stand in main.cf.
func param(m *config.Main) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		_, set := m.Raw(name)
		return m.Get(name), set
	}
}

// approve refuses what proxymap(8) would not open: whoever may ask it gets
// answers with its rights, so that proxy_read_maps lists all it may open.
func (k *Kit) approve(spec string) error {
	m := k.Main
	for _, svc := range k.Services {
		if svc.Command == "proxymap" {
			m = m.With(svc.Options...)
			break
		}
	}
	if slices.Contains(approved(nil, m.Get("proxy_read_maps"), 0), spec) {
		return nil
	}
	return fmt.Errorf("proxymap service is not configured for table \"%s\"; to approve this table for read-only access, list proxy:%s in main.cf:proxy_read_maps", spec, spec)
}

// maxNesting bounds tables inside tables.
const maxNesting = 8

// approved returns the tables that a list names with "proxy:", without it, those
// inside unionmap and pipemap too.
func approved(out []string, list string, depth int) []string {
	for _, item := range config.Fields(list) {
		if inner, ok := braced(item); ok {
			if words := config.Fields(inner); len(words) > 0 {
				item = words[0]
			}
		}
		kind, rest, _ := strings.Cut(item, ":")
		switch inner, nested := braced(rest); {
		case (kind == "unionmap" || kind == "pipemap") && nested && depth < maxNesting:
			out = approved(out, inner, depth+1)
		case kind == "proxy":
			for strings.HasPrefix(rest, "proxy:") {
				rest = strings.TrimPrefix(rest, "proxy:")
			}
			if strings.Contains(rest, ":") {
				out = append(out, rest)
			}
		}
	}
	return out
}

// braced takes the braces off "{ text }".
func braced(s string) (inner string, ok bool) {
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// TableFiles returns the files of all tables and lists that the configuration
// names, with their databases and certificates: what the engine may ask its
// parent to open. It reads files of settings and of lists; open = nil with the
// caller's rights.
func TableFiles(m *config.Main, services []config.Service, open config.Opener) []string {
	out := settingsFiles(nil, m, m.Settings(), open)
	for _, s := range services {
		if len(s.Options) > 0 {
			own := m.With(s.Options...)
			out = settingsFiles(out, own, append(slices.Clip(m.Settings()), s.Options...), open)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// settingsFiles adds the files that the values of settings in m name.
func settingsFiles(out []string, m *config.Main, list []config.Setting, open config.Opener) []string {
	o := table.Options{Param: param(m), OpenFile: open}
	for _, s := range list {
		p, _ := config.LookupParam(s.Name)
		out = listFiles(out, m.Get(s.Name), o, p.Type == config.TypeMatch, 0)
	}
	for _, name := range [...]string{"alias_maps", "alias_database"} { // their defaults name files
		out = listFiles(out, m.Get(name), o, false, 0)
	}
	return out
}

// listFiles adds the files that the items of a list name; with lists, /files of
// further items too.
func listFiles(out []string, value string, o table.Options, lists bool, depth int) []string {
	for _, item := range config.Fields(value) {
		item = strings.TrimLeft(item, "!")
		inner, nested := braced(item)
		switch {
		case depth > maxNesting:
		case nested:
			out = listFiles(out, inner, o, lists, depth+1)
		case lists && strings.HasPrefix(item, "/"):
			out = patternFiles(append(out, item), item, o, depth)
		case strings.Contains(item, ":"):
			out = append(out, table.Files(item, o)...)
		}
	}
	return out
}

// TableFolders returns the folders of such files: a reader sees there when a file
// is replaced, SQLite has files beside a database, and certificates are listed.
func TableFolders(files []string) []string {
	var out []string
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && fi.IsDir() {
			out = append(out, f)
		} else if dir := filepath.Dir(f); dir != "/" {
			out = append(out, dir)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// patternFiles adds what a file of patterns names.
func patternFiles(out []string, path string, o table.Options, depth int) []string {
	text, err := config.Opener(o.OpenFile).Read(path)
	if err != nil {
		return out // its reader says so
	}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		out = listFiles(out, line, o, true, depth+1)
	}
	return out
}
