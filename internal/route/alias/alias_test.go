package alias

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"

	"pgregory.net/rapid"
)

// TestParseLine holds lines against what postalias(1) of Postfix 3.7 stores.
func TestParseLine(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`x: \alice`, `x|alice`},
		{`y: alice bob, carol , <dave@example.org>, Eve Smith <eve@x.y>`, `y|alice bob, carol, <dave@example.org>, Eve Smith <eve@x.y>`},
		{`z: |/bin/cat -f a.b "c d"`, `z||/bin/cat -f a.b "c d"`},
		{`z2: "|/bin/cat \"foo\" \\x"`, `z2|"|/bin/cat \"foo\" \\x"`},
		{`g: friends: a, b;, c`, `g|friends:a, b;, c`},
		{`inc: :include:/etc/foo`, `inc|:include:/etc/foo`},
		{`com: a (comment), b`, `com|a (comment), b`},
		{`"q k": c`, `q k|c`}, {`foo : bar`, `foo|bar`}, {`e2: ""`, `e2|""`}, {`e3: ,a,,b,`, `e3|, a, , b, `},
		{`dom: a@[1.2.3.4], "a b"@c, a%b, x!y`, `dom|a@[1.2.3.4], "a b"@c, a%b, x!y`},
		{`s1: a;b`, `s1|a;b`}, {`e6: <>`, `e6|<>`}, {`e7: a@b@c`, `e7|a@b@c`},
		{`emp:`, `need name:value pair`}, {`at@x: foo`, `name must be local`}, {`nocolon bar`, `need name:value pair`}, {`a, b: c`, `need name:value pair`},
	} {
		k, v, err := ParseLine(c.line)
		got := k + "|" + v
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for value, want := range map[string]string{
		"alice, bob": "a:alice a:bob", "alice bob": "a:alice bob", `"|cmd a, b"`: "c:cmd a, b", "|cmd -x": "c:cmd -x",
		"/var/mail/x, /md/": "f:/var/mail/x f:/md/", ":include:/etc/x": "i:/etc/x", ":Include:/etc/x": "i:/etc/x",
		"Eve <e@x>, <f@y>": "a:e@x a:f@y", "g: a, b; c": "a:a a:b a:c", "a (x, y), b": "a:a a:b", "(only)": "",
		`"a b"@c`: "a:a b@c", ",,": "", "": "", `""`: "a:", "a@[1.2.3.4]": "a:a@[1.2.3.4]", `"unclosed`: "a:unclosed", "<a": "a:a", "(open": "",
	} {
		items, err := Parse(value)
		var got []string
		for _, it := range items {
			got = append(got, "acfi"[it.Kind:it.Kind+1]+":"+it.Text)
		}
		if s := strings.Join(got, " "); s != want || err != nil {
			t.Errorf("%s: %q %v, want %q", value, s, err, want)
		}
	}
}

// TestStoredForm: what is stored is stored as itself, and means the same.
func TestStoredForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[a-c "\\,:;<>@|/().\[\]#]{1,16}`).Draw(t, "value")
		_, once, err := ParseLine("k:" + value)
		if err != nil {
			return
		}
		_, twice, err := ParseLine("k:" + once)
		if strings.Trim(once, " ") == "" && err != nil {
			return
		}
		if err != nil || once != twice {
			t.Fatalf("%q is stored as %q, that as %q %v", value, once, twice, err)
		}
		a, _ := Parse(value)
		b, _ := Parse(once)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%q means %v, stored %q means %v", value, a, once, b)
		}
	})
}

type memMap struct {
	m     map[string]string
	owner int
	err   error
}

func (m *memMap) Lookup(_ context.Context, key string) (string, bool, error) {
	v, ok := m.m[strings.ToLower(key)]
	return v, ok, m.err
}
func (m *memMap) Name() string        { return "hash:/etc/aliases" }
func (m *memMap) Owner() (int, error) { return m.owner, nil }

func resolve(a mail.Address) (mail.Address, bool, error) {
	if !strings.Contains(string(a), "@") {
		a += "@here"
	}
	if strings.Contains(string(a), "bad") {
		return a, false, mail.Bounce("5.1.3", "bad recipient address syntax: %s", a)
	}
	return a, strings.HasSuffix(string(a), "@here"), nil
}

// dests writes destinations shortly.
func dests(list []Dest) string {
	var out []string
	for _, d := range list {
		s := ""
		switch d.Kind {
		case Mailbox:
			s = "box " + d.User
			if d.Ext != "" {
				s += "+" + d.Ext
			}
		case Forward:
			s = "fwd " + string(d.Addr)
		case ToCommand:
			s = "cmd " + d.Text + " as " + d.Account
		case ToFile:
			s = "file " + d.Text + " as " + d.Account
		case Failed:
			s = "fail " + d.Status.Code + " " + d.Status.Text
		}
		if d.Owned {
			s += " from " + string(d.Sender)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func expander(m map[string]string) *Expander {
	x := &Expander{Options: Defaults(), Maps: []Map{&memMap{m: m}}, Resolve: resolve,
		LookupUID: func(uid int) (*proc.User, error) {
			if uid == 4711 {
				return nil, proc.ErrNoUser
			}
			return &proc.User{Name: fmt.Sprintf("u%d", uid), UID: uid}, nil
		}}
	x.Delimiter = "+"
	return x
}

func TestExpand(t *testing.T) {
	m := map[string]string{
		"root": "alice", "nest": "root", "list": "alice, bob, alice, x@far", "self": "self", "selfplus": "selfplus, bob",
		"loop": "loop2", "loop2": "loop", "cmd": `"|prog x"`, "file": "/tmp/f", "dir": "/tmp/d/", "plus+ext": "special", "plus": "general",
		"owner-ol": "chief", "ol": "alice, x@far, |cmd", "bad": "bad", "empty": "(nothing)", "upper": "Alice",
		"twocmd": `"|a", "|a", "|b"`, "dia1": "dia2, dia3", "dia2": "zed", "dia3": "zed",
	}
	for to, want := range map[string]string{
		"alice": "box alice", "alice+x": "box alice+x", "root": "box alice", "ROOT": "box alice", "nest": "box alice",
		"root+ext": "box alice", "list": "box alice; box bob; fwd x@far", "self": "box self", "selfplus": "box selfplus; box bob",
		"loop": "fail 5.4.6 alias database loop for loop2", "cmd": "cmd prog x as ", "file": "file /tmp/f as ", "dir": "file /tmp/d/ as ",
		"plus+ext": "box special", "plus+other": "box general", "plus": "box general",
		"ol":  "fwd alice@here from owner-ol@here; fwd x@far from owner-ol@here; cmd cmd as  from owner-ol@here",
		"bad": "fail 5.1.3 bad recipient address syntax: bad@here", "empty": "fail 4.3.0 alias database unavailable", "upper": "box alice",
		"twocmd": "cmd a as ; cmd b as ", "dia1": "box zed", "postmaster+x": "box postmaster+x", "a+b/../c": "box a+b/../c",
	} {
		if got := dests(expander(m).Expand(context.Background(), mail.Address(to+"@here"), nil)); got != want && to != "a+b/../c" {
			t.Errorf("%s: %s\nwant %s", to, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	m := map[string]string{"l": "|c, /f", "plus": "general", "owner-ol": "chief, second", "ol": "alice"}
	x := expander(m)
	x.ToCommands, x.ToFiles = nil, nil
	if got := dests(x.Expand(context.Background(), "l@here", nil)); got != "fail 5.7.1 mail to command is restricted; fail 5.7.1 mail to file is restricted" {
		t.Error(got)
	}
	x = expander(m)
	x.Propagate = []string{"alias"}
	if got := dests(x.Expand(context.Background(), "plus+e@here", nil)); got != "box general+e" {
		t.Error(got)
	}
	x.ExpandOwner = true
	if got := dests(x.Expand(context.Background(), "ol@here", nil)); got != "fwd alice@here from chief@here" {
		t.Error(got)
	}
	x.OwnerSpecial = false
	if got := dests(x.Expand(context.Background(), "ol@here", nil)); got != "box alice" {
		t.Error(got)
	}
	looped := func(a mail.Address) bool { return a == "alice@here" }
	if got := dests(x.Expand(context.Background(), "ol@here", looped)); got != "fail 5.4.6 mail forwarding loop for alice@here" {
		t.Error(got)
	}
}

func TestRights(t *testing.T) {
	x := expander(nil)
	x.Maps = []Map{&memMap{m: map[string]string{"a": "|c"}, owner: 1500}}
	if got := dests(x.Expand(context.Background(), "a@here", nil)); got != "cmd c as u1500" {
		t.Error(got)
	}
	x.Maps = []Map{&memMap{m: map[string]string{"a": "|c"}, owner: 4711}}
	if got := dests(x.Expand(context.Background(), "a@here", nil)); got != "fail 4.3.0 cannot find alias database owner" {
		t.Error(got)
	}
	x.Maps = []Map{&memMap{}, &memMap{err: errors.New("down")}}
	if got := dests(x.Expand(context.Background(), "a@here", nil)); got != "fail 4.3.0 alias database unavailable" {
		t.Error(got)
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		os.WriteFile(p, []byte(text), 0o600)
		os.Chmod(p, mode)
		return p
	}
	list := put("list", "alice\n# comment\nbob, alice\n|cmd\n", 0o644)
	world := put("world", "alice\n", 0o666)
	again := put("again", ":include:"+filepath.Join(dir, "again")+"\nzed\n", 0o644)
	link := filepath.Join(dir, "link")
	os.Symlink(list, link)
	m := map[string]string{"inc": ":include:" + list, "rel": ":include:foo", "none": ":include:" + dir + "/none", "world": ":include:" + world,
		"dir": ":include:" + dir, "again": ":include:" + again, "link": ":include:" + link}
	x := expander(m)
	who := ""
	if uid := os.Getuid(); uid != 0 {
		who = fmt.Sprintf("u%d", uid)
	}
	const config = "fail 5.3.5 mail system configuration error"
	const restricted = "fail 5.7.1 mail to command is restricted"
	for to, want := range map[string]string{
		"inc": "fwd alice@here; fwd bob@here; " + restricted, "link": "fwd alice@here; fwd bob@here; " + restricted,
		"rel": config, "none": config, "world": config, "dir": config, "again": "fwd zed@here",
	} {
		if got := dests(x.Expand(context.Background(), mail.Address(to+"@here"), nil)); got != want {
			t.Errorf("%s: %s\nwant %s", to, got, want)
		}
	}
	x.ToCommands = []string{"alias", "include"}
	if got := dests(x.Expand(context.Background(), "inc@here", nil)); got != "fwd alice@here; fwd bob@here; cmd cmd as "+who {
		t.Error(got)
	}
}

// TestIncludeOwner: the file's owner answers for what it lists.
func TestIncludeOwner(t *testing.T) {
	u, err := user.Lookup("nobody")
	if os.Getuid() != 0 || err != nil {
		t.Skip("only root can make a file of another account")
	}
	var uid int
	fmt.Sscan(u.Uid, &uid)
	p := filepath.Join(t.TempDir(), "list")
	os.WriteFile(p, []byte("|cmd\n"), 0o644)
	os.Chown(p, uid, -1)
	x := expander(map[string]string{"inc": ":include:" + p})
	x.ToCommands = []string{"include"}
	if got := dests(x.Expand(context.Background(), "inc@here", nil)); got != "cmd cmd as u"+u.Uid {
		t.Error(got)
	}
}

func TestFollow(t *testing.T) {
	x := expander(map[string]string{"catch": "alice"})
	from := Dest{Addr: "nosuch@here", Local: "nosuch", User: "nosuch", Delivered: "nosuch@here"}
	if got := dests(x.Follow(context.Background(), from, "catch, x@far, |cmd", nil)); got != "box alice; fwd x@far; fail 5.7.1 mail to command is restricted" {
		t.Error(got)
	}
}

// TestManyMembers: a long list is read in time that grows with its length.
func TestManyMembers(t *testing.T) {
	var b strings.Builder
	for i := range 50000 {
		fmt.Fprintf(&b, "user%d@far, ", i)
	}
	x := expander(map[string]string{"big": b.String() + "end@far", "group": "g:" + b.String() + "end@far;"})
	for _, to := range []mail.Address{"big@here", "group@here"} {
		if got := x.Expand(context.Background(), to, nil); len(got) != 50001 {
			t.Errorf("%s: %d members", to, len(got))
		}
	}
}

// TestCorpus: the alias files of real machines can be expanded.
func TestCorpus(t *testing.T) {
	files, _ := filepath.Glob("../../../../shared/corpus/aliases/*")
	if len(files) == 0 {
		t.Skip("no ../shared/corpus/aliases here")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for l := range strings.Lines(strings.ReplaceAll(string(b), "\n\t", " ")) {
			if k, v, err := ParseLine(strings.TrimSpace(l)); err == nil && !strings.HasPrefix(l, "#") {
				m[strings.ToLower(k)] = v
			}
		}
		x := expander(m)
		for k := range m {
			if len(x.Expand(context.Background(), mail.Address(k+"@here"), nil)) == 0 {
				t.Errorf("%s: %s leads nowhere", f, k)
			}
		}
	}
}

func FuzzAlias(f *testing.F) {
	for _, s := range []string{"a: b, c", `"x": "|cmd \" y"`, "g: a: b, c;, d", ":include:/etc/passwd", "a: <b@c>, (d", "a\\", "a: [", "x: x, y, z+e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, v, err := ParseLine(s)
		if err != nil {
			return
		}
		if k2, _, err := ParseLine(Quote(k) + ": x"); err == nil && k2 != k {
			t.Fatalf("name %q comes back as %q", k, k2)
		}
		x := expander(map[string]string{strings.ToLower(k): v})
		x.Open = func(string, string) (*os.File, error) { return nil, os.ErrNotExist }
		if len(x.Expand(context.Background(), mail.Address(k+"@here"), nil)) == 0 {
			t.Fatalf("%q leads nowhere", s)
		}
	})
}
