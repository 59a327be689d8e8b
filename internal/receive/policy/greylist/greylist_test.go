package greylist

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

func quiet(string, ...any) {}

// TestAgainstPostgrey sends the same tries to a real postgrey(8), whose clock the
// attribute policy_test_time sets, and to a List.
func TestAgainstPostgrey(t *testing.T) {
	if _, err := exec.LookPath("postgrey"); err != nil {
		t.Skip("postgrey is not installed")
	}
	me, err := user.Current()
	if err != nil || me.Uid != "0" {
		t.Skip("needs root: postgrey changes its user")
	}
	if _, err := user.Lookup("postgrey"); err != nil {
		t.Skip("no user postgrey")
	}
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	db, sock := dir+"/db", dir+"/db/sock"
	if err := os.Mkdir(db, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "postgrey", db).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	cmd := exec.Command("postgrey", "--unix="+sock, "--dbdir="+db, "--greylist-text=%s", "--whitelist-clients=/dev/null", "--whitelist-recipients=/dev/null")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var conn net.Conn
	for range 100 {
		if conn, err = net.Dial("unix", sock); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Skipf("postgrey does not answer here: %v", err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	l := New(Options{}, "", quiet)
	rnd := rand.New(rand.NewPCG(1, 2))
	now := time.Now().Unix() - 40*24*3600
	for n := range 3000 {
		now += []int64{1, 30, 299, 300, 301, 4000, 50000}[rnd.IntN(7)]
		client := netip.AddrFrom4([4]byte{192, 0, 2, byte(rnd.IntN(3))})
		if rnd.IntN(4) == 0 {
			client = netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", rnd.IntN(3)+1))
		}
		sender := []string{"a@x.test", "list-123-b@y.test", "list-77-b@y.test", "c+tag@Z.test", "prvs=1234567890=u@v.test", ""}[rnd.IntN(6)]
		rcpt := []string{"bob@here.test", "Alice@here.test"}[rnd.IntN(2)]
		fmt.Fprintf(conn, "request=smtpd_access_policy\nclient_address=%s\nclient_name=c.test\nsender=%s\nrecipient=%s\ninstance=%d\netrn_domain=\npolicy_test_time=%d\n\n",
			client, sender, rcpt, n, now)
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		r.ReadString('\n')
		want := strings.TrimSpace(line)
		if i := strings.Index(want, " seconds by"); i > 0 {
			want = want[:i]
		}
		v := l.Ask(time.Unix(now, 0), client, mail.Address(sender), mail.Address(rcpt))
		got := "action=DUNNO"
		switch {
		case v.Wait > 0:
			got = fmt.Sprintf("action=DEFER_IF_PERMIT 4.2.0 %d", v.Wait/time.Second)
		case v.Waited > 0:
			got = fmt.Sprintf("action=PREPEND X-Greylist: delayed %d", v.Waited/time.Second)
		}
		if got != want {
			t.Fatalf("try %d at %d: %s %s %s: %q, postgrey says %q", n, now, client, sender, rcpt, got, want)
		}
	}
}

// TestFile: what is written is read again; what is too old is not.
func TestFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "greylist")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := dir + "/list"
		l := New(Options{}, path, quiet)
		start := time.Now().Add(-time.Hour)
		for n := range rapid.IntRange(1, 30).Draw(t, "tries") {
			a := netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 3).Draw(t, "net")), 1})
			l.Ask(start.Add(time.Duration(n)*time.Minute), a, "a@b", "c@d")
		}
		l.Flush()
		again := New(Options{}, path, func(f string, args ...any) { t.Fatalf(f, args...) })
		if len(again.triplets) != len(l.triplets) || len(again.clients) != len(l.clients) {
			t.Fatalf("%d and %d are read of %d and %d", len(again.triplets), len(again.clients), len(l.triplets), len(l.clients))
		}
		for k, v := range l.triplets {
			if again.triplets[k] != v {
				t.Fatalf("%v became %v", v, again.triplets[k])
			}
		}
		again.Save(time.Now().Add(36 * 24 * time.Hour))
		if left := New(Options{}, path, quiet); len(left.triplets)+len(left.clients) > 0 {
			t.Fatal("nothing was forgotten")
		}
	})
}

func TestBounds(t *testing.T) {
	l := New(Options{}, "", quiet)
	for n := range maxTriplets + 1000 {
		a := netip.AddrFrom4([4]byte{byte(n >> 16), byte(n >> 8), byte(n), 1})
		l.Ask(time.Unix(int64(1e9+n), 0), a, "x@y", "z@w")
	}
	if n := len(l.triplets); n > maxTriplets || n < 1000 {
		t.Errorf("%d triplets", n)
	}
}

func TestBadFile(t *testing.T) {
	path := t.TempDir() + "/list"
	text := fmt.Sprintf("t zz 1 2\nx\nc nowhere 1 2\nt %x 5 -1\nc 192.0.2.1 5 %d\n%s\n", make([]byte, 16), time.Now().Unix(), strings.Repeat("y", 500))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said := 0
	l := New(Options{}, path, func(string, ...any) { said++ })
	if len(l.clients) != 1 || len(l.triplets) != 0 || said < 4 {
		t.Errorf("%d clients, %d triplets, %d warnings", len(l.clients), len(l.triplets), said)
	}
	if v := l.Ask(time.Now(), netip.MustParseAddr("192.0.2.1"), "a@b", "c@d"); v != (Verdict{}) {
		t.Errorf("a known client has to wait: %v", v)
	}
}
