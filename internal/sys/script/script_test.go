package script

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCall: what Call sends is what Dovecot 2.3.19 sent to a socket, and what Read
// understands.
func TestCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, args := range [][]string{{"80", "u@x"}, {}, {"", "a\tb\nc\x01d", "VERSION"}} {
		got := make(chan []string, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			q, err := Read(c)
			if err != nil || !q.NoReply {
				t.Errorf("%+v %v", q, err)
				got <- nil
				return
			}
			got <- q.Args
		}()
		if err := Call(path, args); err != nil {
			t.Fatal(err)
		}
		if list := <-got; !slices.Equal(list, args) {
			t.Errorf("%q became %q", args, list)
		}
	}
	if Call(path+"x", nil) == nil {
		t.Error("there is no such socket")
	}
}

func TestRead(t *testing.T) {
	q, err := Read(strings.NewReader("VERSION\tscript\t4\t0\nalarm=7\n-\na\n\nbody"))
	if err != nil || q.NoReply || q.Alarm != 7*time.Second || len(q.Args) != 1 {
		t.Errorf("%+v %v", q, err)
	}
	var b strings.Builder
	if Answer(&b, true); b.String() != "+\n" {
		t.Error(b.String())
	}
	for _, in := range []string{"", "GET / HTTP/1.0\r\n\r\n", "VERSION\tscript\t4\t0\nx\n\n", "VERSION\tscript\t4\t0\n-\na\n",
		"VERSION\tscript\t4\t0\n-\n" + strings.Repeat("a\n", maxArgs+1) + "\n", "VERSION\tscript\t4\t0\n-\n" + strings.Repeat("a", maxLine+1) + "\n\n"} {
		if _, err := Read(strings.NewReader(in)); err == nil {
			t.Errorf("%.40q is no request", in)
		}
	}
}

// FuzzRead: nothing that a stranger sends panics or passes the limits.
func FuzzRead(f *testing.F) {
	f.Add("VERSION\tscript\t4\t0\nalarm=7\n-\na\n\nbody")
	f.Fuzz(func(t *testing.T, in string) {
		if q, err := Read(strings.NewReader(in)); err == nil && len(q.Args) > maxArgs {
			t.Fatal(len(q.Args))
		}
	})
}
