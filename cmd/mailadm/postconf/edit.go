package postconf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
)

// lockWait is how long an edit waits for another one to end.
const lockWait = 30 * time.Second

// rewrite replaces a configuration file by what fn makes of its text, alone:
// another postconf waits for its turn. The temporary name is Postfix's own.
func rewrite(path string, fn func(text string) (string, error)) error {
	unlock, err := lockEdit(path + ".tmp")
	if err != nil {
		return fatalf("open %s.tmp: %s", path, reasonOf(err))
	}
	defer unlock()
	text, err := os.ReadFile(path)
	if err != nil {
		return fatalf("open %s for reading: %s", path, reasonOf(err))
	}
	out, err := fn(string(text))
	if err != nil {
		return err
	}
	if err := replace(path, out); err != nil {
		return fatalf("close %s.tmp: %s", path, reasonOf(err))
	}
	return nil
}

// replace puts text in the place of the file at path so that after a crash one
// of both is there. The new file has the mode and the owner of the old one, which
// a link may have led to: passwords that were hidden stay hidden.
func replace(path, text string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	st, err := disk.StatPath(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has its name
	if os.Geteuid() == 0 {
		err = f.Chown(st.UID, st.GID)
	}
	_, err2 := f.WriteString(text)
	if err := errors.Join(err, err2, f.Chmod(st.Mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(path))
}

func reasonOf(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return reason(err)
}

// lockEdit takes the lock file at path, which goes away with the lock; a lock
// on a file that is gone by the time it is held does not count.
func lockEdit(path string) (unlock func(), err error) {
	for end := time.Now().Add(lockWait); ; {
		f, err := disk.LockFile(path)
		if err == nil {
			mine, err1 := f.Stat()
			there, err2 := os.Stat(path)
			if err1 == nil && err2 == nil && os.SameFile(mine, there) {
				return func() {
					os.Remove(path)
					f.Close()
				}, nil
			}
			f.Close()
			continue
		}
		if !errors.Is(err, disk.ErrRunning) || time.Now().After(end) {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// mainEdit is one request of the command line to edit main.cf.
type mainEdit struct {
	name, value string
	found       int
}

// editMain changes (-e), removes (-X) or comments out (-#) parameters.
func (t *tool) editMain(args []string) error {
	changes, err := t.changes(args)
	if err != nil {
		return err
	}
	path := filepath.Join(t.dir, "main.cf")
	return rewrite(path, func(text string) (string, error) {
		return t.applyChanges(path, text, changes), nil
	})
}

// changes reads the arguments; the last request for a name counts.
func (t *tool) changes(args []string) ([]*mainEdit, error) {
	var list []*mainEdit
	for _, a := range args {
		c, err := t.mainEdit(a)
		if err != nil {
			return nil, err
		}
		for i, old := range list {
			if old.name == c.name {
				t.warn("ignoring earlier request: '%s = %s'", old.name, old.value)
				list = append(list[:i], list[i+1:]...)
				break
			}
		}
		list = append(list, c)
	}
	return list, nil
}

func (t *tool) mainEdit(arg string) (*mainEdit, error) {
	trimmed := strings.TrimLeft(arg, " \t\n\v\f\r")
	switch {
	case strings.Contains(arg, "\n"):
		return nil, fatalf("-e, -X, or -# accepts no multi-line input")
	case strings.HasPrefix(trimmed, "#"):
		return nil, fatalf("-e, -X, or -# accepts no comment input")
	case t.mode&edit != 0:
		name, value, problem := config.SplitNameValue(trimmed)
		if problem != "" {
			return nil, fatalf("%s: \"%s\"", problem, trimmed)
		}
		return &mainEdit{name: name, value: value}, nil
	case trimmed == "":
		return nil, fatalf("-X or -# requires non-blank parameter names")
	case strings.Contains(trimmed, "="):
		return nil, fatalf("-X or -# requires parameter names without value")
	}
	return &mainEdit{name: strings.TrimRight(trimmed, " \t\n\v\f\r")}, nil
}

// isContent tells a line with text from empty lines and comments.
func isContent(line string) bool {
	text := strings.TrimLeft(line, " \t\n\v\f\r")
	return text != "" && text[0] != '#'
}

// applyChanges edits the text line by line; lines that are about something else
// stay as they are, and so do comments inside a changed value.
func (t *tool) applyChanges(path, text string, changes []*mainEdit) string {
	var out strings.Builder
	var current *mainEdit
	for line := range strings.Lines(text) {
		switch {
		case !isContent(line):
			out.WriteString(line)
			continue
		case strings.IndexByte(" \t\n\v\f\r", line[0]) < 0:
			current = t.startLine(path, line, changes, &out)
		}
		switch {
		case current == nil:
			out.WriteString(line)
		case t.mode&comment != 0:
			out.WriteString("#" + line)
		}
	}
	for _, c := range changes {
		if t.mode&edit != 0 && c.found == 0 {
			out.WriteString(c.name + " = " + c.value + "\n")
		}
	}
	return out.String()
}

// startLine finds the request for the parameter that a line begins, and writes
// the line's new value.
func (t *tool) startLine(path, line string, changes []*mainEdit, out *strings.Builder) *mainEdit {
	name := line
	if i := strings.IndexAny(line, " \t\r\n="); i >= 0 {
		name = line[:i]
	}
	for _, c := range changes {
		if c.name != name {
			continue
		}
		if c.found++; c.found == 2 {
			t.warn("%s: multiple entries for \"%s\"", path, name)
		}
		if t.mode&edit != 0 {
			out.WriteString(name + " = " + c.value + "\n")
		}
		return c
	}
	return nil
}
