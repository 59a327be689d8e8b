package postconf

import (
	"io"
	"maps"
	"slices"
	"strings"

	"packetboat/internal/sys/config"
)

// columnNames are the names of the columns of master.cf in -F.
var columnNames = [...]string{"service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"}

// columnGoal is where each column of a service begins in the output.
var columnGoal = [...]int{0, 11, 17, 25, 33, 41, 49, 57}

// command is the index of the command column, whose field includes the
// arguments.
const command = 7

// wanted is one request of the command line: service[/type[/field]].
type wanted struct {
	text    string
	parts   []string
	matched int
}

// parseWanted splits a pattern at slashes into least to most parts; "*" alone
// matches all, and stands for those left out.
func parseWanted(text string, least, most int) (*wanted, bool) {
	if strings.HasPrefix(text, "/") {
		return nil, false
	}
	parts := strings.FieldsFunc(text, func(c rune) bool { return c == '/' })
	if len(parts) < least || len(parts) > most {
		return nil, false
	}
	for _, p := range parts {
		if p != "*" && strings.Contains(p, "*") {
			return nil, false
		}
	}
	for len(parts) < most {
		parts = append(parts, "*")
	}
	return &wanted{text: text, parts: parts}, true
}

func (w *wanted) matches(name, kind string) bool {
	return (w.parts[0] == "*" || w.parts[0] == name) && (w.parts[1] == "*" || w.parts[1] == kind)
}

// showMaster prints master.cf services (-M), columns (-F) or parameters (-P).
func (t *tool) showMaster(names []string) error {
	if err := t.loadMaster(true); err != nil {
		return err
	}
	if err := t.load(); err != nil {
		return err
	}
	if err := t.overrides(); err != nil {
		return err
	}
	t.builtins()
	t.byService()
	if err := t.userParams(); err != nil {
		return err
	}
	requests, err := t.requests(names)
	if err != nil {
		return err
	}
	for _, r := range t.rows {
		if err := t.showRow(r, requests); err != nil {
			return err
		}
	}
	for _, w := range requests {
		if w.matched == 0 {
			t.warn("unmatched request: \"%s\"", w.text)
		}
	}
	t.unusedMaster()
	return nil
}

// requests reads the patterns of the command line.
func (t *tool) requests(names []string) ([]*wanted, error) {
	most, usage := 3, "-F option requires service_name[/type[/field]]"
	switch {
	case t.mode&entries != 0:
		most, usage = 2, "-M option requires service_name[/type]"
	case t.mode&params != 0:
		usage = "-P option requires service_name[/type[/parameter]]"
	}
	var list []*wanted
	for _, n := range names {
		w, ok := parseWanted(n, 1, most)
		if !ok {
			return nil, fatalf("%s", usage)
		}
		if t.mode&fields != 0 && w.parts[2] != "*" && !slices.Contains(columnNames[:], w.parts[2]) {
			return nil, fatalf("invalid service attribute name: \"%s\"", w.parts[2])
		}
		list = append(list, w)
	}
	return list, nil
}

// showRow prints what is asked for of one service, once for each request.
func (t *tool) showRow(r *row, requests []*wanted) error {
	if len(requests) == 0 {
		_, err := t.showPart(r, "*")
		return err
	}
	for _, w := range requests {
		if !w.matches(r.Name, r.Type) {
			continue
		}
		part := "*"
		if len(w.parts) > 2 {
			part = w.parts[2]
		}
		found, err := t.showPart(r, part)
		if err != nil {
			return err
		}
		if found {
			w.matched++
		}
	}
	return nil
}

// showPart prints a service, or the column or parameter called part.
func (t *tool) showPart(r *row, part string) (found bool, err error) {
	switch {
	case t.mode&(entries|asJSON) == entries|asJSON:
		return true, t.serviceInfo(r)
	case t.mode&entries != 0:
		return true, t.printEntry(t.out, t.mode&fold != 0, r)
	case t.mode&params != 0:
		return t.printRowParams(r, part)
	}
	for i, name := range columnNames {
		if part == "*" || part == name {
			if err := t.printField(r, i); err != nil {
				return true, err
			}
		}
	}
	return true, nil
}

// lineWriter counts the length of the line that it writes.
type lineWriter struct {
	io.Writer
	length int
}

func (w *lineWriter) add(s string) {
	io.WriteString(w.Writer, s)
	w.length += len(s)
}

// printEntry prints a service as master.cf has it, folded or in one line.
func (t *tool) printEntry(out io.Writer, folded bool, r *row) error {
	w := &lineWriter{Writer: out}
	for i, c := range r.Columns {
		if w.length > 0 {
			w.add(" ")
			for w.length < columnGoal[i] {
				w.add(" ")
			}
		}
		w.add(c)
	}
	if err := t.printArgs(w, folded, r, 3); err != nil {
		return err
	}
	w.add("\n")
	return nil
}

// printArgs prints the arguments of a service. When folded, each option with a
// value gets a line of its own; glue is what its length counts for more.
func (t *tool) printArgs(w *lineWriter, folded bool, r *row, glue int) error {
	options := true
	for i := 0; i < len(r.Args); i++ {
		arg, value, hasValue := r.Args[i], "", false
		first := options && (!strings.HasPrefix(arg, "-") || arg == "--")
		if first {
			options = false
		}
		length := len(arg)
		if options && strings.HasPrefix(arg, "-o") && i+1 < len(r.Args) {
			i++
			hasValue = true
			w.length = lineLimit
			var err error
			if value, err = t.optionValue(r, arg, r.Args[i]); err != nil {
				return err
			}
			length += len(value) + glue
		}
		if w.length > len(indent) {
			if !folded || w.length+1+length < lineLimit {
				w.add(" ")
			} else {
				w.add("\n" + indent)
				w.length = len(indent)
			}
		}
		// The first argument after the options has braces only where it would
		// not be read back otherwise: argv={a b} stays as it is.
		if options || first && len(config.MasterFields(arg)) < 2 {
			w.add(arg)
		} else {
			w.add(braced(arg))
		}
		if hasValue {
			w.add(" " + braced(value))
			w.length = lineLimit
		}
	}
	return nil
}

// optionValue returns the value after -o, expanded if -x asks for it.
func (t *tool) optionValue(r *row, arg, value string) (string, error) {
	if arg != "-o" || t.mode&evaluate == 0 {
		return value, nil
	}
	return t.expand(value, r)
}

// braced puts braces around an argument with white space.
func braced(s string) string {
	if strings.ContainsAny(s, " \t\r\n") {
		return "{" + s + "}"
	}
	return s
}

// printField prints "service/type/column = value".
func (t *tool) printField(r *row, column int) error {
	w := &lineWriter{Writer: t.out}
	if t.mode&hideName == 0 {
		w.add(r.ID() + "/" + columnNames[column])
	}
	if t.mode&(hideName|hideValue) == 0 {
		w.add(" = ")
	}
	if t.mode&hideValue == 0 {
		value := r.Columns[column]
		if w.length > 0 && w.length+len(value) > lineLimit {
			w.add("\n" + indent)
			w.length = len(indent)
		}
		w.add(value)
		if column == command {
			if err := t.printArgs(w, t.mode&fold != 0, r, 1); err != nil {
				return err
			}
		}
	}
	w.add("\n")
	return nil
}

// printRowParams prints the -o parameters of a service, all or the one named.
func (t *tool) printRowParams(r *row, name string) (bool, error) {
	if r.set == nil {
		return false, nil
	}
	names := slices.Sorted(maps.Keys(r.set))
	if name != "*" {
		if _, ok := r.set[name]; !ok {
			return false, nil
		}
		names = []string{name}
	}
	for _, n := range names {
		value := r.set[n]
		if t.mode&evaluate != 0 && t.mode&hideValue == 0 {
			var err error
			if value, err = t.expand(value, r); err != nil {
				return true, err
			}
		}
		t.printNameValue(r.ID()+"/"+n, value)
	}
	return true, nil
}

// parseEntry reads one service from a text.
func parseEntry(path, text string) (*row, error) {
	list, _, err := config.ParseMaster(path, text)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fatalf("bad field count: \"%s\"", text)
	}
	return &row{Service: list[0]}, nil
}
