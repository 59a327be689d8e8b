package postconf

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/sys/config"
)

// masterEdit is one request of the command line to edit master.cf.
type masterEdit struct {
	*wanted
	value string
}

// editMaster changes services (-M), columns (-F) or parameters (-P).
func (t *tool) editMaster(args []string) error {
	var edits []*masterEdit
	for _, a := range args {
		e, err := t.masterEdit(a)
		if err != nil {
			return err
		}
		edits = append(edits, e)
	}
	path := filepath.Join(t.dir, "master.cf")
	return rewrite(path, func(text string) (string, error) {
		m := &masterEditor{tool: t, path: path, text: text, edits: edits}
		return m.run()
	})
}

const editOptions = "-Me, -Fe, -Pe, -X, or -#"

// masterEdit reads one request.
func (t *tool) masterEdit(arg string) (*masterEdit, error) {
	pattern := strings.TrimLeft(arg, " \t\n\v\f\r")
	value := ""
	switch {
	case strings.Contains(arg, "\n"):
		return nil, fatalf("%s accept no multi-line input", editOptions)
	case strings.HasPrefix(pattern, "#"):
		return nil, fatalf("%s accept no comment input", editOptions)
	case t.mode&edit != 0:
		var problem string
		if pattern, value, problem = config.SplitNameValue(pattern); problem != "" {
			return nil, fatalf("%s: \"%s\"", problem, arg)
		}
	case strings.Contains(pattern, "="):
		return nil, fatalf("-X or -# requires names without value")
	}
	pattern = strings.TrimRight(pattern, " \t\n\v\f\r")
	e := &masterEdit{value: value}
	return e, t.checkEdit(e, arg, pattern)
}

// checkEdit splits the pattern and refuses what cannot be edited.
func (t *tool) checkEdit(e *masterEdit, arg, pattern string) error {
	parts, usage := 3, "-Pe or -PX requires service_name/type/parameter"
	switch {
	case t.mode&entries != 0:
		parts, usage = 2, "-Me, -MX or -M# requires service_name/type"
	case t.mode&fields != 0:
		usage = "-Fe or -FX requires service_name/type/field_name"
	}
	w, ok := parseWanted(pattern, parts, parts)
	if !ok {
		return fatalf("%s", usage)
	}
	w.text = arg
	e.wanted = w
	blank := t.mode&edit != 0 && strings.ContainsAny(e.value, " \t\r\n")
	switch {
	case t.mode&fields != 0 && w.parts[2] == "*":
		return fatalf("-Fe does not accept wild-card field name")
	case t.mode&fields != 0 && !slices.Contains(columnNames[:], w.parts[2]):
		return fatalf("invalid service attribute name: \"%s\"", w.parts[2])
	case t.mode&fields != 0 && blank && w.parts[2] != columnNames[command]:
		return fatalf("-Fe does not accept whitespace in non-command field")
	case t.mode&params != 0 && w.parts[2] == "*":
		return fatalf("-Pe does not accept wild-card parameter name")
	case t.mode&params != 0 && blank:
		return fatalf("-Pe does not accept whitespace in parameter value")
	}
	return nil
}

// masterEditor rewrites the text of a master.cf.
type masterEditor struct {
	*tool
	path    string
	text    string
	line    int // number of the last line taken
	edits   []*masterEdit
	out     strings.Builder
	touched bool // the current service is one of those asked for
}

func (m *masterEditor) run() (string, error) {
	for m.text != "" {
		line := m.take()
		switch {
		case !isContent(line):
			m.out.WriteString(line)
		case strings.IndexByte(" \t\n\v\f\r", line[0]) >= 0:
			m.keep(line)
		default:
			if err := m.service(line); err != nil {
				return "", err
			}
		}
	}
	if err := m.additions(); err != nil {
		return "", err
	}
	return m.out.String(), nil
}

// take returns the next physical line with its newline.
func (m *masterEditor) take() string {
	n := strings.IndexByte(m.text, '\n') + 1
	if n == 0 {
		n = len(m.text)
	}
	line := m.text[:n]
	m.text = m.text[n:]
	m.line++
	return line
}

// keep copies a line, or comments it out, or drops it with its service.
func (m *masterEditor) keep(line string) {
	switch {
	case !m.touched:
		m.out.WriteString(line)
	case m.mode&comment != 0:
		m.out.WriteString("#" + line)
	}
}

// service handles the first line of a service.
func (m *masterEditor) service(line string) error {
	f := strings.FieldsFunc(line, func(c rune) bool { return c < 128 && isBlank(byte(c)) })
	switch {
	case len(f) < 2:
		return fatalf("file %s: line %d: specify service name and type on the same line", m.path, m.line)
	case strings.Contains(f[0], "="):
		return fatalf("file %s: line %d: service name syntax \"%s\" is unsupported with %s", m.path, m.line, f[0], editOptions)
	case strings.ContainsAny(f[1], "=/"):
		return fatalf("file %s: line %d: service type syntax \"%s\" is unsupported with %s", m.path, m.line, f[1], editOptions)
	}
	m.touched = false
	var r *row
	for _, e := range m.edits {
		var err error
		if r, err = m.apply(e, r, f[0], f[1], line); err != nil {
			return err
		}
	}
	if r != nil {
		return m.printEntry(&m.out, true, r)
	}
	m.keep(line)
	return nil
}

// apply applies one request to the service name/kind that begins at line. r is
// the service as the requests before it left it, nil when it is unchanged.
func (m *masterEditor) apply(e *masterEdit, r *row, name, kind, line string) (*row, error) {
	if m.mode&entries != 0 && m.mode&edit != 0 {
		return m.replace(e, r, name, kind)
	}
	if !e.matches(name, kind) {
		return r, nil
	}
	m.touched = true
	e.matched++
	if m.mode&edit == 0 && m.mode&(params|exclude) != params|exclude {
		return r, nil // the lines are dropped or commented out
	}
	if r == nil {
		var err error
		if r, err = parseEntry(m.path, m.gobble(line)); err != nil {
			return nil, m.atLine(err)
		}
	}
	if m.mode&fields != 0 {
		return m.setField(r, slices.Index(columnNames[:], e.parts[2]), e.value)
	}
	r.setParam(e.parts[2], e.value, m.mode&edit != 0)
	return r, nil
}

// replace puts the whole new service in the place of the first that has the
// old or the new name, and takes the others out.
func (m *masterEditor) replace(e *masterEdit, r *row, name, kind string) (*row, error) {
	entry, err := parseEntry(m.path, e.value)
	if err != nil {
		return nil, m.badValue(err, e)
	}
	if !e.matches(name, kind) && (entry.Name != name || entry.Type != kind) {
		return r, nil
	}
	m.touched = true
	if e.matched++; e.matched == 1 {
		return entry, nil
	}
	return r, nil
}

func (m *masterEditor) badValue(err error, e *masterEdit) error {
	var ce *config.Error
	if errors.As(err, &ce) && strings.HasSuffix(ce.Postfix, "bad field count") || strings.HasPrefix(err.Error(), "bad field count") {
		return fatalf("bad field count: \"%s\"", e.text)
	}
	return err
}

func (m *masterEditor) atLine(err error) error {
	var ce *config.Error
	if errors.As(err, &ce) && strings.HasSuffix(ce.Postfix, "bad field count") {
		return fatalf("file %s: line %d: bad field count", m.path, m.line)
	}
	return err
}

// gobble takes the continuation lines of a service; the comments among them
// are written out at once, before it.
func (m *masterEditor) gobble(line string) string {
	for m.text != "" && strings.IndexByte("# \t\n\v\f\r", m.text[0]) >= 0 {
		if next := m.take(); isContent(next) {
			line += next
		} else {
			m.out.WriteString(next)
		}
	}
	return line
}

// setField replaces a column, or the command with its arguments.
func (m *masterEditor) setField(r *row, column int, value string) (*row, error) {
	columns := r.Columns
	args := ""
	for _, a := range r.Args {
		args += " " + braced(a)
	}
	if column == command {
		value, args = strings.TrimSpace(value), ""
	}
	columns[column] = value
	s, err := parseEntry(m.path, strings.Join(columns[:], " ")+args)
	var ce *config.Error
	if errors.As(err, &ce) {
		text, _, _ := strings.Cut(ce.Postfix, " in \"")
		return nil, fatalf("%s in \"%s\"", text, value)
	}
	return s, err
}

// setParam sets or removes an -o parameter.
func (r *row) setParam(name, value string, set bool) {
	found := false
	i := 0
	for i < len(r.Args) && strings.HasPrefix(r.Args[i], "-") && r.Args[i] != "--" {
		if r.Args[i] != "-o" || i+1 >= len(r.Args) {
			i++
			continue
		}
		if !strings.HasPrefix(r.Args[i+1], name+"=") {
			i += 2
			continue
		}
		found = true
		if set {
			r.Args[i+1] = name + "=" + value
			i += 2
		} else {
			r.Args = slices.Delete(r.Args, i, i+2)
		}
	}
	if set && !found {
		r.Args = slices.Insert(r.Args, i, "-o", name+"="+value)
	}
}

// additions appends the new services that replaced none, and names requests
// that matched nothing.
func (m *masterEditor) additions() error {
	for _, e := range m.edits {
		if e.matched > 0 {
			continue
		}
		if m.mode&entries == 0 {
			m.warn("unmatched service_name/type: \"%s\"", e.text)
			continue
		}
		if m.mode&edit == 0 {
			continue
		}
		r, err := parseEntry(m.path, e.value)
		if err != nil {
			return m.badValue(err, e)
		}
		if err := m.printEntry(&m.out, true, r); err != nil {
			return err
		}
	}
	return nil
}
