package postconf

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"packetboat/internal/sys/config"
)

// openError returns Postfix's words for a file that does not open.
func openError(err error, path string) (string, bool) {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return "", false
	}
	return "open " + path + ": " + reason(pe.Err), true
}

// reason returns the text of a system error as strerror(3) writes it.
func reason(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// userParams finds the parameters that the configuration itself defines: names
// that some value refers to and that have a value, restriction classes, and the
// parameters of old-style table definitions. Names that are referred to and
// defined nowhere give a warning.
func (t *tool) userParams() error {
	t.restrictions = map[string]bool{}
	t.visited = map[string]bool{}
	shared := map[string]map[string]string{}
	for _, r := range t.rows {
		if len(r.Options) == 0 && shared[r.ID()] == nil {
			continue
		}
		// Services of one name and type share their parameters.
		if r.set = shared[r.ID()]; r.set == nil {
			r.set = map[string]string{}
			shared[r.ID()] = r.set
		}
		r.valid = map[string]bool{}
		for _, o := range r.Options {
			r.set[o.Name] = o.Value
		}
	}
	for _, r := range t.rows {
		if r.set != nil {
			if err := t.scanSpace(r.set, r); err != nil {
				return err
			}
		}
	}
	if err := t.machineDefaults(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.table)) {
		p := t.table[name]
		if _, set := t.values.set[name]; !p.raw && !set {
			t.scan(t.standard(p), nil)
		}
	}
	return t.scanSpace(t.values.set, nil)
}

// scan flags the names that a value refers to.
func (t *tool) scan(value string, r *row) {
	if strings.IndexByte(value, '$') < 0 {
		return
	}
	if err := config.References(value, func(name string) { t.flagUser(name, false, r) }); err != nil {
		t.warn("%v", err)
	}
}

// flagUser makes a name valid where it has a value: in the service r, in
// main.cf, or, when main.cf refers to it, in any service.
func (t *tool) flagUser(name string, dbms bool, r *row) {
	source, known := "main.cf", false
	if r != nil {
		source = "master.cf"
	}
	if _, ok := r.own(name); ok {
		r.valid[name], known = true, true
	} else if _, ok := t.values.set[name]; ok {
		known = true
		if t.table[name] == nil {
			t.table[name] = &param{name: name, class: classUser, dbms: dbms, fixed: true}
		}
	}
	if r == nil {
		for _, s := range t.rows {
			if _, ok := s.own(name); ok {
				s.valid[name], known = true, true
			}
		}
	}
	if !known && !dbms && t.table[name] == nil {
		t.warn("%s/%s: undefined parameter: %s", t.dir, source, name)
	}
}

// own returns the value of an -o option of the service.
func (r *row) own(name string) (string, bool) {
	if r == nil {
		return "", false
	}
	v, ok := r.set[name]
	return v, ok
}

// scanSpace scans the values of main.cf (r is nil) or of a service.
func (t *tool) scanSpace(set map[string]string, r *row) error {
	if err := t.scanClasses(set, r); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value := set[name]
		if r != nil && t.restrictions[name] {
			r.valid[name] = true
		}
		p := t.table[name]
		if p != nil && p.readOnly {
			source := "main.cf"
			if r != nil {
				source = "master.cf"
			}
			t.warn("%s/%s: read-only parameter assignment: %s=%s", t.dir, source, name, value)
			delete(set, name)
			continue
		}
		if p != nil && p.class == classLegacy {
			p.class = classUser // set, so it is shown
		}
		if p != nil && p.raw {
			continue
		}
		t.scan(value, r)
		if p != nil && (p.class == classBuiltin || p.class == classService) {
			if err := t.scanTables(value, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanClasses flags the restriction classes that smtpd_restriction_classes names.
func (t *tool) scanClasses(set map[string]string, r *row) error {
	list, ok := set["smtpd_restriction_classes"]
	if !ok {
		return nil
	}
	list, err := config.ExpandWith(list, func(name string, _ bool) (string, bool) {
		v, ok := set[name]
		return v, ok
	})
	if err != nil {
		t.warn("%v", err)
		return fatalf("dictionary mail_dict: macro processing error")
	}
	for _, name := range strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c < 128 && isBlank(byte(c)) }) {
		if r == nil {
			t.restrictions[name] = true
		}
		t.flagUser(name, false, r)
	}
	return nil
}

// scanTables looks for type:name items in an expanded value.
func (t *tool) scanTables(value string, r *row) error {
	value, err := t.expandEval(value, r)
	if err != nil {
		return err
	}
	t.tables(value, r, 0)
	return nil
}

// expandEval expands a value whatever the options ask for.
func (t *tool) expandEval(value string, r *row) (string, error) {
	saved := t.mode
	t.mode = evaluate
	defer func() { t.mode = saved }()
	return t.expand(value, r)
}

// maxTableDepth bounds tables inside tables in braces.
const maxTableDepth = 20

// tables handles each item of a list that may be type:name, with proxy: before
// it and braces around it.
func (t *tool) tables(list string, r *row, depth int) {
	if depth > maxTableDepth {
		return
	}
	for _, item := range config.Fields(list) {
		if item[0] == '{' {
			t.tables(t.unbrace(item, r), r, depth+1)
			continue
		}
		kind, name, ok := strings.Cut(item, ":")
		for ok && kind == "proxy" {
			kind, name, ok = strings.Cut(name, ":")
		}
		switch {
		case !ok || name == "" && config.TableParams(kind) == nil || strings.HasPrefix(name, "."):
		case strings.HasPrefix(name, "/"):
			if config.TableParams(kind) != nil {
				t.checkTable(kind, name)
			}
		case strings.HasPrefix(name, "{"):
			t.tables(t.unbrace(name, r), r, depth+1)
		default:
			for _, s := range config.TableParams(kind) {
				t.flagUser(name+"_"+s, true, r)
			}
		}
	}
}

// unbrace takes the braces off an item.
func (t *tool) unbrace(item string, r *row) string {
	level := 0
	for i := 0; i < len(item); i++ {
		switch item[i] {
		case '{':
			level++
		case '}':
			level--
		}
		if level == 0 {
			if i+1 < len(item) {
				t.warnIn(r, "syntax error after '}' in \""+item+"\"")
			}
			return item[1:i]
		}
	}
	t.warnIn(r, "missing '}' in \""+item+"\"")
	return item[1:]
}

func (t *tool) warnIn(r *row, text string) {
	if r != nil {
		t.warn("master.cf:%s: %s", r.ID(), text)
		return
	}
	t.warn("main.cf: %s", text)
}

// checkTable reads the definition of a table and warns of names that the type
// does not know. A file that may not be read is passed over: it holds passwords.
func (t *tool) checkTable(kind, path string) {
	if t.visited[kind+":"+path] {
		return
	}
	t.visited[kind+":"+path] = true
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() {
		t.warn("open \"%s\" configuration \"%s\": not a regular file", kind, path)
		return
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		if !errors.Is(err, fs.ErrPermission) {
			t.warn("open \"%s\" configuration \"%s\": %s", kind, path, reason(pe.Err))
		}
		return
	}
	def, warns, err := config.ParseMain("", path, string(text))
	for _, w := range warns {
		t.warn("%s", w.Postfix)
	}
	if err != nil {
		t.warn("%v", err)
		return
	}
	set := map[string]string{}
	for _, s := range def.Settings() {
		set[s.Name] = s.Value
	}
	for _, s := range config.TableParams(kind) {
		delete(set, s)
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		t.warn("%s:%s: unused parameter: %s=%s", kind, path, name, set[name])
	}
}
