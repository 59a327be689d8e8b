package postconf

import (
	"encoding/json"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/config/manual"
)

// paramJSON is a parameter as -j prints it, one in a line.
type paramJSON struct {
	Name    string       `json:"name"`
	Value   string       `json:"value"`
	Default string       `json:"default"`
	Type    config.Type  `json:"type,omitempty"`
	Class   string       `json:"class"` // builtin, service, user
	State   config.State `json:"state,omitempty"`
	File    string       `json:"file,omitempty"` // of the line that counts; none for a default
	Line    int          `json:"line,omitempty"`
	Text    string       `json:"text,omitempty"` // what it means
}

// paramInfo prints a parameter with all that is known of it.
func (t *tool) paramInfo(p *param, value string) error {
	def := ""
	if p.class != classUser {
		def = t.standard(p)
	}
	info := paramJSON{Name: p.name, Value: value, Default: def, Class: p.class.String(), Text: manual.Text(p.name)}
	if known, ok := config.LookupParam(p.name); ok {
		info.Type, info.State = known.Type, known.State
	}
	if t.mode&defaults == 0 {
		info.File, info.Line = t.values.main.Where(p.name)
	}
	return t.line(info)
}

// line prints a value as one line of JSON.
func (t *tool) line(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// String names the class.
func (c paramClass) String() string {
	switch c {
	case classBuiltin:
		return "builtin"
	case classService:
		return "service"
	}
	return "user"
}

// serviceJSON is a service of master.cf as -M -j prints it.
type serviceJSON struct {
	Service      string       `json:"service"`
	Type         string       `json:"type"`
	Private      string       `json:"private"`
	Unprivileged string       `json:"unprivileged"`
	Chroot       string       `json:"chroot"`
	Wakeup       string       `json:"wakeup"`
	ProcessLimit string       `json:"process_limit"`
	Command      string       `json:"command"`
	Args         []string     `json:"arguments"`
	Options      []optionJSON `json:"options,omitempty"` // -o, in their order
	File         string       `json:"file"`
	Line         int          `json:"line"`
}

type optionJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// serviceInfo prints a service, its -o values expanded if -x asks for it.
func (t *tool) serviceInfo(r *row) error {
	c := r.Columns
	info := serviceJSON{Service: c[0], Type: c[1], Private: c[2], Unprivileged: c[3], Chroot: c[4], Wakeup: c[5], ProcessLimit: c[6],
		Command: c[7], Args: append([]string{}, r.Args...), File: r.File, Line: r.Line}
	for _, o := range r.Options {
		value := o.Value
		if t.mode&evaluate != 0 {
			var err error
			if value, err = t.expand(value, r); err != nil {
				return err
			}
		}
		info.Options = append(info.Options, optionJSON{o.Name, value})
	}
	return t.line(info)
}
