package query

import (
	"context"
	"fmt"
	"os"
	"strings"

	"packetboat/internal/route/table/mapfile"
)

// Env is what package table hands to a driver: the table's settings, and how
// other tables and files are reached.
type Env struct {
	// Name is the specification, "mysql:/etc/postfix/virtual.cf".
	Name string
	// Params are the table's settings.
	Params *mapfile.Params
	// Fold says that keys are asked for in lower case.
	Fold bool
	// Domains opens the list of the parameter domain.
	Domains func(items string) (func(ctx context.Context, domain string) (bool, error), error)
	// Read returns the content of a certificate, key or option file; nil = os.ReadFile.
	Read func(path string) ([]byte, error)
	// Open opens a database that this process may not read; nil = nobody can.
	Open func(path string) (*os.File, error)
}

// Rules reads the parameters domain, result_format (format is its older name's
// value or the default) and expansion_limit.
func (e Env) Rules(format string) *Rules {
	p := e.Params
	r := &Rules{Format: format, Limit: p.Int("expansion_limit", 0, 0)}
	if _, err := r.Add(r.Format, true); err != nil {
		p.Fail(err)
	}
	if list := p.Str("domain", ""); list != "" && e.Domains != nil {
		var err error
		if r.Domains, err = e.Domains(list); err != nil {
			p.Fail(fmt.Errorf("domain: %w", err))
		}
	}
	return r
}

// Key makes the key that is asked for: in lower case, where the table folds.
// What is not UTF-8, or holds a NUL, is in no database (ok = false).
func (e Env) Key(key string) (_ string, ok bool) {
	if key == "" || strings.ToValidUTF8(key, "") != key || strings.IndexByte(key, 0) >= 0 {
		return "", false
	}
	if e.Fold {
		key = strings.ToLower(key)
	}
	return key, true
}

// File reads a file that the settings name.
func (e Env) File(path string) ([]byte, error) {
	if e.Read != nil {
		return e.Read(path)
	}
	return os.ReadFile(path)
}
