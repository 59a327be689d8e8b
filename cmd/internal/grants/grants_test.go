package grants

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// grantsOf returns the Grants of a system with these aliases; DIR in the text is
// the folder that is returned, too.
func grantsOf(t *testing.T, mainCF, aliases string) (*Grants, string) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	put(t, filepath.Join(dir, "main.cf"), "compatibility_level = 3.6\nalias_maps = hash:"+dir+"/aliases\n"+mainCF)
	put(t, filepath.Join(dir, "master.cf"), "local unix - n n - - local\n")
	put(t, filepath.Join(dir, "aliases"), strings.ReplaceAll(aliases, "DIR", dir))
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	services, _, err := config.LoadMaster(dir)
	if err != nil {
		t.Fatal(err)
	}
	return New(m, services), dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// owner is the account that files of this test belong to.
func owner(t *testing.T) string {
	t.Helper()
	name, known := accountOf(os.Geteuid())
	if !known {
		t.Skip("this process's user has no account")
	}
	return name
}

func TestGrants(t *testing.T) {
	me := owner(t)
	g, dir := grantsOf(t, "allow_mail_to_commands = alias\n", `plain: "|/usr/bin/tool -x a"
shell: "|echo 'two  words' | tee $X"
file: /var/log/mails, bob
list: :include:DIR/list
`)
	put(t, filepath.Join(dir, "list"), "# |/bin/no\ncarol, \"|/bin/included\", /tmp/included\n:include:"+dir+"/deep\n")
	put(t, filepath.Join(dir, "deep"), "/tmp/deep\n")
	for _, c := range []struct {
		w    Grant
		want bool
	}{
		{Grant{Command, me, "/usr/bin/tool\x00-x\x00a"}, true},
		{Grant{Command, me, "/usr/bin/tool\x00-x"}, false},
		{Grant{Command, me, "/usr/bin/tool"}, false},
		{Grant{Command, me, "sh\x00-c\x00echo 'two  words' | tee $X"}, true},
		{Grant{Command, me, "sh\x00-c\x00id"}, false},
		{Grant{Command, me + "x", "/usr/bin/tool\x00-x\x00a"}, false},
		{Grant{Command, me, "/bin/included"}, false}, // allow_mail_to_commands
		{Grant{File, me, "/var/log/mails"}, true},
		{Grant{File, me, "/tmp/included"}, false}, // allow_mail_to_files
		{Grant{File, me, "/etc/cron.d/x"}, false},
		{Grant{Include, me, dir + "/list"}, true},
		{Grant{Include, me, dir + "/deep"}, true},
		{Grant{Include, me, "/etc/shadow"}, false},
	} {
		if got := g.Allows(c.w); got != c.want {
			t.Errorf("%q: %v", c.w, got)
		}
	}
	// What an administrator adds is granted without a reload.
	put(t, filepath.Join(dir, "aliases"), "new: /var/log/new\n")
	g.at = time.Time{}
	if !g.Allows(Grant{File, me, "/var/log/new"}) || g.Allows(Grant{File, me, "/var/log/mails"}) {
		t.Error("the tables were not read again")
	}
}

func TestGrantsOfPatterns(t *testing.T) {
	me := owner(t)
	g, dir := grantsOf(t, "allow_mail_to_files = alias, include\n", "x: /tmp/included\n")
	g.maps = append(g.maps, "static:|/bin/any")
	if !g.Allows(Grant{Command, "", "/bin/any"}) || me != "" && g.Allows(Grant{Command, me, "/bin/any"}) {
		t.Error("a table that cannot be listed goes by its owner")
	}
	g.maps = []string{"hash:" + dir + "/gone", "nonsense:x"}
	g.at = time.Time{}
	if g.Allows(Grant{File, me, "/tmp/other"}) {
		t.Error("a table that cannot be read Grants something")
	}
}

// TestOpenInclude: nobody makes root read what he may not read himself.
func TestOpenInclude(t *testing.T) {
	_, dir := grantsOf(t, "", "x: y\n")
	secret := filepath.Join(dir, "secret")
	put(t, secret, "root: hash\n")
	os.Chmod(secret, 0o600)
	if _, err := OpenInclude("", filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := OpenInclude("", "relative"); err == nil {
		t.Error("a relative path was opened")
	}
	f, err := OpenInclude("", secret)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root: files of other users")
	}
	link, hard, theirs := filepath.Join(dir, "link"), filepath.Join(dir, "hard"), filepath.Join(dir, "theirs")
	os.Symlink(secret, link)
	put(t, theirs, "u\n")
	os.Chmod(theirs, 0o600)
	os.Chown(theirs, 65534, 65534)
	if f, err = OpenInclude("", theirs); err != nil {
		t.Errorf("root's alias includes a file of a user: %v", err)
	} else {
		f.Close()
	}
	if _, err := OpenInclude("", link); err == nil {
		t.Error("a link to a file of root's was followed")
	}
	if _, err := OpenInclude("nobody", secret); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("nobody reads root's file: %v", err)
	}
	os.Link(secret, hard)
	if _, err := OpenInclude("", hard); err == nil {
		t.Error("a second name of a file of root's was opened")
	}
}

// TestEnvironment: a command gets nothing from the engine that changes how
// programs run.
func TestEnvironment(t *testing.T) {
	t.Setenv("LC_ALL", "C")
	r := &Rules{Export: "A=b LC_ALL", EnvChars: "/abcdefghijklmnopqrstuvwxyz"}
	u := &proc.User{Name: "u", Home: "/home/u;x", Shell: "/bin/sh"}
	got := r.Environment([]string{"SENDER=a@b", "LD_PRELOAD=/tmp/x", "PATH=/tmp", "HOME=/tmp", "BASH_ENV=x", "LOCAL=a\nb", "EXTENSION=e"}, u)
	want := []string{"A=b", "LC_ALL=C", "PATH=/usr/bin:/bin", "SENDER=a_b", "HOME=/home/u_x", "LOCAL=a_b", "EXTENSION=e"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
