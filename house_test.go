// Package house holds the tests that keep the house in shape: who may import
// whom, who alone may use what, that every package says what it is for, and
// that functions and files stay short. The plan they hold is doc/rooms.md.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// file is one parsed source file of the project.
type file struct {
	path string // from the root of the project, with slashes
	pkg  string // folder
	test bool
	ast  *ast.File
	fset *token.FileSet
}

// wings says on which floor a wing of internal/ stands; imports go down only.
var wings = map[string]int{
	"mail":  0, // the words lie below the machine: the log speaks of recipients and results
	"sys":   1,
	"route": 2, "queue": 2, "store": 2, "auth": 2, "trust": 2,
	"receive": 3, "send": 3, "deliver": 3, "serve": 3,
}

// doorsFloor is the floor of cmd/: above all others but for cmd/internal, what
// several doors share.
const (
	sharedFloor = 4
	doorsFloor  = 5
)

// only says which folders alone may import a package; a folder stands for
// everything below it.
var only = map[string][]string{
	"os/exec":                             {"internal/sys/proc", "test"},
	"syscall":                             {"internal/sys", "cmd/postdrop"},
	"golang.org/x/sys/unix":               {"internal/sys"},
	"unsafe":                              {},
	"C":                                   {"cmd/pamcheck"},
	"github.com/msteinert/pam/v2":         {"cmd/pamcheck"},
	"packetboat/internal/sys/config":      {"cmd", "internal/sys"},
	"packetboat/test":                     {"test"}, // oracle, sandbox: for tests, which this table leaves alone
	"packetboat/internal/sys/maillog":     {"cmd", "internal/sys", "internal/receive", "internal/send", "internal/deliver", "internal/serve"},
	"github.com/miekg/dns":                {"internal/sys/dns"},
	"github.com/landlock-lsm/go-landlock": {"internal/sys/proc"},
}

// light are programs that start in about a millisecond: what they must not
// link, found over all their imports.
var light = map[string][]string{
	"cmd/sendmail": {"crypto/tls", "net/http"},
	"cmd/postdrop": {"crypto/tls", "net/http"},
}

func load(t *testing.T) []file {
	t.Helper()
	var files []file
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "run" || name == "dist" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		p = filepath.ToSlash(p)
		files = append(files, file{p, path.Dir(p), strings.HasSuffix(p, "_test.go"), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d Go files", len(files))
	}
	return files
}

// place returns the floor and the wing of a folder of the project.
func place(dir string) (floor int, wing string, ok bool) {
	dir = strings.TrimPrefix(dir, "packetboat/")
	switch {
	case strings.HasPrefix(dir, "cmd/internal/"):
		return sharedFloor, "cmd/internal", true
	case strings.HasPrefix(dir, "cmd/"):
		name, _, _ := strings.Cut(strings.TrimPrefix(dir, "cmd/"), "/")
		return doorsFloor, "cmd/" + name, true
	case strings.HasPrefix(dir, "internal/"):
		wing, _, _ = strings.Cut(strings.TrimPrefix(dir, "internal/"), "/")
		floor, ok = wings[wing]
		return floor, wing, ok
	}
	return 0, "", false
}

func imports(f *ast.File) []string {
	var out []string
	for _, im := range f.Imports {
		out = append(out, strings.Trim(im.Path.Value, `"`))
	}
	return out
}

// TestFloors holds that a package imports its own wing and lower floors only.
// Tests may look further: a dialogue test starts its own server.
func TestFloors(t *testing.T) {
	for _, f := range load(t) {
		floor, wing, ok := place(f.pkg)
		if strings.HasPrefix(f.pkg, "internal/") && !ok {
			t.Errorf("%s: stands in no wing of the house", f.path)
		}
		if !ok || f.test {
			continue
		}
		for _, im := range imports(f.ast) {
			if !strings.HasPrefix(im, "packetboat/") {
				continue
			}
			to, toWing, ok := place(im)
			if !ok || (toWing != wing && to >= floor) {
				t.Errorf("%s: imports %s, which is not below it", f.path, strings.TrimPrefix(im, "packetboat/"))
			}
		}
	}
}

// TestOnly holds who alone may import what.
func TestOnly(t *testing.T) {
	for _, f := range load(t) {
		if f.test {
			continue
		}
		for _, im := range imports(f.ast) {
			for prefix, allowed := range only {
				if im != prefix && !strings.HasPrefix(im, prefix+"/") {
					continue
				}
				if !within(f.pkg, allowed) {
					t.Errorf("%s: imports %s; only %s may", f.path, im, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

func within(dir string, allowed []string) bool {
	for _, a := range allowed {
		if dir == a || strings.HasPrefix(dir, a+"/") {
			return true
		}
	}
	return false
}

// TestLight holds that the programs which users start all day link nothing heavy.
func TestLight(t *testing.T) {
	deps := map[string]map[string]bool{}
	for _, f := range load(t) {
		if f.test {
			continue
		}
		if deps[f.pkg] == nil {
			deps[f.pkg] = map[string]bool{}
		}
		for _, im := range imports(f.ast) {
			deps[f.pkg][strings.TrimPrefix(im, "packetboat/")] = true
		}
	}
	for prog, banned := range light {
		all := map[string]string{}
		reach(deps, prog, prog, all)
		for _, b := range banned {
			if via, ok := all[b]; ok {
				t.Errorf("%s links %s through %s", prog, b, via)
			}
		}
	}
}

// reach fills all with everything dir imports in the end, and who imports it.
func reach(deps map[string]map[string]bool, dir, via string, all map[string]string) {
	for im := range deps[dir] {
		if _, ok := all[im]; ok {
			continue
		}
		all[im] = via
		reach(deps, im, im, all)
	}
}

// TestPackageComments holds that every package says what it is for, once.
func TestPackageComments(t *testing.T) {
	doc := map[string]bool{}
	seen := map[string]bool{}
	for _, f := range load(t) {
		if f.test && f.pkg != "." {
			continue
		}
		seen[f.pkg] = true
		if f.ast.Doc != nil {
			doc[f.pkg] = true
		}
	}
	for pkg := range seen {
		if !doc[pkg] {
			t.Errorf("%s: no package comment", pkg)
		}
	}
}

// The limits of length. Generated files do not exist here.
const (
	funcLimit    = 80   // lines, none longer
	func90       = 40   // lines, nine of ten functions are shorter
	funcMedian   = 11   // lines
	fileLimit    = 500  // lines
	packageLimit = 3000 // lines
)

// TestLengths measures functions, files and packages (tests apart) and prints
// the offenders.
func TestLengths(t *testing.T) {
	var funcs []int
	packages := map[string]int{}
	for _, f := range load(t) {
		if f.test {
			continue
		}
		lines := f.fset.File(f.ast.Pos()).LineCount()
		packages[f.pkg] += lines
		if lines > fileLimit {
			t.Errorf("%s: %d lines, limit %d", f.path, lines, fileLimit)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			funcs = append(funcs, n)
			if n > funcLimit {
				t.Errorf("%s: func %s has %d lines, limit %d", f.path, fn.Name.Name, n, funcLimit)
			}
		}
	}
	for pkg, n := range packages {
		if n > packageLimit {
			t.Errorf("%s: %d lines, limit %d", pkg, n, packageLimit)
		}
	}
	sort.Ints(funcs)
	median, p90 := funcs[len(funcs)/2], funcs[len(funcs)*9/10]
	t.Logf("%d functions: median %d lines, nine of ten up to %d, longest %d", len(funcs), median, p90, funcs[len(funcs)-1])
	if median > funcMedian || p90 > func90 {
		t.Errorf("functions grow: median %d (limit %d), nine of ten up to %d (limit %d)", median, funcMedian, p90, func90)
	}
}
