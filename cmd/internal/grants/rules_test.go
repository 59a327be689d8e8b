package grants

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/route/alias"
	"packetboat/internal/send/pipe"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

const safeChars = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// home returns a user with a home of his own, and the rules of a usual service.
func home(t *testing.T) (*proc.User, *Rules) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	u := &proc.User{Name: "u", UID: os.Geteuid(), GID: os.Getegid(), Home: dir}
	if os.Geteuid() == 0 {
		u.UID, u.GID = 65534, 65534
		os.Chown(dir, u.UID, u.GID)
	}
	return u, &Rules{Path: "$home/.forward${recipient_delimiter}${extension}, $home/.forward", PathChars: safeChars,
		Commands: []string{"alias", "forward"}, Files: []string{"alias", "forward"}}
}

func own(t *testing.T, u *proc.User, path, text string) {
	t.Helper()
	put(t, path, text)
	os.Chown(path, u.UID, u.GID)
}

// open says what opening a .forward comes to: its text, "none", or what is wrong.
func open(r *Rules, q alias.ForwardQuery, u *proc.User) string {
	f, err := r.OpenForward(q, u)
	var odd *disk.UntrustedError
	switch {
	case errors.As(err, &odd):
		return odd.Why
	case errors.Is(err, fs.ErrNotExist):
		return "none"
	case err != nil:
		return err.Error()
	}
	defer f.Close()
	b := make([]byte, 100)
	n, _ := f.Read(b)
	return string(b[:n])
}

// TestForwardTrust: what a user, or somebody who owns his home, puts in the place of
// a .forward does not make us read anything else.
func TestForwardTrust(t *testing.T) {
	u, r := home(t)
	path := filepath.Join(u.Home, ".forward")
	q := alias.ForwardQuery{User: "u", Local: "u", Addr: "u@x", Delim: "+"}
	if got := open(r, q, u); got != "none" {
		t.Error(got)
	}
	for name, c := range map[string]struct {
		make func()
		want string
	}{
		"plain":     {func() { own(t, u, path, "a\n") }, "a\n"},
		"link":      {func() { os.Symlink("/etc/passwd", path) }, "is not a regular file"},
		"dangling":  {func() { os.Symlink("/nowhere", path) }, "is not a regular file"},
		"folder":    {func() { os.Mkdir(path, 0o755) }, "is not a regular file"},
		"writable":  {func() { own(t, u, path, "a\n"); os.Chmod(path, 0o666) }, "is world writable"},
		"group":     {func() { own(t, u, path, "a\n"); os.Chmod(path, 0o664) }, "a\n"},
		"not there": {func() {}, "none"},
	} {
		os.RemoveAll(path)
		c.make()
		if got := open(r, q, u); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if os.Geteuid() != 0 {
		return // owners cannot be changed
	}
	os.RemoveAll(path)
	own(t, u, path, "a\n")
	os.Chown(path, 1, 1)
	if got := open(r, q, u); got != "has bad owner uid 1" {
		t.Error(got)
	}
	// Root's secret with another name: the user cannot read it, so we do not either.
	os.Remove(path)
	secret := filepath.Join(filepath.Dir(u.Home), "secret")
	put(t, secret, "root's\n")
	os.Chmod(secret, 0o600)
	os.Link(secret, path)
	if got := open(r, q, u); !strings.HasPrefix(got, "cannot be opened") {
		t.Errorf("%q", got)
	}
}

// TestForwardRace: while somebody swaps files as fast as he can, only the user's own
// text is ever read.
func TestForwardRace(t *testing.T) {
	u, r := home(t)
	path, good := filepath.Join(u.Home, ".forward"), filepath.Join(u.Home, "good")
	own(t, u, good, "good\n")
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Symlink("/etc/passwd", path+".new")
			os.Rename(path+".new", path)
			os.Link(good, path+".new")
			os.Rename(path+".new", path)
		}
	}()
	q := alias.ForwardQuery{User: "u", Local: "u", Delim: "+"}
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if got := open(r, q, u); strings.Contains(got, "root:") {
			t.Fatal(got)
		}
	}
	close(stop)
	<-done
}

// TestForwardPath: the extension chooses a file, never a folder.
func TestForwardPath(t *testing.T) {
	u, r := home(t)
	own(t, u, filepath.Join(u.Home, ".forward"), "plain\n")
	own(t, u, filepath.Join(u.Home, ".forward+list"), "list\n")
	own(t, u, filepath.Join(u.Home, ".forward+_id_"), "safe\n")
	own(t, u, filepath.Join(filepath.Dir(u.Home), "x"), "outside\n")
	for ext, want := range map[string]string{"list": "list\n", "other": "plain\n", "": "plain\n", "../x": "none", ";id;": "safe\n"} {
		q := alias.ForwardQuery{User: "u", Local: "u+" + ext, Ext: ext, HasExt: true, Delim: "+"}
		if got := open(r, q, u); got != want {
			t.Errorf("%q: %q, want %q", ext, got, want)
		}
	}
}

// TestLists: a user's rules grant what they say, to him, and nothing else.
func TestLists(t *testing.T) {
	u, r := home(t)
	own(t, u, filepath.Join(u.Home, ".forward"), "\"|/bin/tool x\", ~/box, friend\n/tmp/file\n")
	q := alias.ForwardQuery{User: "u", Local: "u", Delim: "+"}
	for w, want := range map[Grant]bool{
		{Command, "u", "/bin/tool\x00x"}:    true,
		{Command, "u", "/bin/tool"}:         false,
		{Command, "root", "/bin/tool\x00x"}: false,
		{Command, "", "/bin/tool\x00x"}:     false,
		{File, "u", u.Home + "/box"}:        true,
		{File, "u", "/tmp/file"}:            true,
		{File, "u", "/etc/passwd"}:          false,
	} {
		if r.Lists(q, u, w) != want {
			t.Errorf("%q: %v", w, !want)
		}
	}
	r.Commands = []string{"alias"}
	if r.Lists(q, u, Grant{Command, "u", "/bin/tool\x00x"}) {
		t.Error("allow_mail_to_commands does not count")
	}
}

func TestPipeUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: whose rights a command gets matters only there")
	}
	for name, want := range map[string]string{"root": "root privileges", "nosuchuser": "unknown user name", "nobody": "", "nobody:nosuch": "unknown group",
		"nobody:root": "privileged group", "mail": "mail system owner"} {
		a, err := pipe.Parse([]string{"user=" + name, "argv=/bin/true"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = PipeUser(a, proc.LookupUser, "mail")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRun: ends, limits and what is left behind.
func TestRun(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	u, err := proc.LookupUser(me.Username)
	if err != nil {
		t.Skip(err)
	}
	for script, want := range map[string]End{
		"exit 3":                              {Exit: 3},
		"exit 255":                            {Exit: 255},
		"kill -9 $$":                          {Exit: -9},
		"echo a; echo b >&2":                  {Output: "a b "},
		"umask":                               {Output: "0077 "},
		"sleep 60":                            {Late: true},
		"sleep 60 & echo left; exit 0":        {Output: "left ", Late: true}, // it holds our pipe
		"trap '' TERM HUP; sleep 60":          {Late: true},
		"exec >/dev/null 2>&1; sleep 60":      {Late: true},
		"sleep 1 >/dev/null 2>&1 &":           {},
		"printf '\\377\\001'":                 {Output: "__"},
		"head -c 100000 /dev/zero|tr '\\0' x": {Output: strings.Repeat("x", MaxOutput)},
	} {
		in, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Run(proc.Role{Args: []string{"sh", "-c", script}, Env: []string{"PATH=" + Path}, User: u}, in, 500*time.Millisecond, "local: fatal")
		in.Close()
		if got.Late {
			got.Exit = 0
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", script, got, err, want)
		}
	}
	got, err := Run(proc.Role{Args: []string{"/no/such"}, User: u}, nil, time.Second, "local: fatal")
	if err != nil || got.Exit != TempFail || got.Output != "local: fatal: execvp /no/such: No such file or directory\n" {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := Run(proc.Role{Args: []string{"a\x00b"}, User: u}, nil, time.Second, ""); err == nil {
		t.Error("a NUL in an argument")
	}
}
