package milter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options are the parameters that smtpd_milters and non_smtpd_milters share. The
// zero value is Postfix's default.
type Options struct {
	ConnectTimeout time.Duration `main:"milter_connect_timeout"` // 0 = 30 s
	CommandTimeout time.Duration `main:"milter_command_timeout"` // of one answer; 0 = 30 s
	ContentTimeout time.Duration `main:"milter_content_timeout"` // of one answer within the message; 0 = 300 s
	Protocol       string        `main:"milter_protocol"`        // version and "no_header_reply"; empty = 6
	DefaultAction  string        `main:"milter_default_action"`  // accept, reject, tempfail, quarantine; empty = tempfail
	ConnectMacros  []string      `main:"milter_connect_macros"`
	HeloMacros     []string      `main:"milter_helo_macros"`
	MailMacros     []string      `main:"milter_mail_macros"`
	RcptMacros     []string      `main:"milter_rcpt_macros"`
	DataMacros     []string      `main:"milter_data_macros"`
	HeaderMacros   []string      `main:"milter_end_of_header_macros"`
	EndMacros      []string      `main:"milter_end_of_data_macros"`
	UnknownMacros  []string      `main:"milter_unknown_command_macros"`
	MacroDefaults  string        `main:"milter_macro_defaults"`    // name=value or {name}=value, and so on
	DaemonName     string        `main:"milter_macro_daemon_name"` // {daemon_name}
	Version        string        `main:"milter_macro_v"`           // v
	Hostname       string        `main:"myhostname"`               // j
	SoftBounce     bool          `main:"soft_bounce"`              // a milter's 5xx becomes 4xx
	QueueDirectory string        `main:"queue_directory"`          // where relative socket names begin
}

// config is one milter of a list.
type config struct {
	name     string // as it was written: inet:host:port, unix:path
	network  string
	address  string
	connect  time.Duration
	command  time.Duration
	content  time.Duration
	protocol string
	action   string
}

// Set is a list of milters in their order. It holds no connection.
type Set struct {
	o        Options
	list     []config
	macros   [stages][]string
	defaults map[string]string
}

// Disabled is the word in smtpd_milter_maps that stands for no milters.
const Disabled = "DISABLE"

// New reads a list of milters, the value of smtpd_milters. nil stands for an
// empty list. The error says what cannot be read.
func New(o Options, list string) (*Set, error) {
	items, err := split(list)
	if err != nil || len(items) == 0 || strings.EqualFold(strings.TrimSpace(list), Disabled) {
		return nil, err
	}
	o.defaults()
	s := &Set{o: o, macros: [stages][]string{o.ConnectMacros, o.HeloMacros, o.MailMacros, o.RcptMacros,
		o.DataMacros, o.EndMacros, o.HeaderMacros, o.UnknownMacros}}
	for _, item := range items {
		c, err := o.milter(item)
		if err != nil {
			return nil, err
		}
		s.list = append(s.list, c)
	}
	s.defaults, err = macroDefaults(o.MacroDefaults)
	return s, err
}

func (o *Options) defaults() {
	for p, d := range map[*time.Duration]time.Duration{&o.ConnectTimeout: 30 * time.Second,
		&o.CommandTimeout: 30 * time.Second, &o.ContentTimeout: 300 * time.Second} {
		if *p <= 0 {
			*p = d
		}
	}
	for p, d := range map[*string]string{&o.Protocol: "6", &o.DefaultAction: "tempfail", &o.Hostname: "localhost", &o.Version: "Postfix"} {
		if *p == "" {
			*p = d
		}
	}
	if o.DaemonName == "" {
		o.DaemonName = o.Hostname
	}
}

// milter reads one item: an address, or { address, name = value ... }.
func (o *Options) milter(item string) (config, error) {
	c := config{name: item, connect: o.ConnectTimeout, command: o.CommandTimeout, content: o.ContentTimeout,
		protocol: o.Protocol, action: o.DefaultAction}
	if item[0] == '{' {
		words, err := split(strings.TrimSuffix(strings.TrimPrefix(item, "{"), "}"))
		if err != nil {
			return c, err
		}
		if len(words) == 0 {
			return c, fmt.Errorf("empty milter definition: %q", item)
		}
		c.name = words[0]
		for _, w := range words[1:] {
			if err := c.set(strings.TrimSuffix(strings.TrimPrefix(w, "{"), "}")); err != nil {
				return c, fmt.Errorf("milter %s: %w", c.name, err)
			}
		}
	}
	if err := c.endpoint(o.QueueDirectory); err != nil {
		return c, err
	}
	if _, _, err := version(c.protocol); err != nil {
		return c, fmt.Errorf("milter %s: %w", c.name, err)
	}
	if !slices.Contains([]string{"accept", "reject", "tempfail", "quarantine", "shutdown"}, strings.ToLower(c.action)) {
		return c, fmt.Errorf("milter %s: unrecognized default action: %s", c.name, c.action)
	}
	return c, nil
}

// set applies one setting of a milter's own.
func (c *config) set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("missing '=' after attribute name: %q", text)
	}
	value = strings.TrimSpace(value)
	switch name = strings.TrimSpace(name); name {
	case "connect_timeout":
		return duration(&c.connect, value)
	case "command_timeout":
		return duration(&c.command, value)
	case "content_timeout":
		return duration(&c.content, value)
	case "protocol":
		c.protocol = value
	case "default_action":
		c.action = value
	default:
		return fmt.Errorf("unknown attribute name: %q", name)
	}
	return nil
}

// duration reads a time as main.cf writes it: a number and s, m, h, d or w.
func duration(d *time.Duration, text string) error {
	unit := time.Second
	num := text
	if text != "" {
		units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
		if u, ok := units[text[len(text)-1]|0x20]; ok {
			unit, num = u, text[:len(text)-1]
		}
	}
	n, err := strconv.Atoi(num)
	if err != nil || n <= 0 || n > 1e6 {
		return fmt.Errorf("bad time value: %q", text)
	}
	*d = time.Duration(n) * unit
	return nil
}

// endpoint takes inet:host:port, inet6:..., unix:path or local:path apart.
func (c *config) endpoint(queueDir string) error {
	kind, rest, ok := strings.Cut(c.name, ":")
	if !ok || kind == "" || rest == "" {
		return fmt.Errorf("milter service needs transport:endpoint instead of %q", c.name)
	}
	switch kind {
	case "unix", "local":
		c.network, c.address = "unix", rest
		if !strings.HasPrefix(rest, "/") {
			c.address = queueDir + "/" + rest
		}
	case "inet", "inet6":
		c.network, c.address = "tcp", rest
		if !strings.Contains(rest, ":") {
			c.address = "localhost:" + rest
		}
	default:
		return fmt.Errorf("invalid transport name: %s in Milter service: %s", kind, c.name)
	}
	return nil
}

// errBrace says that a "{" has no "}".
var errBrace = errors.New("milter service syntax error: missing '}'")

// split cuts a list at blanks and commas; what stands in braces stays together.
func split(list string) (items []string, err error) {
	depth, start := 0, -1
	for i, c := range list {
		blank := c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ','
		switch {
		case blank && depth == 0 && start >= 0:
			items, start = append(items, list[start:i]), -1
		case blank:
		case start < 0:
			start = i
		}
		switch c {
		case '{':
			depth++
		case '}':
			depth--
		}
	}
	if depth != 0 {
		return nil, errBrace
	}
	if start >= 0 {
		items = append(items, list[start:])
	}
	return items, nil
}

// macroDefaults reads milter_macro_defaults: name=value, {name}=value or
// { name = value }.
func macroDefaults(text string) (map[string]string, error) {
	items, err := split(text)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	m := map[string]string{}
	for _, item := range items {
		if item[0] == '{' && strings.HasSuffix(item, "}") && strings.Contains(item, "=") {
			item = item[1 : len(item)-1]
		}
		name, value, ok := strings.Cut(item, "=")
		if !ok {
			return nil, fmt.Errorf("malformed default macro entry: missing '=' after attribute name in %q", text)
		}
		name = canonical(strings.TrimSpace(name))
		if _, twice := m[name]; !twice {
			m[name] = strings.TrimSpace(value)
		}
	}
	return m, nil
}

// canonical writes a macro's name with braces.
func canonical(name string) string {
	if strings.HasPrefix(name, "{") {
		return name
	}
	return "{" + name + "}"
}
