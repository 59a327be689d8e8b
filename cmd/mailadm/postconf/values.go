package postconf

import (
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"packetboat/internal/sys/config"
)

// values are the assignments of main.cf and of -o options, the last one of each
// name. Unlike a config.Main they can be taken out.
type values struct {
	dir  string
	set  map[string]string
	main *config.Main // for defaults that come from the machine
}

func newValues(dir string, custom bool) *values {
	v := &values{dir: dir, set: map[string]string{}}
	if custom {
		v.set["config_directory"] = dir
	}
	v.main, _, _ = config.ParseMain(dir, filepath.Join(dir, "main.cf"), "")
	return v
}

// hot is how young a main.cf must be for Postfix to read it again, and to
// repeat its warnings, until it has cooled down.
const hot = 2 * time.Second

// load reads main.cf.
func (t *tool) load() error {
	main, warns, err := config.LoadMain(t.dir)
	last := math.MaxInt // the line that ends the reading
	var ce *config.Error
	if errors.As(err, &ce) && ce.Line > 0 {
		last = ce.Line
	}
	for _, w := range warns {
		if w.Postfix != "" && !isOverride(w) && w.Line <= last {
			t.warn("%s", w.Postfix)
		}
	}
	if err != nil {
		t.assignBefore(ce)
		return err
	}
	t.values.main = main
	t.assign(main)
	if fi, err := os.Stat(main.Path()); err == nil && time.Since(fi.ModTime()) < hot {
		t.assign(main)
	}
	return nil
}

// assignBefore enters what stands before the line that ends the reading: Postfix
// has warned of it by then.
func (t *tool) assignBefore(ce *config.Error) {
	if ce == nil || ce.Line == 0 {
		return
	}
	text, err := os.ReadFile(ce.File)
	if err != nil {
		return
	}
	lines := strings.SplitAfter(string(text), "\n")
	main, _, err := config.ParseMain(t.dir, ce.File, strings.Join(lines[:min(ce.Line-1, len(lines))], ""))
	if err == nil {
		t.assign(main)
	}
}

func isOverride(w config.Warning) bool { return len(w.Text) > 10 && w.Text[:10] == "overriding" }

// assign enters the assignments of the file over those that are there, and
// warns of each that changes a value.
func (t *tool) assign(main *config.Main) {
	for _, s := range main.Settings() {
		if old, ok := t.values.set[s.Name]; ok && old != s.Value {
			t.warn("%s, line %d: overriding earlier entry: %s=%s", main.Path(), s.Line, s.Name, old)
		}
		t.values.set[s.Name] = s.Value
	}
}

// overrides applies the -o options.
func (t *tool) overrides() error {
	for _, o := range t.over {
		name, value, problem := config.SplitNameValue(o)
		if problem != "" {
			return fatalf("invalid parameter override: %s: %s", o, problem)
		}
		t.values.set[name] = value
		t.values.main = t.values.main.With(config.Setting{Name: name, Value: value})
	}
	return nil
}

// names returns the names that are set, sorted.
func (v *values) names() []string { return slices.Sorted(maps.Keys(v.set)) }

// paramClass says where a parameter comes from.
type paramClass int

const (
	classBuiltin paramClass = 1 << iota
	classService
	classUser
	classLegacy
	classAll = classBuiltin | classService | classUser
)

// param is a parameter that is valid.
type param struct {
	name     string
	class    paramClass
	raw      bool
	readOnly bool
	dbms     bool
	value    string // the default, when it is not in the table
	fixed    bool   // value holds
}

// legacy are parameters of earlier versions, known for their values' sake.
var legacy = [...]string{"virtual_maps", "fallback_relay", "authorized_verp_clients", "smtpd_client_connection_limit_exceptions",
	"postscreen_dnsbl_ttl", "postscreen_blacklist_action", "postscreen_dnsbl_whitelist_threshold", "postscreen_whitelist_interfaces",
	"lmtp_per_record_deadline", "smtp_per_record_deadline", "smtpd_per_record_deadline", "tlsproxy_client_level", "tlsproxy_client_policy"}

// builtins fills the table of valid parameters with those of the programs.
func (t *tool) builtins() {
	t.table = map[string]*param{}
	for _, p := range config.Params() {
		t.table[p.Name] = &param{name: p.Name, class: classBuiltin, raw: p.Type == config.TypeRaw}
		if p.Own() {
			t.table[p.Name].class = classLegacy // shown where it is set
		}
	}
	for _, name := range legacy {
		t.table[name] = &param{name: name, class: classLegacy, fixed: true}
	}
	for name, value := range map[string]string{"process_name": t.name, "service_name": ""} {
		t.table[name] = &param{name: name, class: classBuiltin, readOnly: true, value: value, fixed: true}
	}
	t.table["process_id"].readOnly = true
	// The default is that of the program, whatever -c says.
	t.table["config_directory"].value, t.table["config_directory"].fixed = config.DefaultDir, true
}

// byService adds the parameters that belong to the delivery services and the
// spawn(8) services of master.cf.
func (t *tool) byService() {
	suffixes := config.ServiceSuffixes()
	for _, r := range t.rows {
		for _, s := range suffixes {
			if !serves(r.Command, s.Name) {
				continue
			}
			name := r.Name + s.Name
			if p := t.table[name]; p != nil {
				p.class = classService
				continue
			}
			t.table[name] = &param{name: name, class: classService, value: s.Default, fixed: true}
		}
	}
}

// serves tells whether a daemon program has service parameters of an ending.
func serves(program, suffix string) bool {
	switch program {
	case "spawn":
		return suffix == "_time_limit"
	case "pipe":
		return true
	case "local", "error", "virtual", "smtp", "lmtp":
		return suffix != "_time_limit"
	}
	return false
}

// standard returns the default of a parameter.
func (t *tool) standard(p *param) string {
	if p.fixed {
		return p.value
	}
	value, _ := t.values.main.Default(p.name)
	return value
}

// lookup returns the unexpanded value of a parameter: of the service r (which
// may be nil), of main.cf, or, unless only set values are asked for, the default.
func (t *tool) lookup(m mode, name string, r *row) (string, bool) {
	if m&defaults == 0 {
		if v, ok := r.lookup(name); ok {
			return v, true
		}
		if v, ok := t.values.set[name]; ok {
			return v, true
		}
		if m&nonDefault != 0 {
			return "", false
		}
	}
	if p := t.table[name]; p != nil {
		return t.standard(p), true
	}
	return "", false
}

// expand expands the $names of a value.
func (t *tool) expand(value string, r *row) (string, error) {
	m := t.mode &^ nonDefault
	out, err := config.ExpandWith(value, func(name string, _ bool) (string, bool) { return t.lookup(m, name, r) })
	return out, t.badMacro(err, "macro processing error")
}

// badMacro tells of a reference that cannot be understood, and what ends there.
func (t *tool) badMacro(err error, text string) error {
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), config.BadConversion):
		return fatal{err.Error()}
	}
	t.warn("%v", err)
	return fatal{text}
}

// machineDefaults evaluates, as Postfix's own does at its start, what the
// defaults of mydomain, myhostname and mynetworks are made from where main.cf
// does not set them.
func (t *tool) machineDefaults() error {
	for _, d := range [...]struct{ name, from string }{{"mydomain", "myhostname"}, {"myhostname", "mydomain"},
		{"mynetworks", "inet_interfaces"}, {"mynetworks", "inet_protocols"}, {"mynetworks", "mynetworks_style"}} {
		if _, set := t.values.set[d.name]; set {
			continue
		}
		value, set := t.values.set[d.from]
		if !set && d.from != "mynetworks_style" {
			continue
		}
		if !set {
			value, _ = t.values.main.Default(d.from)
		}
		value, err := config.ExpandWith(value, func(name string, _ bool) (string, bool) {
			v, ok := t.values.set[name]
			if p := t.table[name]; !ok && p != nil && d.from == "mynetworks_style" {
				return t.standard(p), true
			}
			return v, ok
		})
		text := "macro processing error"
		if set {
			text = "dictionary mail_dict: " + text
		}
		if err := t.badMacro(err, text); err != nil {
			return err
		}
		if bad := config.BadWord(d.from, value); bad != "" {
			return fatal{bad}
		}
	}
	return nil
}
