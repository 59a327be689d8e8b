package table

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"packetboat/internal/sys/disk"
)

const (
	// checkEvery is how often a source is looked at (one stat) while the table
	// is being asked.
	checkEvery = 200 * time.Millisecond
	// settle is how long a changed source must have been left alone before it
	// is read, while an older version is in force: an editor that writes a file
	// in place must not make half of the addresses unknown.
	settle = 500 * time.Millisecond
	// maxProblems is the number of skipped lines that are remembered.
	maxProblems = 100
)

// compiled is what a source became: the form that answers.
type compiled[T any] struct {
	body     T
	stat     fs.FileInfo
	owner    int // user number
	problems []string
}

// source is a table's text file and what it was compiled to.
type source[T any] struct {
	path    string
	o       Options
	compile func(f *os.File) (T, []string, error)
	fixed   bool // the text stands in main.cf: there is no file that could change

	mu      sync.RWMutex
	now     compiled[T]
	err     error // set while the source cannot be read
	checked time.Time
}

// openSource reads the file at path for the first time.
func openSource[T any](path string, o Options, compile func(*os.File) (T, []string, error)) (*source[T], error) {
	s := &source[T]{path: path, o: o, compile: compile, checked: time.Now()}
	s.reload()
	switch {
	case s.err == nil:
	case o.Missing == nil:
		return nil, s.err
	default:
		o.Missing(s.err)
	}
	return s, nil
}

// get returns the compiled form in force, read again when the file changed.
func (s *source[T]) get() (T, error) {
	s.mu.RLock()
	fresh := s.fixed || time.Since(s.checked) < checkEvery
	body, err := s.now.body, s.err
	s.mu.RUnlock()
	if fresh {
		return body, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) >= checkEvery {
		s.checked = time.Now()
		s.check()
	}
	return s.now.body, s.err
}

// check reads the file again when it is another one than we know.
func (s *source[T]) check() {
	fi, err := os.Stat(s.path)
	if s.o.OpenFile != nil && os.IsPermission(err) && s.err == nil {
		return // in a folder that we cannot look into: a reload reads it again
	}
	if err != nil && (s.o.OpenFile == nil || !os.IsPermission(err)) {
		s.err = err
		return
	}
	if fi == nil {
		s.reload()
		return
	}
	if s.err == nil && s.now.stat != nil && same(fi, s.now.stat) {
		return
	}
	if age := time.Since(fi.ModTime()); s.err == nil && age >= 0 && age < settle {
		return
	}
	s.reload()
}

// reload reads the file. A file that cannot be read is an error of every
// look-up from then on, until it can be read again.
func (s *source[T]) reload() {
	f, err := s.o.open(s.path)
	if err != nil {
		s.err = err
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file", s.path)
	}
	if err != nil {
		s.err = err
		return
	}
	owner, err := disk.Owner(f)
	if err != nil {
		s.err = err
		return
	}
	body, problems, err := s.compile(f)
	if err != nil {
		s.err = fmt.Errorf("%s: %w", s.path, err)
		return
	}
	s.now, s.err = compiled[T]{body, fi, owner, problems}, nil
	if s.o.Warn != nil {
		for _, p := range problems {
			s.o.Warn(p)
		}
	}
}

// Problems returns the lines that were skipped when the file was last read.
func (s *source[T]) Problems() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.now.problems
}

// Owner returns the file's owner.
func (s *source[T]) Owner() (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.now.owner, nil
}

// same tells whether two stats are of the same file with the same content, as
// far as a stat can tell.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// resolve returns the path of a table file; rules between braces are none.
func resolve(name string, o Options) string {
	if o.Dir == "" || filepath.IsAbs(name) || strings.HasPrefix(name, "{") {
		return name
	}
	return filepath.Join(o.Dir, name)
}

// report appends a problem while there are few.
func report(list []string, format string, args ...any) []string {
	if len(list) >= maxProblems {
		return list
	}
	return append(list, fmt.Sprintf(format, args...))
}
