package mapfile

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxParams is the number of settings that one table's file may hold: the
// longest manual page knows some forty.
const maxParams = 1000

// Params are the settings of one table: the "name = value" lines of its own
// file, or the parameters NAME_name of main.cf (ldap_table(5), "OBSOLETE MAIN.CF
// PARAMETERS"). Values that cannot be understood are gathered and told by Err.
type Params struct {
	get  func(name string) (string, bool)
	errs []error
}

// ReadParams reads the settings that r holds; the last line of a name counts.
// Values are taken as they stand: no $name, no quotes, no comment behind them.
func ReadParams(r io.Reader) (*Params, error) {
	values := map[string]string{}
	for l := NewLines(r); ; {
		line, n, err := l.Next()
		if err == io.EOF {
			return NewParams(func(name string) (string, bool) { v, ok := values[name]; return v, ok }), nil
		}
		if err != nil {
			return nil, err
		}
		name, value, ok := strings.Cut(string(line), "=")
		name = strings.TrimSpace(name)
		// The line itself is not told: it may be a password.
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: missing '=' after attribute name", n)
		case name == "":
			return nil, fmt.Errorf("line %d: missing attribute name", n)
		case strings.ContainsAny(name, " \t"):
			return nil, fmt.Errorf("line %d: missing '=' after attribute name", n)
		}
		if values[name] = strings.TrimSpace(value); len(values) > maxParams {
			return nil, fmt.Errorf("line %d: more than %d settings", n, maxParams)
		}
	}
}

// NewParams makes settings of a function that knows them.
func NewParams(get func(name string) (string, bool)) *Params { return &Params{get: get} }

// Str returns a text.
func (p *Params) Str(name, def string) string {
	if v, ok := p.get(name); ok {
		return v
	}
	return def
}

// Has tells whether name is set.
func (p *Params) Has(name string) bool {
	_, ok := p.get(name)
	return ok
}

// Need returns a text that must not be empty.
func (p *Params) Need(name string) string {
	v := p.Str(name, "")
	if v == "" {
		p.fail("bad string length 0 < 1: %s =", name)
	}
	return v
}

// List returns a value's words.
func (p *Params) List(name, def string) []string {
	return strings.FieldsFunc(p.Str(name, def), func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// Int returns a number of at least least.
func (p *Params) Int(name string, def, least int) int {
	v, ok := p.get(name)
	if !ok {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > 1<<31-1 {
		p.fail("bad numerical configuration: %s = %s", name, v)
		return def
	}
	return n
}

// Seconds returns a time that is written as a number of seconds.
func (p *Params) Seconds(name string, def, least int) time.Duration {
	return time.Duration(p.Int(name, def, least)) * time.Second
}

// Bool returns yes or no.
func (p *Params) Bool(name string, def bool) bool {
	v, ok := p.get(name)
	switch {
	case !ok:
		return def
	case strings.EqualFold(v, "yes"):
		return true
	case !strings.EqualFold(v, "no"):
		p.fail("bad boolean configuration: %s = %s", name, v)
	}
	return false
}

// fail remembers what is wrong with a setting.
func (p *Params) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

// Fail remembers what a driver finds wrong with its settings.
func (p *Params) Fail(err error) { p.errs = append(p.errs, err) }

// Err returns everything that was wrong with the settings that were asked for.
func (p *Params) Err() error { return errors.Join(p.errs...) }
