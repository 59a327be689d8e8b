package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/route/alias"
	"packetboat/internal/route/table/mapfile"
)

// indexed is a table of plain keys: hash, btree, lmdb, cdb, dbm, texthash.
type indexed struct {
	*source[*index]
	name string
	fold bool
}

// openIndexed returns the opener of one indexed type. All types read the same
// text; what differs is the name they are called by.
func openIndexed(kind string) opener {
	return func(name string, o Options, _ int) (Table, error) {
		if name == "" {
			return nil, fmt.Errorf("%s: no file name after the type", kind)
		}
		path := resolve(name, o)
		t := &indexed{name: kind + ":" + name, fold: !o.NoFold}
		src, err := openSource(path, o, func(f *os.File) (*index, []string, error) {
			return readIndex(f, path, o)
		})
		if err != nil {
			return nil, onlyCompiled(path, err)
		}
		t.source = src
		return t, nil
	}
}

// onlyCompiled explains the case of a table whose text is gone while the
// database that Postfix made of it is still there.
func onlyCompiled(path string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, suffix := range []string{".db", ".lmdb", ".cdb", ".dir"} {
		if _, e := os.Stat(path + suffix); e == nil {
			return fmt.Errorf("open %s: only the compiled %s%s exists; tables are read from their text source", path, path, suffix)
		}
	}
	return err
}

// readIndex reads a table source in postmap(1) or aliases(5) form.
func readIndex(f *os.File, path string, o Options) (*index, []string, error) {
	isAlias := o.Alias || slices.Contains(o.AliasFiles, path)
	if !isAlias && strings.Contains(filepath.Base(path), "alias") {
		var err error
		if isAlias, err = looksLikeAliases(f); err != nil {
			return nil, nil, err
		}
	}
	if x := loadCompiled(f, path, isAlias, !o.NoFold, o); x != nil {
		return x, nil, nil
	}
	return compileIndex(f, path, isAlias, !o.NoFold)
}

// looksLikeAliases tells whether most of the first logical lines begin with
// "name:", the form of aliases(5). Only files whose name speaks of aliases are
// asked, and the file is left at its start.
func looksLikeAliases(f *os.File) (bool, error) {
	const enough = 64
	l, seen, yes := mapfile.NewLines(f), 0, 0
	for ; seen < enough; seen++ {
		line, _, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		key, value := mapfile.SplitKey(line)
		ends := bytes.HasSuffix(key, []byte(":")) && !bytes.HasSuffix(key, []byte("::"))
		if ends || bytes.HasPrefix(value, []byte(":")) || bytes.IndexByte(key, ':') > 0 && len(value) == 0 {
			yes++
		}
	}
	return yes*2 > seen, rewind(f)
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// compileIndex makes the index of r's entries. Lines that say nothing are
// skipped and told in the problems, in the words of postmap(1).
func compileIndex(r io.Reader, path string, isAlias, fold bool) (*index, []string, error) {
	x, l := newIndex(), mapfile.NewLines(r)
	var problems []string
	for {
		line, n, err := l.Next()
		if err == io.EOF {
			x.fit()
			return x, problems, nil
		}
		if err != nil {
			return nil, nil, err
		}
		key, value, why := entryOf(line, isAlias)
		if why != "" {
			problems = report(problems, "%s, line %d: %s", path, n, why)
		}
		if key == nil {
			continue
		}
		if fold {
			key = foldBytes(key)
		}
		added, err := x.add(key, value)
		if err != nil {
			return nil, nil, err
		}
		if !added {
			problems = report(problems, "%s.db: duplicate entry: \"%s\"", path, key)
		}
	}
}

// entryOf divides a line into key and value. A nil key says that the line is
// skipped; why may stand beside a good entry too, as a warning.
func entryOf(line []byte, isAlias bool) (key, value []byte, why string) {
	if isAlias {
		k, v, err := alias.ParseLine(string(line))
		if err != nil {
			return nil, nil, err.Error()
		}
		return []byte(k), []byte(v), ""
	}
	key, value = mapfile.SplitKey(line)
	if len(key) == 0 || len(value) == 0 {
		return nil, nil, "expected format: key whitespace value"
	}
	if key[len(key)-1] == ':' {
		why = "record is in \"key: value\" format; is this an alias file?"
	}
	return key, value, why
}

// foldBytes returns b in lower case; ASCII stays where it is.
func foldBytes(b []byte) []byte {
	for i, c := range b {
		if c >= 0x80 {
			return bytes.ToLower(b)
		}
		if c >= 'A' && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return b
}

// Lookup implements Table.
func (t *indexed) Lookup(_ context.Context, key string) (string, bool, error) {
	x, err := t.get()
	if err != nil {
		return "", false, err
	}
	if t.fold {
		key = strings.ToLower(key)
	}
	v, ok := x.get(key)
	return v, ok, nil
}

// Name implements Table.
func (t *indexed) Name() string { return t.name }

// Pattern implements Table.
func (t *indexed) Pattern() bool { return false }

// All implements Lister.
func (t *indexed) All(fn func(key, value string) error) error {
	x, err := t.get()
	if err != nil {
		return err
	}
	for n := range x.start {
		k, v := x.entry(n)
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

// ReadEntries reads entries in the form of a source. Lines that say nothing
// are told in the problems; name is what these call the source.
func ReadEntries(r io.Reader, name string, o Options) ([]Entry, []string, error) {
	var entries []Entry
	var problems []string
	for l := mapfile.NewLines(r); ; {
		line, n, err := l.Next()
		if err == io.EOF {
			return entries, problems, nil
		}
		if err != nil {
			return nil, nil, err
		}
		key, value, why := entryOf(line, o.Alias)
		if why != "" {
			problems = report(problems, "%s, line %d: %s", name, n, why)
		}
		if key != nil {
			entries = append(entries, Entry{string(key), string(value)})
		}
	}
}
