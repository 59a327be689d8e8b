package postconf

import (
	"maps"
	"slices"

	"packetboat/internal/sys/config"
)

// Widths of the output when it is folded.
const (
	lineLimit = 80
	indent    = "    "
)

// showMain prints main.cf parameters: all of them, or those named.
func (t *tool) showMain(names []string) error {
	if t.mode&defaults == 0 {
		if err := t.load(); err != nil {
			return err
		}
		if err := t.overrides(); err != nil {
			return err
		}
	}
	t.builtins()
	if err := t.loadMaster(false); err != nil {
		return err
	}
	t.byService()
	if t.mode&defaults == 0 {
		if err := t.userParams(); err != nil {
			return err
		}
	}
	if err := t.printParams(names); err != nil {
		return err
	}
	if t.mode&defaults == 0 {
		t.unusedMain()
		t.unusedMaster()
	}
	return nil
}

func (t *tool) printParams(names []string) error {
	if len(names) == 0 {
		for _, name := range slices.Sorted(maps.Keys(t.table)) {
			if p := t.table[name]; p.class&t.classes != 0 {
				if err := t.printParam(p); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, name := range names {
		p := t.table[name]
		if p == nil {
			t.warn("%s: unknown parameter", name)
			continue
		}
		if err := t.printParam(p); err != nil {
			return err
		}
	}
	return nil
}

func (t *tool) printParam(p *param) error {
	value, ok := t.lookup(t.mode, p.name, nil)
	if !ok {
		return nil
	}
	if t.mode&evaluate != 0 && !p.raw && t.mode&hideValue == 0 {
		var err error
		if value, err = t.expand(value, nil); err != nil {
			return err
		}
	}
	if t.mode&asJSON != 0 {
		return t.paramInfo(p, value)
	}
	t.printNameValue(p.name, value)
	return nil
}

// printNameValue prints "name = value", or the half that is asked for.
func (t *tool) printNameValue(name, value string) {
	switch {
	case t.mode&hideValue != 0:
		t.printLine(name)
	case t.mode&hideName != 0:
		t.printLine(value)
	default:
		t.printLine(name + " = " + value)
	}
}

// printLine prints a text with its white space reduced to single spaces, and
// folded when -f asks for it.
func (t *tool) printLine(text string) {
	length := 0
	for text != "" {
		n := 0
		for n < len(text) && !isBlank(text[n]) {
			n++
		}
		word := text[:n]
		text = text[n:]
		for text != "" && isBlank(text[0]) {
			text = text[1:]
		}
		if n == 0 {
			continue
		}
		if length > 0 {
			if t.mode&fold == 0 || length+n < lineLimit {
				t.out.WriteString(" ")
				length++
			} else {
				t.out.WriteString("\n" + indent)
				length = len(indent)
			}
		}
		t.out.WriteString(word)
		length += n
	}
	t.out.WriteString("\n")
}

// isBlank tells the characters between words: those of Postfix's CHARS_SPACE.
func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// unusedMain warns of assignments in main.cf whose names nothing uses.
func (t *tool) unusedMain() {
	for _, name := range t.values.names() {
		if t.table[name] == nil {
			t.warn("%s/main.cf: unused parameter: %s=%s", t.dir, name, t.values.set[name])
		}
	}
}

// unusedMaster does the same for master.cf.
func (t *tool) unusedMaster() {
	for _, r := range t.rows {
		for _, name := range slices.Sorted(maps.Keys(r.set)) {
			if t.table[name] == nil && !r.valid[name] {
				t.warn("%s/master.cf: unused parameter: %s=%s", t.dir, name, r.set[name])
			}
		}
	}
}

// row is a service of master.cf with its own parameters.
type row struct {
	config.Service
	set   map[string]string // nil when the service has no -o option
	valid map[string]bool   // names of set that something refers to
}

// lookup returns the value that a service gives a parameter.
func (r *row) lookup(name string) (string, bool) {
	if r == nil {
		return "", false
	}
	switch name {
	case "process_name", "service_name":
		base := r.Command[lastSlash(r.Command)+1:]
		if name == "process_name" || base == r.Name {
			return base, true
		}
		return r.Name, true
	}
	v, ok := r.set[name]
	return v, ok
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

// loadMaster reads master.cf; without must, a missing one is a warning.
func (t *tool) loadMaster(must bool) error {
	list, warns, err := config.LoadMaster(t.dir)
	if text, ok := openError(err, t.dir+"/master.cf"); ok {
		if must {
			return fatal{text}
		}
		t.warn("%s", text)
		return nil
	}
	for _, w := range warns {
		if w.Postfix != "" {
			t.warn("%s", w.Postfix)
		}
	}
	if err != nil {
		return err
	}
	for _, s := range list {
		t.rows = append(t.rows, &row{Service: s})
	}
	return nil
}
