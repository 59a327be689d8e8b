package table

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/route/table/regex"

	"pgregory.net/rapid"
)

// write puts text into a file of a fresh folder and returns its path.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask opens spec and looks keys up: "key=value", "key!" for absent ones.
func ask(t *testing.T, spec string, o Options, keys ...string) string {
	t.Helper()
	tab, err := Open(spec, o)
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return answers(tab, keys...)
}

func answers(tab Table, keys ...string) string {
	var out []string
	for _, k := range keys {
		v, ok, err := tab.Lookup(context.Background(), k)
		switch {
		case err != nil:
			out = append(out, k+"?"+err.Error())
		case ok:
			out = append(out, k+"="+v)
		default:
			out = append(out, k+"!")
		}
	}
	return strings.Join(out, " ")
}

const mapText = `# comment
k1 v1
a  b  c d
dup one
DUP two
k2
# inside
  v2

  more
"q k" quoted
only
`

func TestIndexed(t *testing.T) {
	path := write(t, "m", mapText)
	for _, kind := range []string{"hash", "btree", "lmdb", "cdb", "dbm", "texthash", "proxy:hash"} {
		got := ask(t, kind+":"+path, Options{}, "K1", "a", "dup", "k2", `"q k"`, "q k", "only", "")
		want := `K1=v1 a=b  c d dup=one k2=v2  more "q k"=quoted q k! only! !`
		if got != want {
			t.Errorf("%s: %s\nwant %s", kind, got, want)
		}
	}
	if got := ask(t, "hash:"+path, Options{NoFold: true}, "K1", "k1", "DUP"); got != "K1! k1=v1 DUP=two" {
		t.Error(got)
	}
}

func TestAliasForm(t *testing.T) {
	path := write(t, "aliases", "root: alice\n\"a b\": bob,\n carol\nnocolon\nuser@x: y\n")
	want := `root=alice a b=bob, carol nocolon!`
	for _, o := range []Options{{}, {Alias: true}, {AliasFiles: []string{path}}} {
		if got := ask(t, "hash:"+path, o, "root", "a b", "nocolon"); got != want {
			t.Errorf("%+v: %s", o, got)
		}
	}
	tab, _ := Open("hash:"+path, Options{Alias: true})
	if p := strings.Join(tab.(Reporter).Problems(), "\n"); !strings.Contains(p, "line 4: need name:value pair") || !strings.Contains(p, "line 5: name must be local") {
		t.Error(p)
	}
	if uid, err := OwnerOf(tab); err != nil || uid != os.Getuid() {
		t.Error(uid, err)
	}
	virtual := write(t, "virtual_aliases", "a@b c\nd@e f\n2001:db8:: x\n")
	if got := ask(t, "hash:"+virtual, Options{}, "a@b", "2001:db8::"); got != "a@b=c 2001:db8::=x" {
		t.Error(got)
	}
}

func TestPatterns(t *testing.T) {
	path := write(t, "rx", `/^(Subject):/ WARN $1
/(foo)bar/ got ${1}$$
if /x/
!/^xy/ notxy
/^xy(.)/ $(1)z
endif
/a(/ bad
/\<word\>/ W
/[[:digit:]]{3}\.[a-z\]q/ cls
/^A$/i upper
|pipe| delim
/no$9/ range $9
`)
	got := ask(t, "regexp:"+path, Options{}, "subject: a", "xfoobar", "x1", "xyq", "a word b", "awordb", `123.\q`, "A", "a", "PIPE")
	want := `subject: a=WARN subject xfoobar=got foo$ x1=notxy xyq=qz a word b=W awordb! 123.\q=cls A=upper a! PIPE=delim`
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	tab, _ := Open("regexp:"+path, Options{})
	if p := strings.Join(tab.(Reporter).Problems(), "\n"); !strings.Contains(p, `line 7: Unmatched ( or \(`) || !strings.Contains(p, `line 12: out of range replacement index "9"`) {
		t.Error(p)
	}
	if got := ask(t, "regexp:"+path, Options{NoRegSub: true}, "subject: a", "a word b"); got != "subject: a! a word b=W" {
		t.Error(got)
	}
}

// TestPCREOnly: what only a backtracking engine can run, runs there, with a
// limit of time; what no engine can run fails the table, never silently.
func TestPCREOnly(t *testing.T) {
	rules := `/^(?!foo)(\w+)bar$/ not $1
/(a)\1(b)/ twice $1$2
/(?<=x)y(\d)/ behind $1
/^(?>p+)q/ atomic
/^z++(.)/ possess $1
/^(?:k|l)*+m/ group
/\[(?=\d)(\d+)\]$/ addr ($1) ${1} $$
if /^(?=.*end$)in/
/^in (.*) end/ nested $1
endif
!/^(?!n)/ isn
/^\xe4(?=\S)(.)/ byte $1
/^(?i)case(?=X)/ c
`
	got := ask(t, "pcre:"+write(t, "p", rules), Options{}, "foobar", "xbar", "aab", "xy7", "ppq", "zz1", "klm", "h [12]", "in it end", "in it", "n", "\xe4\xfc", "CaseX")
	want := "foobar! xbar=not x aab=twice ab xy7=behind 7 ppq=atomic zz1=possess 1 klm=group h [12]=addr (12) 12 $ in it end=nested it in it! n=isn \xe4\xfc=byte \xfc CaseX=c"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := ask(t, "regexp:"+write(t, "r", `/^(a|b)x\1$/ same $1`+"\n"), Options{}, "axa", "axb", "BXB"); got != "axa=same a axb! BXB=same B" {
		t.Error(got)
	}
	_, err := Open("pcre:"+write(t, "p", `/^(?(?=a)b|(?C1)c)(*ACCEPT)\K/ x`+"\n"), Options{})
	if err == nil || !strings.Contains(err.Error(), "line 1") || !strings.Contains(err.Error(), "not supported") {
		t.Error(err)
	}
	start := time.Now()
	got = ask(t, "pcre:"+write(t, "p", `/^(?=x)(x+x+)+y$/ evil`+"\n"), Options{}, strings.Repeat("x", 60))
	if !strings.Contains(got, "longer than") || time.Since(start) > 5*time.Second {
		t.Errorf("%v: %s", time.Since(start), got)
	}
	got = ask(t, "pcre:"+write(t, "p", "/a.b/s nodot\n/ a # c\n b/x blanks\n/^u\\d+$/ num\n"), Options{}, "u12", "AxB")
	if got != "u12=num AxB=nodot" {
		t.Error(got)
	}
}

func TestCIDR(t *testing.T) {
	path := write(t, "c", "10.0.0.0/8 ten\n192.168.1.1 one\n2001:db8::/32 doc\nif 172.16.0.0/12\n172.16.1.0/24 in\n!172.16.2.0/24 notin\nendif\n10.1.2.3/8 bad\n0.0.0.0/0 rest\n")
	got := ask(t, "cidr:"+path, Options{}, "10.1.1.1", "192.168.1.1", "2001:db8::1", "172.16.1.5", "172.16.2.5", "172.17.0.1", "2001::1", "name")
	if want := "10.1.1.1=ten 192.168.1.1=one 2001:db8::1=doc 172.16.1.5=in 172.16.2.5=rest 172.17.0.1=notin 2001::1! name!"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestSmall(t *testing.T) {
	t.Setenv("PB_TEST", "here")
	m := write(t, "m", "a b\n")
	for _, c := range []struct{ spec, key, want string }{
		{"static:foo", "x", "x=foo"}, {"static:{a b}", "x", "x=a b"},
		{"inline:{a=b, {c = d e}}", "C", "C=d e"}, {"inline:{a=b}", "x", "x!"},
		{"environ:x", "PB_TEST", "PB_TEST=here"}, {"environ:x", "PB_NONE", "PB_NONE!"},
		{"fail:x", "k", "k?Application error"},
		{"unix:passwd.byname", "root", "root=root:x:0:0:"}, {"unix:passwd.byname", "no:such", "no:such!"},
		{"unix:group.byname", "root", "root=root:x:0:"}, {"unix:group.byname", "nosuchgroup", "nosuchgroup!"},
		{"unionmap:{static:one,static:two}", "x", "x=one,two"}, {"unionmap:{inline:{a=b},static:two}", "x", "x=two"},
		{"unionmap:{static:one,fail:x}", "x", "x?Application error"},
		{"pipemap:{inline:{x=a},hash:" + m + "}", "x", "x=b"}, {"pipemap:{inline:{x=q},hash:" + m + "}", "x", "x!"},
		{"randmap:{v}", "x", "x=v"}, {"proxy:unix:passwd.byname", "root", "root=root:x:0:0:"},
	} {
		if got := ask(t, c.spec, Options{}, c.key); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.spec, got, c.want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	only := write(t, "m.db", "x")
	for spec, want := range map[string]string{
		"foo:bar": "unsupported dictionary type: foo", "mysql:/x": "mysql: open /x: no such file", "novalue": "type:name",
		"hash:/nonexistent/x": "no such file", "unix:shadow": "unknown table", "inline:{a}": "missing '='", "randmap:{}": "bad syntax",
		"hash:" + strings.TrimSuffix(only, ".db"): "only the compiled", "hash:" + filepath.Dir(only): "not a regular file",
		strings.Repeat("proxy:unionmap:{", 20) + "static:x" + strings.Repeat("}", 20): "inside each other", "pipemap:{proxy:nosuch:x}": "unsupported dictionary type: nosuch",
	} {
		if _, err := Open(spec, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
}

// TestWarn: what is skipped is told each time that a source is read.
func TestWarn(t *testing.T) {
	var told []string
	path := write(t, "m", "a 1\nlonely\na 2\n")
	if _, err := Open("texthash:"+path, Options{Warn: func(p string) { told = append(told, p) }}); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || !strings.Contains(told[0]+told[1], "line 2") || !strings.Contains(told[0]+told[1], "duplicate") {
		t.Errorf("%q", told)
	}
}

// TestMissing: where a source may be missing, look-ups fail until it is there.
func TestMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later")
	for _, kind := range []string{"hash", "regexp", "cidr"} {
		spec := kind + ":" + path
		if _, err := Open(spec, Options{}); err == nil {
			t.Errorf("%s: opened without a source", spec)
		}
		var told error
		tab, err := Open(spec, Options{Missing: func(err error) { told = err }})
		if err != nil || told == nil {
			t.Fatalf("%s: %v, told %v", spec, err, told)
		}
		if _, found, err := tab.Lookup(context.Background(), "1.2.3.4"); found || err == nil {
			t.Errorf("%s: an answer without a source: %v %v", spec, found, err)
		}
	}
	tab, err := Open("hash:"+path, Options{Missing: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, []byte("a b\n"), 0o644)
	time.Sleep(checkEvery)
	if got := answers(tab, "a"); !strings.Contains(got, "b") {
		t.Errorf("the source came: %s", got)
	}
}

func TestMaps(t *testing.T) {
	ctx := context.Background()
	m, err := OpenAll([]string{"inline:{a=1}", "inline:{a=2,b=3}"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := m.Lookup(ctx, "a"); v != "1" || !ok || err != nil {
		t.Error(v, ok, err)
	}
	if v, _, _ := m.Lookup(ctx, "b"); v != "3" {
		t.Error(v)
	}
	m, _ = OpenAll([]string{"fail:x", "inline:{a=1}"}, Options{})
	if _, ok, err := m.Lookup(ctx, "a"); ok || err == nil {
		t.Error("a failing table was passed over")
	}
	m, _ = OpenAll([]string{"static:{}"}, Options{})
	if _, _, err := m.Lookup(ctx, "a"); err == nil || !strings.Contains(err.Error(), "empty string") {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	path := write(t, "m", "a 1\n")
	old := time.Now().Add(-time.Hour)
	os.Chtimes(path, old, old)
	tab, err := Open("hash:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	await := func(want string) {
		t.Helper()
		var got string
		for range 100 {
			if got = answers(tab, "a", "b"); strings.HasPrefix(got, want) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("%s, want %s", got, want)
	}
	await("a=1 b!")
	os.WriteFile(path, []byte("a 2\nb 3\n"), 0o644)
	await("a=2 b=3")
	os.Remove(path)
	await("a?") // an error, not "not found"
	os.WriteFile(path, []byte("b 4\n"), 0o644)
	await("a! b=4")
}

// TestHalfWritten: while an editor writes, the old table stays in force.
func TestHalfWritten(t *testing.T) {
	path := write(t, "m", "a 1\nb 2\n")
	old := time.Now().Add(-time.Hour)
	os.Chtimes(path, old, old)
	tab, _ := Open("hash:"+path, Options{})
	os.WriteFile(path, []byte("a 1\n"), 0o644)
	time.Sleep(checkEvery + 20*time.Millisecond)
	if got := answers(tab, "b"); got != "b=2" {
		t.Errorf("a source that is being written was read: %s", got)
	}
}

func TestLarge(t *testing.T) {
	const n = 200000
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%d@example.org  mailbox/%d\n", i, i)
	}
	path := write(t, "big", b.String())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab, err := Open("hash:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := answers(tab, "user0@example.org", "user199999@example.org", "user200000@example.org"); got != "user0@example.org=mailbox/0 user199999@example.org=mailbox/199999 user200000@example.org!" {
		t.Error(got)
	}
	if objects := int64(after.HeapObjects) - int64(before.HeapObjects); objects > 1000 {
		t.Errorf("%d objects for %d entries", objects, n)
	}
	runtime.KeepAlive(tab)
}

func keys(list []Key) string {
	var s []string
	for _, k := range list {
		s = append(s, k.Text)
	}
	return strings.Join(s, " ")
}

func TestKeys(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{keys(MailKeys("u+e@d.x", "+", false)), "u+e@d.x u@d.x @d.x"},
		{keys(MailKeys("u+e@d.x", "+", true)), "u+e@d.x u@d.x u+e u @d.x"},
		{keys(MailKeys("a b@d", "", false)), `"a b"@d a b@d @d`},
		{keys(MailKeys("owner-l@d", "-", true)), "owner-l@d owner-l @d"},
		{keys(AccessMailKeys("u+e@a.b.c", "+", true)), "u+e@a.b.c u@a.b.c a.b.c b.c c u+e@ u@"},
		{keys(AccessMailKeys("u@a.b.c", "+", false)), "u@a.b.c a.b.c .b.c .c u@"},
		{keys(TransportKeys("u+e@a.b.c", "+", false)), "u+e@a.b.c u@a.b.c a.b.c .b.c .c *"},
		{keys(TransportKeys("u@[1.2.3.4]", "+", false)), "u@[1.2.3.4] [1.2.3.4] *"},
		{keys(DomainKeys("a.b", true)), "a.b b"},
		{keys(AddrKeys("1.2.3.4")), "1.2.3.4 1.2.3 1.2 1"},
		{keys(AddrKeys("2001:db8::1")), "2001:db8::1 2001:db8: 2001:db8 2001"},
	} {
		if c.got != c.want {
			t.Errorf("%s\nwant %s", c.got, c.want)
		}
	}
}

func TestList(t *testing.T) {
	file := write(t, "doms", "file.test, !not.test\nany.test\n")
	match := func(how Matching, name string, items ...string) string {
		l, err := OpenList(items, how, Options{})
		if err != nil {
			return err.Error()
		}
		ok, err := l.Match(context.Background(), name)
		return fmt.Sprint(ok, err)
	}
	for _, c := range []struct {
		how   Matching
		name  string
		items []string
		want  string
	}{
		{Exact, "A.test", []string{"a.test"}, "true <nil>"}, {Exact, "x.a.test", []string{"a.test"}, "false <nil>"},
		{Parents, "x.a.test", []string{"a.test"}, "true <nil>"}, {Subdomains, "x.a.test", []string{"a.test"}, "false <nil>"},
		{Subdomains, "x.a.test", []string{".a.test"}, "true <nil>"}, {Parents, "x.a.test", []string{"!x.a.test", "a.test"}, "false <nil>"},
		{Exact, "file.test", []string{file}, "true <nil>"}, {Exact, "not.test", []string{file, "not.test"}, "true <nil>"},
		{Exact, "m.test", []string{"inline:{m.test=x}"}, "true <nil>"}, {Parents, "x.m.test", []string{"inline:{m.test=x}"}, "true <nil>"},
		{Exact, "m", []string{"fail:x", "m"}, "false fail:x: table lookup problem: Application error"},
	} {
		if got := match(c.how, c.name, c.items...); got != c.want {
			t.Errorf("%s in %v: %s, want %s", c.name, c.items, got, c.want)
		}
	}
}

func TestEdit(t *testing.T) {
	path := write(t, "m", "# head\nk1 v1\n  more\n# mid\nk2 v2")
	e := Edit{Path: path}
	read := func() string { b, _ := os.ReadFile(path); return string(b) }
	dups, err := e.Insert([]Entry{{"k3", "v3"}, {"K2", "other"}}, false)
	if err != nil || len(dups) != 1 || read() != "# head\nk1 v1\n  more\n# mid\nk2 v2\nk3\tv3\n" {
		t.Errorf("%v %v %q", dups, err, read())
	}
	if n, err := e.Delete([]string{"K1", "nosuch"}); n != 1 || err != nil || read() != "# head\n# mid\nk2 v2\nk3\tv3\n" {
		t.Errorf("%d %v %q", n, err, read())
	}
	if _, err := e.Insert([]Entry{{"k2", "new"}}, true); err != nil || read() != "# head\n# mid\nk3\tv3\nk2\tnew\n" {
		t.Errorf("%v %q", err, read())
	}
	if err := Stamp(path); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) != 2 {
		t.Errorf("files left over: %v", left)
	}
}

// TestReadWritten: what an edit writes is what a table reads.
func TestReadWritten(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n%50))
		os.WriteFile(path, nil, 0o644)
		isAlias := rapid.Bool().Draw(rt, "alias")
		key := rapid.StringMatching(`[a-z0-9.+_=-]{1,12}`).Draw(rt, "key")
		if isAlias {
			key = rapid.StringMatching(`[a-z0-9.+_"\\ ,:@#%|()-]{1,12}`).Draw(rt, "name")
			if strings.TrimSpace(key) != key {
				return
			}
		}
		value := rapid.StringMatching(`[a-z][a-z@.]{0,20}`).Draw(rt, "value")
		if _, err := (Edit{Path: path, Alias: isAlias}).Insert([]Entry{{key, value}}, false); err != nil {
			rt.Fatal(err)
		}
		tab, err := Open("hash:"+path, Options{Alias: isAlias})
		if err != nil {
			rt.Fatal(err)
		}
		if got := answers(tab, key); got != key+"="+value {
			text, _ := os.ReadFile(path)
			rt.Fatalf("%q: %s", text, got)
		}
	})
}

// TestCorpus: every map of real machines can be read, and each of its keys is
// found again.
func TestCorpus(t *testing.T) {
	files, _ := filepath.Glob("../../../../shared/corpus/maps/*")
	if len(files) == 0 {
		t.Skip("no ../shared/corpus/maps here")
	}
	for _, f := range files {
		tab, err := Open("hash:"+f, Options{})
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		err = tab.(Lister).All(func(k, v string) error {
			if got := answers(tab, k); got != k+"="+v {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", f, err)
		}
		for _, kind := range []string{"pcre:", "regexp:", "cidr:"} {
			if tab, err := Open(kind+f, Options{}); err == nil {
				answers(tab, "Subject: x", "user@example.org", "1.2.3.4")
			}
		}
	}
}

func FuzzTable(f *testing.F) {
	for _, s := range []string{mapText, "/a/ b\nif /x/\n!/y/i z\nendif\n", "1.2.3.0/24 x\n", "a: b, c\n", "\"a\\\n\"", "k\\ v w", "/[[:alpha:]-z]{2,}(\\<x)?/xim $1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, isAlias := range []bool{false, true} {
			x, _, err := compileIndex(strings.NewReader(s), "m", isAlias, true)
			if err != nil {
				continue
			}
			for n := range x.start {
				k, v := x.entry(n)
				if got, ok := x.get(k); !ok || got != string(v) {
					t.Fatalf("key %q: %q %v, want %q", k, got, ok, v)
				}
			}
		}
		for _, p := range []patternReader{{kind: "regexp", compile: regex.POSIX}, {kind: "pcre", compile: regex.PCRE}} {
			if rules, _, err := p.read(strings.NewReader(s)); err == nil {
				for i := range rules {
					if rules[i].op == opIf && (rules[i].jump <= i || rules[i].jump > len(rules)) {
						t.Fatalf("rule %d jumps to %d", i, rules[i].jump)
					}
				}
			}
		}
		readCIDR(strings.NewReader(s), "c")
	})
}

func FuzzKeys(f *testing.F) {
	f.Add("u+e@a.b", "+")
	f.Add("@", "-+")
	f.Add("....@....", "")
	f.Fuzz(func(t *testing.T, a, delims string) {
		MailKeys(mail.Address(a), delims, true)
		AccessMailKeys(mail.Address(a), delims, true)
		TransportKeys(mail.Address(a), delims, false)
		AddrKeys(a)
	})
}

func BenchmarkLookup(b *testing.B) {
	var s strings.Builder
	for i := range 1000000 {
		fmt.Fprintf(&s, "user%d@example.org mailbox/%d\n", i, i)
	}
	tab, err := Open("hash:"+write(b, "big", s.String()), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tab.Lookup(context.Background(), "user777777@example.org")
	}
}
