package quota

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir"
	"packetboat/internal/store/memstore"
)

func settings(lines string) Settings {
	s := Settings{}
	for line := range strings.Lines(lines) {
		if k, v, ok := strings.Cut(line, " = "); ok {
			s[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return s
}

func parse(t *testing.T, lines string) *Config {
	t.Helper()
	c, err := Parse(settings(lines), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestParse: what a configuration says, in both generations' words.
func TestParse(t *testing.T) {
	old := parse(t, `quota = count:User quota:ns=X/:noenforcing
quota_vsizes = yes
quota_rule = *:storage=1G:messages=100
quota_rule2 = Trash:storage=+50%:messages=+5
quota_rule3 = Junk:ignore
quota_grace = 10M
quota_warning = storage=95% quota-warning 95 u
quota_warning2 = -messages=50% quota-warning below u
quota_max_mail_size = 10M
quota2 = dict:Second::file:/x/y:z
quota2_rule = ?:bytes=77
quota_exceeded_message = full
`)
	want := `&{Roots:[a b] Exceeded:full MaxMail:10485760 Over:{Value: Pattern: Lazy:false Command:{Socket: Args:[]}}}`
	roots := old.Roots
	if got := fmt.Sprintf("%+v", *roots[0]); got != "{Name:User quota Driver:count Limits:{Bytes:1073741824 Count:100} Forced:true Rules:[{Mailbox:Trash Ignore:false Limits:{Bytes:0 Count:5} percent:{Bytes:50 Count:0}} "+
		"{Mailbox:Junk Ignore:true Limits:{Bytes:0 Count:0} percent:{Bytes:0 Count:0}}] Warnings:[{Below:false Count:false Limit:0 percent:95 Command:{Socket:quota-warning Args:[95 u]}} "+
		"{Below:true Count:true Limit:0 percent:50 Command:{Socket:quota-warning Args:[below u]}}] Grace:10485760 Percent:0 Hidden:false Lax:true OnlyIf:false Space:X/ InSpace:true File: Virtual:true}" {
		t.Error(got)
	}
	if r := roots[1]; r.Name != "Second" || r.File != "/x/y:z" || r.Limits.Bytes != 77 || r.Forced || r.Percent != 10 {
		t.Errorf("%+v", *r)
	}
	old.Roots = nil
	if got := strings.Replace(fmt.Sprintf("%+v", old), "Roots:[]", "Roots:[a b]", 1); got != want {
		t.Error(got)
	}
	newer := parse(t, `quota/User quota/quota_driver = count
quota/User quota/quota_message_count = 100
quota/User quota/quota_storage_percentage = 90
quota/User quota/quota_storage_size = 1000B
quota/User quota/quota_warning/warn-95/execute/quota-warning/execute_args = 95 u
quota/User quota/quota_warning/warn-95/quota_warning_quota_storage_percentage = 95
quota/User quota/quota_warning/warn-under/execute/quota-warning/execute_args = u u
quota/User quota/quota_warning/warn-under/quota_warning_quota_message_percentage = 50
quota/User quota/quota_warning/warn-under/quota_warning_resource = message
quota/User quota/quota_warning/warn-under/quota_warning_threshold = under
namespace/inbox/mailbox/Junk/quota_ignore = yes
namespace/inbox/mailbox/Trash/quota_storage_extra = 100M
quota_exceeded_message = full
quota_mail_size = 10M
`)
	if got := fmt.Sprintf("%+v %d", *newer.Roots[0], newer.MaxMail); got != "{Name:User quota Driver:count Limits:{Bytes:900 Count:100} Forced:true Rules:[{Mailbox:Junk Ignore:true Limits:{Bytes:0 Count:0} percent:{Bytes:0 Count:0}} "+
		"{Mailbox:Trash Ignore:false Limits:{Bytes:104857600 Count:0} percent:{Bytes:0 Count:0}}] Warnings:[{Below:false Count:false Limit:0 percent:95 Command:{Socket:quota-warning Args:[95 u]}} "+
		"{Below:true Count:true Limit:0 percent:50 Command:{Socket:quota-warning Args:[u u]}}] Grace:10485760 Percent:0 Hidden:false Lax:false OnlyIf:false Space: InSpace:false File: Virtual:true} 10485760" {
		t.Error(got)
	}
}

// TestRefused: what is not understood is an error that names the setting.
func TestRefused(t *testing.T) {
	for in, want := range map[string]string{
		"quota = fs:User":                                       "quota: the driver fs",
		"quota = nosuch:x":                                      "quota: unknown quota backend: nosuch",
		"quota = count:User":                                    "quota: quota count backend: quota_vsizes=yes must be set",
		"quota = maildir:User\nquota_vsizes = yes":              "quota_vsizes: is not supported",
		"quota = maildir:User:nosuch":                           "quota: unknown parameter for backend maildir: nosuch",
		"quota = maildir:User\nquota_rule = storage=1":          "quota_rule: invalid rule: storage=1",
		"quota = maildir:User\nquota_rule = *:storag=1":         "quota_rule: invalid rule storag=1: Unknown rule limit name",
		"quota = maildir:User\nquota_rule = *:storage=1x":       "quota_rule: invalid rule storage=1x",
		"quota = maildir:User\nquota_rule = *:storage=-1":       "quota_rule: invalid rule *:storage=-1: limits can't be negative",
		"quota = maildir:User\nquota_rule = *:storage=10%":      "quota_rule: invalid rule storage=10%: Default rule can't be a percentage",
		"quota = maildir:User\nquota_warning = storage=80%":     "quota_warning: no command specified",
		"quota = maildir:User\nquota_warning = size=80% x":      "quota_warning: invalid warning rule",
		"quota = maildir:User\nquota_grace = x":                 "quota_grace: ",
		"quota = dict:User::redis:x":                            "quota: a dict of driver \"redis\" is not supported",
		"quota_over_script = x":                                 "quota_over_script: quota_over_flag_value must be set",
		"quota/A/quota_driver = fs":                             "quota A: unknown quota driver: fs",
		"quota/A/quota_storage_size = x":                        "quota_storage_size: invalid number",
		"quota_max_mail_size = 1y":                              "quota_max_mail_size: ",
		"quota = maildir:U\nquota_rule = *:storage=9999999999T": "quota_rule: invalid rule",
	} {
		if _, err := Parse(settings(in), nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// TestCheck: the borders, with and without the grace of a delivery.
func TestCheck(t *testing.T) {
	c := parse(t, "quota = maildir:U\nquota_rule = *:bytes=1000:messages=3\nquota_rule2 = Trash:bytes=+500\nquota_rule3 = Junk:ignore\nquota_rule4 = Sp*:messages=+2\nquota_rule5 = Low:bytes=-600")
	for _, tc := range []struct {
		box      string
		used     Usage
		sizes    []int64
		delivery bool
		want     string
	}{
		{"INBOX", Usage{0, 0}, []int64{1000}, false, "ok"},
		{"INBOX", Usage{0, 0}, []int64{1001}, false, "never"},
		{"INBOX", Usage{1, 1}, []int64{1000}, false, "full"},
		{"INBOX", Usage{999, 1}, []int64{101}, true, "ok"},   // 10 % of grace
		{"INBOX", Usage{999, 1}, []int64{102}, true, "full"}, // more than it
		{"INBOX", Usage{1000, 1}, []int64{1}, true, "full"},  // for the last mail only
		{"INBOX", Usage{0, 0}, []int64{999, 100, 1}, true, "full"},
		{"INBOX", Usage{0, 2}, []int64{1}, false, "ok"},
		{"INBOX", Usage{0, 2}, []int64{1, 1}, false, "full"},
		{"INBOX", Usage{0, 3}, []int64{1}, true, "full"},
		{"INBOX", Usage{1000, 2}, []int64{0}, true, "ok"},
		{"INBOX", Usage{1001, 2}, []int64{0}, true, "full"},
		{"Trash", Usage{1200, 0}, []int64{300}, false, "ok"},
		{"Trash", Usage{1200, 0}, []int64{301}, false, "full"},
		{"Junk", Usage{5000, 50}, []int64{1 << 40}, false, "ok"},
		{"Spam", Usage{0, 4}, []int64{1}, false, "ok"},
		{"Low", Usage{0, 0}, []int64{401}, false, "never"},
	} {
		r := c.Roots[0]
		l, _ := r.limits(r.Limits, tc.box)
		kind, ok := r.check(tc.used, l, tc.sizes, tc.delivery)
		got := "ok"
		if !ok {
			got = []string{"full", "never"}[kind]
		}
		if got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for in, want := range map[string]bool{"a|a": true, "a|b": false, "*|": true, "a*c|abbc": true, "a*c|abbd": false, "?|a": true, "?|": false,
		"Archive/*|Archive/2020": true, "Archive/*|Archive": false, "inbox|INBOX": true, "*b*|aabaa": true, "**x|y": false} {
		p, n, _ := strings.Cut(in, "|")
		if match(p, n) != want {
			t.Errorf("%s: not %v", in, want)
		}
	}
}

// TestWarnings: the first limit that was passed counts, from the right side.
func TestWarnings(t *testing.T) {
	c := parse(t, "quota = maildir:U\nquota_rule = *:bytes=1000:messages=10\nquota_warning = storage=80% w 80\nquota_warning2 = storage=50% w 50\nquota_warning3 = -storage=50% w below\nquota_warning4 = messages=2 w two")
	for _, tc := range []struct {
		before, after Usage
		want          string
	}{
		{Usage{0, 0}, Usage{499, 1}, ""},
		{Usage{0, 0}, Usage{500, 1}, "50"},
		{Usage{0, 0}, Usage{900, 1}, "80"},
		{Usage{500, 0}, Usage{600, 2}, "two"},
		{Usage{500, 2}, Usage{499, 1}, "below"},
		{Usage{500, 2}, Usage{500, 1}, ""},
	} {
		got, _ := c.Roots[0].passed(c.Roots[0].Limits, tc.before, tc.after)
		if strings.Join(got.Args, " ") != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// TestGuard: an account over two namespaces is held to its limit by APPEND and COPY,
// not by MOVE, and gets room by EXPUNGE and DELETE.
func TestGuard(t *testing.T) {
	c := parse(t, "quota = count:U\nquota_vsizes = yes\nquota_rule = *:bytes=100\nquota_rule2 = P/Free:ignore\nquota_warning = bytes=90 w up\nquota_warning2 = -bytes=90 w down")
	var ran []string
	a := New(c, User{Name: "u", Run: func(c Command) { ran = append(ran, c.Args[0]) }})
	first := a.Add(memstore.New(), "", '/', true)
	second := a.Add(memstore.New(), "P/", '/', false)
	open := func(st store.Store, name string) store.Mailbox {
		st.Create(name)
		b, err := st.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	in, out, free := open(first, "INBOX"), open(second, "Box"), open(second, "Free")
	put := func(b store.Mailbox, n int) error {
		if err := b.(Bounded).Fits([]int64{int64(n)}); err != nil {
			return err
		}
		_, err := b.Append([]store.New{{Body: strings.NewReader(strings.Repeat("x", n-2) + "\r\n")}})
		return err
	}
	if err := errors.Join(put(in, 60), put(out, 30), put(free, 500)); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := put(out, 11); !errors.As(err, &e) || e.Kind != Full || !errors.Is(err, store.ErrOverQuota) || e.Text != "Quota exceeded (mailbox for user is full)" {
		t.Errorf("%v", err)
	}
	if err := put(out, 101); !errors.As(err, &e) || e.Kind != Never {
		t.Errorf("%v", err)
	}
	uids := []uint32{in.Snapshot().Msgs[0].UID}
	if _, _, err := in.(store.Copier).CopyTo(out, uids); !errors.Is(err, store.ErrOverQuota) {
		t.Errorf("a copy passed the limit: %v", err)
	}
	if _, _, err := in.(store.Copier).CopyTo(Moving(out, in), uids); err != nil {
		t.Errorf("a move was refused: %v", err)
	}
	if Moving(out, free) != out {
		t.Error("a move out of a folder that does not count is no move")
	}
	list, err := a.Roots("INBOX")
	if err != nil || len(list) != 1 || list[0].Used != (Usage{90, 2}) {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := in.Expunge(uids); err != nil {
		t.Fatal(err)
	}
	if err := put(in, 60); err != nil {
		t.Errorf("there is room: %v", err)
	}
	out.Close()
	if err := second.Delete("Box"); err != nil {
		t.Fatal(err)
	}
	if list, _ := a.Roots("INBOX"); list[0].Used != (Usage{60, 1}) {
		t.Errorf("%+v", list)
	}
	if got := strings.Join(ran, " "); got != "up down up down" {
		t.Errorf("warnings ran: %s", got)
	}
}

// TestMaildirSize: the file holds the sum, is read in courier's form, and is counted
// anew where it cannot be believed.
func TestMaildirSize(t *testing.T) {
	root := filepath.Join(t.TempDir(), "M")
	for _, d := range []string{"cur", "new", "tmp"} { // the file is kept from the first question on where there is a Maildir
		os.MkdirAll(filepath.Join(root, d), 0o700)
	}
	st, err := maildir.Open(maildir.Options{Root: root, Inbox: root})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := parse(t, "quota = maildir:U\nquota_rule = *:bytes=1000:messages=10\nquota_rule2 = Junk:ignore")
	a := New(c, User{Name: "u", Root: root})
	g := a.Add(st, "", '.', true)
	file := filepath.Join(root, "maildirsize")
	read := func() string { b, _ := os.ReadFile(file); return string(b) }
	add := func(name string, n int) store.Mailbox {
		g.Create(name)
		b, err := g.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Append([]store.New{{Body: strings.NewReader(strings.Repeat("x", n-1) + "\n")}}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	add("INBOX", 100).Close()
	if list, err := a.Roots("INBOX"); err != nil || list[0].Used != (Usage{100, 1}) || read() != "1000S,10C\n0 0\n100 1\n" {
		t.Fatalf("%+v %v %q", list, err, read())
	}
	in := add("INBOX", 50)
	defer in.Close()
	add("Junk", 70).Close()
	add("Box", 30).Close()
	if read() != "1000S,10C\n0 0\n100 1\n50 1\n70 1\n-70 -1\n30 1\n" {
		t.Errorf("%q", read())
	}
	if _, err := in.Expunge([]uint32{1}); err != nil {
		t.Fatal(err)
	}
	if list, _ := a.Roots(""); list[0].Used != (Usage{80, 2}) {
		t.Errorf("%+v", list)
	}
	for _, text := range []string{"1000S,10C\n900 1\n900 1\n", "1000S,10C\n-5 1\n", "1000S,10C\n80 2", "1000S,10C\nx\n", "", "900S\n80 2\n", strings.Repeat("1000S,10C\n", 600)} {
		os.WriteFile(file, []byte(text), 0o600)
		if list, err := a.Roots(""); err != nil || list[0].Used != (Usage{80, 2}) || read() != "1000S,10C\n80 2\n" {
			t.Errorf("%.40q: %+v %v %.40q", text, list, err, read())
		}
	}
	// Courier's own limits hold where the configuration has none.
	os.WriteFile(file, []byte("5C,300S\n80 2\n1 0\n"), 0o600)
	c.Roots[0].Forced, c.Roots[0].Limits = false, Limits{}
	if list, err := a.Roots(""); err != nil || list[0].Used != (Usage{81, 2}) || list[0].Limits != (Limits{300, 5}) {
		t.Errorf("%+v %v", list, err)
	}
	// A link is never followed.
	os.Remove(file)
	os.WriteFile(root+"/../other", []byte("1S\n0 0\n"), 0o600)
	os.Symlink("../other", file)
	a.Changed("INBOX", 1, 1, 1, false)
	if b, _ := os.ReadFile(root + "/../other"); string(b) != "1S\n0 0\n" {
		t.Errorf("the file behind a link was written: %q", b)
	}
	if err := a.Recalc(); err != nil {
		t.Error(err)
	}
}

// TestDict: the file of a dict keeps its other keys, is made where it is missing,
// and goes up and down.
func TestDict(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dq")
	c := parse(t, "quota = dict:U::file:"+file+"\nquota_rule = *:bytes=1000\nquota_vsizes = yes")
	a := New(c, User{Name: "u"})
	g := a.Add(memstore.New(), "", '/', true)
	b, _ := g.Open("INBOX")
	defer b.Close()
	os.WriteFile(file, []byte("other\n7\n"), 0o600)
	for range 2 {
		if _, err := b.Append([]store.New{{Body: strings.NewReader("12345678\r\n")}}); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string { d, _ := os.ReadFile(file); return string(d) }
	if list, err := a.Roots(""); err != nil || list[0].Used != (Usage{20, 2}) || read() != "other\n7\npriv/quota/messages\n2\npriv/quota/storage\n20\n" {
		t.Fatalf("%+v %v %q", list, err, read())
	}
	b.Expunge([]uint32{1})
	if list, _ := a.Roots(""); list[0].Used != (Usage{10, 1}) {
		t.Errorf("%+v %q", list, read())
	}
	os.WriteFile(file, []byte("priv/quota/messages\n9\npriv/quota/storage\n99\n"), 0o600)
	if err := a.Recalc(); err != nil || read() != "priv/quota/messages\n1\npriv/quota/storage\n10\n" {
		t.Errorf("%v %q", err, read())
	}
}

// TestDirsize: all files count, links do not.
func TestDirsize(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(dir+"/m/sub", 0o700)
	os.WriteFile(dir+"/m/sub/a", make([]byte, 2000), 0o600)
	os.WriteFile(dir+"/inbox", make([]byte, 48), 0o600)
	os.Symlink("/etc/services", dir+"/m/link")
	a := New(parse(t, "quota = dirsize:D\nquota_rule = *:storage=2"), User{Dirs: []string{dir + "/m", dir + "/inbox", dir + "/missing"}})
	list, err := a.Roots("")
	if err != nil || list[0].Used != (Usage{2048, 0}) || a.Check("INBOX", []int64{0}, false) != nil || a.Check("INBOX", []int64{1}, false) == nil {
		t.Errorf("%+v %v", list, err)
	}
}

// TestOverFlag: the script runs once where the userdb is mistaken.
func TestOverFlag(t *testing.T) {
	for value, want := range map[string]string{"TRUE": "mismatch u TRUE", "": "", "no": ""} {
		c := parse(t, "quota = dirsize:D\nquota_rule = *:storage=2\nquota_over_script = s mismatch u\nquota_over_flag_value = T*\nquota_over_flag = "+value)
		c.Over.Value = value
		var ran []string
		a := New(c, User{Root: t.TempDir(), Run: func(c Command) { ran = append(ran, strings.Join(c.Args, " ")) }})
		a.Begin()
		a.Begin()
		if got := strings.Join(ran, ";"); got != want {
			t.Errorf("%q: %q", value, got)
		}
	}
}

// TestSizes: a size that is written is read again.
func TestSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(-1<<30, 1<<30).Draw(t, "n")
		unit := rapid.SampledFrom([]string{"B", "k", "M", "G", "KB", "MiB"}).Draw(t, "unit")
		got, err := Size(fmt.Sprint(n)+unit, 1024)
		if want := n * map[string]int64{"B": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KB": 1 << 10, "MiB": 1 << 20}[unit]; err != nil || got != want {
			t.Fatal(got, want, err)
		}
	})
}

// FuzzMaildirSize: whatever stands in the file, the sum is one that could be true.
func FuzzMaildirSize(f *testing.F) {
	f.Add("1000S,10C\n100 1\n-5 -1\n")
	f.Add("S\n")
	f.Add("1S 2C\n9223372036854775807 1\n9223372036854775807 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "maildirsize")
		os.WriteFile(path, []byte(text), 0o600)
		file := sizeFile{path: path, walk: func() (Usage, error) { return Usage{7, 1}, nil }}
		if used, err := file.read(); err != nil || used.Bytes < 0 || used.Count < 0 {
			t.Fatal(used, err)
		}
	})
}
