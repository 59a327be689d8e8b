package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"packetboat/internal/sys/proc"
	"packetboat/test/oracle"
)

// mapCall is one command line with its input.
type mapCall struct{ line, stdin string }

// mapFiles are the tables that the calls are about.
var mapFiles = map[string]string{
	"m":       "# comment\nk1 v1\na  b  c d\ndup one\nDUP two\nk2\n  v2\n\"q k\" quoted\nonly\nbad: colon\n",
	"aliases": "x: \\alice\ny: alice bob, carol , <dave@example.org>, Eve Smith <eve@x.y>\nz: |/bin/cat -f a.b \"c d\"\n\"q k\": c\nemp:\nat@x: foo\nfoo : bar\nnocolon bar\ne2: \"\"\ne3: ,a,,b,\ndom: a@[1.2.3.4], \"a b\"@c, a%b, x!y\n",
	"rx":      "/^(Subject):/ WARN $1\n/(foo)bar/ got $1\n/^Content-Type: text/ MIMEHIT\n/body line/ BODYHIT\n/a(/ bad\n",
	"cd":      "10.0.0.0/8 ten\n2001:db8::/32 doc\nif 172.16.0.0/12\n172.16.1.0/24 in\nendif\n",
}

const mapMessage = "Subject: a\n  cont\nX: foobar\nContent-Type: multipart/mixed; boundary=b\n\nbody line\n--b\nContent-Type: text/plain\n\nSubject: in body\nbody line\n--b--\nbody line\n"

// mapCalls are run in this order; those that list a table are sorted first,
// because a Berkeley database has an order of its own.
var mapCalls = []mapCall{
	{"postmap m", ""}, {"postmap -s m", ""}, {"postmap -q K1 hash:m", ""}, {"postmap -q dup m", ""}, {"postmap -q nosuch m", ""},
	{"postmap -q k2 m", ""}, {"postmap -q bad: m", ""}, {"postmap -q - m", "k1\nfoo\na\n\n"}, {"postmap -q - m", "zzz\n"},
	{"postmap -q a static:foo", ""}, {"postmap -q A inline:{a=b}", ""},
	{"postmap -q x unionmap:{static:one,static:two}", ""}, {"postmap -q x pipemap:{inline:{x=a},hash:m}", ""},
	{"postmap -q x randmap:{a}", ""}, {"postmap -q root unix:passwd.byname", ""}, {"postmap -q nosuchx unix:group.byname", ""},
	{"postmap -d k1 m", ""}, {"postmap -d k1 m", ""}, {"postmap -d - m", "a\nzz\n"}, {"postmap -s m", ""},
	{"postmap -i m", "new val\n"}, {"postmap -q new m", ""}, {"postmap -i m", "new val2\n"}, {"postmap -q new m", ""}, {"postmap -iw m", "new val2\n"},
	{"postmap -ir m", "new val3\n"}, {"postmap -q new m", ""},

	{"postmap -q - regexp:rx", mapMessage}, {"postmap -h -q - regexp:rx", mapMessage}, {"postmap -b -q - regexp:rx", mapMessage},
	{"postmap -hm -q - regexp:rx", mapMessage}, {"postmap -bm -q - regexp:rx", mapMessage}, {"postmap -bhm -q - regexp:rx", mapMessage}, {"postmap -m -q - regexp:rx", mapMessage},
	{"postmap -q 10.1.1.1 cidr:cd", ""}, {"postmap -q 172.16.1.1 cidr:cd", ""}, {"postmap -q name cidr:cd", ""},
	{"postalias aliases", ""}, {"postalias -s aliases", ""}, {"postalias -q X aliases", ""}, {"postalias -q nosuch aliases", ""},
	{"postmap -q foo hash:aliases", ""}, {"postalias -d foo aliases", ""}, {"postalias -q foo aliases", ""}, {"postalias -i aliases", "nn: bar, baz\n"},
	{"postalias -q nn aliases", ""},
}

// mapRefusals are calls that end with an error. Postfix's programs wait a second
// then, so they run beside each other.
var mapRefusals = []mapCall{
	{"postmap -q x foo:bar", ""}, {"postmap -q x fail:foo", ""}, {"postmap -q a inline:{a}", ""}, {"postmap -q x randmap:{}", ""}, {"postmap -x", ""}, {"postmap", ""}, {"postmap nosuchf", ""}, {"postmap -q a -d b m", ""}, {"postmap -h -q x m", ""},
	{"postmap regexp:rx", ""}, {"postmap -s regexp:rx", ""}, {"postmap -d x regexp:rx", ""}, {"postmap texthash:m", ""}, {"postmap -q x regexp:/nonex", ""}, {"postalias -x", ""}, {"postalias nosuch", ""}, {"postalias", ""},
	{"postmap -i regexp:rx", "a b\n"},
}

// layMaps makes a folder with the tables and a main.cf.
func layMaps(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range mapFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := "compatibility_level = 3.6\nmyhostname = mail.example.org\nalias_maps = hash:" + dir + "/aliases\nalias_database = $alias_maps\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shown is what is compared of one call.
func shown(c mapCall, code int, out, errs string) string {
	if strings.Contains(c.line, " -s ") {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		lines = slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, "YP_LAST_MODIFIED") })
		slices.Sort(lines)
		out = strings.Join(lines, "\n") + "\n"
	}
	return fmt.Sprintf("%s%s(%d)", out, errs, code)
}

// ours runs a call in this process.
func ours(c mapCall) string {
	var out, errs bytes.Buffer
	words := strings.Fields(c.line)
	code := dispatch(words, strings.NewReader(c.stdin), &out, &errs)
	return shown(c, code, out.String(), errs.String())
}

// theirs runs a call of the original.
func theirs(t *testing.T, c mapCall, bin, dir string) string {
	t.Helper()
	in, err := os.CreateTemp(t.TempDir(), "in")
	if err != nil {
		t.Errorf("%s: %v", c.line, err)
		return ""
	}
	defer in.Close()
	io.WriteString(in, c.stdin)
	in.Seek(0, io.SeekStart)
	var out, errs bytes.Buffer
	words := strings.Fields(c.line)
	ctx, cancel := context.WithTimeout(context.Background(), oracle.Patience)
	defer cancel()
	code, err := proc.Run(ctx, proc.Role{Path: filepath.Join(bin, words[0]), Args: words, Dir: dir,
		Env: []string{"MAIL_CONFIG=" + dir, "PATH=/usr/sbin:/usr/bin:/bin"}, Stdin: in, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Errorf("%s: %v", c.line, err)
	}
	return shown(c, code, out.String(), errs.String())
}

// original returns the folder of Postfix's own postmap, or skips.
func original(t *testing.T) string {
	t.Helper()
	for _, bin := range []string{"/usr/sbin", "/usr/lib/postfix/original"} {
		// Ours is a link to mailadm.
		real, err := filepath.EvalSymlinks(filepath.Join(bin, "postmap"))
		if err == nil && filepath.Base(real) == "postmap" {
			return bin
		}
	}
	t.Skip("Postfix's postmap is not installed")
	return ""
}

// TestMapsLikeTheOriginal runs each call with ours and with Postfix's.
func TestMapsLikeTheOriginal(t *testing.T) {
	bin := original(t)
	dir, their := layMaps(t), layMaps(t)
	t.Chdir(dir)
	t.Setenv("MAIL_CONFIG", dir)
	refused := make([]string, len(mapRefusals))
	var wg sync.WaitGroup
	for i, c := range mapRefusals {
		wg.Go(func() { refused[i] = theirs(t, c, bin, their) })
	}
	wg.Wait()
	for i, c := range mapRefusals {
		if got := ours(c); got != refused[i] {
			t.Errorf("%s\n--- ours\n%s\n--- theirs\n%s", c.line, got, refused[i])
		}
	}
	for _, c := range mapCalls {
		want := theirs(t, c, bin, their)
		if got := ours(c); got != want {
			t.Errorf("%s\n--- ours\n%s\n--- theirs\n%s", c.line, got, want)
		}
	}
}

// TestMaps holds some answers where there is no original to compare with.
func TestMaps(t *testing.T) {
	dir := layMaps(t)
	t.Chdir(dir)
	t.Setenv("MAIL_CONFIG", dir)
	for _, c := range []struct{ line, stdin, want string }{
		{"postmap -q K1 m", "", "v1\n(0)"}, {"postmap -q nosuch m", "", "(1)"}, {"postmap -q - m", "k1\nzz\n", "k1\tv1\n(0)"},
		{"postmap nosuch", "", "postmap: fatal: open nosuch: No such file or directory\n(1)"},
		{"postmap -w m", "", "postmap: warning: m, line 9: expected format: key whitespace value\npostmap: warning: m, line 10: record is in \"key: value\" format; is this an alias file?\n(0)"},
		{"postalias -q foo aliases", "", "bar\n(0)"}, {"postmap -q foo hash:" + dir + "/aliases", "", "bar\n(0)"},
		{"newaliases", "", "postalias: warning: " + dir + "/aliases, line 5: need name:value pair\npostalias: warning: " + dir +
			"/aliases, line 6: name must be local\npostalias: warning: " + dir + "/aliases, line 8: need name:value pair\n(0)"},
	} {
		if got := ours(mapCall{c.line, c.stdin}); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "aliases.db")); err != nil {
		t.Error(err)
	}
}

// generatedKeys is how many keys are made for all maps of the corpus together.
const generatedKeys = 10500

// generated makes a key of the words of a map: cut, joined and changed.
func generated(rnd *rand.Rand, words []string) string {
	w := strings.Trim(words[rnd.IntN(len(words))], "#/^$,")
	switch rnd.IntN(6) {
	case 0:
		return fmt.Sprintf("%d.%d.%d.%d", rnd.IntN(256), rnd.IntN(256), rnd.IntN(256), rnd.IntN(256))
	case 1:
		return "user" + strconv.Itoa(rnd.IntN(100)) + "@" + w
	case 2:
		return w[rnd.IntN(len(w)+1):]
	case 3:
		return w[:rnd.IntN(len(w)+1)]
	case 4:
		return "X-Header: " + w + " " + words[rnd.IntN(len(words))]
	}
	return w
}

// TestCorpusMaps asks both programs the keys of real machines' maps.
func TestCorpusMaps(t *testing.T) {
	bin := original(t)
	files, _ := filepath.Glob("../../../shared/corpus/maps/*")
	if len(files) == 0 {
		t.Skip("no ../shared/corpus/maps here")
	}
	var all []string
	for _, f := range files {
		abs, err := filepath.Abs(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, abs)
	}
	dir := layMaps(t)
	t.Chdir(dir)
	t.Setenv("MAIL_CONFIG", dir)
	for _, f := range all {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile("map", b, 0o644)
		var keys strings.Builder
		for l := range strings.Lines(string(b)) {
			if w := strings.Fields(l); len(w) > 0 {
				keys.WriteString(w[0] + "\n" + strings.ToUpper(w[0]) + "\nuser@" + strings.TrimPrefix(w[0], "@") + "\n")
			}
		}
		words := strings.Fields(string(b))
		rnd := rand.New(rand.NewPCG(1, uint64(len(b))))
		for range generatedKeys / len(all) * len(words) / max(len(words), 1) {
			keys.WriteString(generated(rnd, words) + "\n")
		}
		keys.WriteString("Subject: viagra\nReceived: from x\nuser@gmail.com\n192.168.1.1\n10.0.0.1\n::1\n")
		for _, kind := range kindsOf(string(b)) {
			c := mapCall{"postmap -q - " + kind + ":map", keys.String()}
			if kind == "hash" {
				theirs(t, mapCall{"postmap map", ""}, bin, dir)
			}
			got, want := answersOf(ours(c)), answersOf(theirs(t, c, bin, dir))
			if got != want {
				t.Errorf("%s as %s\n--- ours\n%.2000s\n--- theirs\n%.2000s", filepath.Base(f), kind, got, want)
			}
		}
	}
}

// kindsOf returns the types that a map may be written for.
func kindsOf(text string) []string {
	kinds := []string{"hash"}
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "/") {
			return append(kinds, "regexp", "pcre")
		}
		if l[0] >= '1' && l[0] <= '9' {
			return append(kinds, "cidr")
		}
	}
	return kinds
}

// answersOf leaves the warnings out: their words about a mistake differ.
func answersOf(s string) string {
	lines := strings.Split(s, "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "postmap: warning") })
	return strings.Join(lines, "\n")
}

// TestInsertNew: postmap -i makes a table that is not there, and a folder without
// main.cf is told in Postfix's words.
func TestInsertNew(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.cf", []byte("compatibility_level = 3.6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	if code := runPostmap([]string{"-c", dir, "-i", "hash:" + dir + "/new"}, strings.NewReader("k v\nl m\nk w\n"), &out, &errs); code != 0 {
		t.Fatal(code, errs.String())
	}
	if !strings.Contains(errs.String(), "duplicate entry: \"k\"") {
		t.Errorf("said %q", errs.String())
	}
	if code := runPostmap([]string{"-c", dir, "-q", "k", "hash:" + dir + "/new"}, nil, &out, &errs); code != 0 || out.String() != "v\n" {
		t.Errorf("k is %q, %d", out.String(), code)
	}
	errs.Reset()
	if code := runPostmap([]string{"-c", dir + "/gone", "-q", "k", "static:x"}, nil, &out, &errs); code != 1 ||
		errs.String() != "postmap: fatal: open "+dir+"/gone/main.cf: No such file or directory\n" {
		t.Errorf("%d %q", code, errs.String())
	}
}
