// Package extconf reads the settings files that a passdb or userdb names in its
// args: dovecot-sql.conf.ext, dovecot-ldap.conf.ext, dovecot-oauth2.conf.ext. They
// hold "name = value" lines only. Errors name file and line and no value: these
// files hold passwords.
package extconf

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxFile bounds a file in bytes; longer ones are an error.
const maxFile = 1 << 20

// Settings are the values of one file, each name once; the last line counts.
type Settings map[string]string

// Get returns a value, or def where the file has none.
func (s Settings) Get(name, def string) string {
	if v, ok := s[name]; ok {
		return v
	}
	return def
}

// Bool returns a value that is yes or no.
func (s Settings) Bool(name string, def bool) bool {
	v, ok := s[name]
	if !ok {
		return def
	}
	return v == "yes" || v == "y" || v == "1" || v == "true"
}

// Read reads a file; a name that is not in known is an error.
func Read(path string, known []string) (Settings, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, maxFile)
	}
	s, err := Parse(string(b), known)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return s, nil
}

// Parse reads the text of a file. A line that ends in a backslash goes on in the
// next one; "#" begins a comment outside of quotes; quotes around a whole value
// are taken off, as Dovecot's lib-settings does.
func Parse(text string, known []string) (Settings, error) {
	s := Settings{}
	n, first, whole := 0, 0, ""
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if whole == "" {
			first = n
		}
		if part, ok := strings.CutSuffix(line, `\`); ok && !strings.HasPrefix(line, "#") {
			whole += strings.TrimRight(part, " \t") + " "
			continue
		}
		whole += line
		if err := s.set(whole, known); err != nil {
			return nil, fmt.Errorf("%d: %w", first, err)
		}
		whole = ""
	}
	if err := s.set(whole, known); err != nil {
		return nil, fmt.Errorf("%d: %w", first, err)
	}
	return s, nil
}

func (s Settings) set(line string, known []string) error {
	line = strings.TrimSpace(uncomment(line))
	if line == "" {
		return nil
	}
	name, value, ok := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch {
	case !ok:
		return fmt.Errorf("no \"=\" in the line")
	case !slices.Contains(known, name):
		return fmt.Errorf("unknown setting: %s", name)
	}
	if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = unescape(value[1 : n-1])
	}
	s[name] = value
	return nil
}

// uncomment cuts a line at the first "#" outside of quotes.
func uncomment(line string) string {
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == '#':
			return line[:i]
		}
	}
	return line
}

// unescape takes the backslashes out of a quoted value.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
