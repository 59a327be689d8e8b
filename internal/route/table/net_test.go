package table

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// fake serves each connection with fn on 127.0.0.1 until the test ends.
func fake(t *testing.T, fn func(r *bufio.Reader, w io.Writer)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(oracle.Patience))
				fn(bufio.NewReader(c), c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestTCP(t *testing.T) {
	addr := fake(t, func(r *bufio.Reader, w io.Writer) {
		for {
			s, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch key := strings.TrimSuffix(strings.TrimPrefix(s, "get "), "\n"); key {
			case "a%20b%25%C3%A9":
				io.WriteString(w, "200 v%20w%0Ax\n")
			case "plain@x":
				io.WriteString(w, "200 ok\n")
			case "temp":
				io.WriteString(w, "400 try%20later\n")
			case "close":
				return // the server goes away after this: the next key needs a new connection
			default:
				io.WriteString(w, "500 no\n")
			}
		}
	})
	keys := []string{"a b%\xc3\xa9", "plain@x", "none", "temp", "PLAIN@x"}
	want := "a b%\xc3\xa9=v w\nx plain@x=ok none! temp?the server answers: \"try%20later\" PLAIN@x=ok"
	if got := ask(t, "tcp:"+addr, Options{}, keys...); got != want {
		t.Errorf("%q", got)
	}
	if hasPostmap("tcp") {
		out, failed := postmap(t, "tcp:"+addr, []string{"a b%\xc3\xa9", "plain@x", "none"})
		if failed || out != "a b%\xc3\xa9\tv w\nx\nplain@x\tok\n" {
			t.Errorf("Postfix: %q", out)
		}
	}
	if _, err := Open("tcp:nowhere", Options{}); err == nil {
		t.Error("opened a place without a port")
	}
	tab, err := Open("tcp:"+addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, found, err := tab.Lookup(ctx, "close"); found || err == nil {
		t.Error("no answer is an answer")
	}
	if got := answers(tab, "plain@x"); got != "plain@x=ok" {
		t.Error(got)
	}
	if _, err := OwnerOf(tab); err == nil {
		t.Error("a server's aliases have an owner")
	}
}

func TestSocketmap(t *testing.T) {
	replies := map[string]string{"m a": "6:OK v w,", "m none": "9:NOTFOUND ,", "m temp": "8:TEMP bad,", "m perm": "8:PERM bad,",
		"m bad": "3:abcd", "m huge": "999999999:x", "m zero": "00:,", "m junk": "NOTFOUND", "m odd": "5:WHAT ,", "m time": "9:TIMEOUT x,", "m two": "4:OK x,4:OK y,"}
	addr := fake(t, func(r *bufio.Reader, w io.Writer) {
		for {
			var n int
			if _, err := fmt.Fscanf(r, "%d:", &n); err != nil {
				return
			}
			b := make([]byte, n+1)
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			io.WriteString(w, replies[string(b[:n])])
			if string(b[:n]) == "m junk" {
				return
			}
		}
	})
	spec := "socketmap:inet:" + addr + ":m"
	if got := ask(t, spec, Options{}, "a", "none", "A"); got != "a=v w none! A=v w" {
		t.Error(got)
	}
	tab, _ := Open(spec, Options{})
	for _, k := range []string{"temp", "perm", "bad", "huge", "zero", "junk", "odd", "time", "two"} {
		if _, found, err := tab.Lookup(context.Background(), k); found || err == nil {
			t.Errorf("%s: %v %v", k, found, err)
		}
		if got := answers(tab, "a"); got != "a=v w" {
			t.Errorf("after %s: %s", k, got)
		}
	}
	if hasPostmap("socketmap") {
		if out, failed := postmap(t, spec, []string{"a", "none"}); failed || out != "a\tv w\n" {
			t.Errorf("Postfix: %q", out)
		}
	}
	for _, s := range []string{"socketmap:host:1", "socketmap:inet:host:1:", "socketmap:unix:"} {
		if _, err := Open(s, Options{}); err == nil {
			t.Errorf("%s was opened", s)
		}
	}
}

func TestMemcache(t *testing.T) {
	bin := find(t, "/usr/bin/memcached")
	port := freePort(t)
	ready := func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err
	}
	server(t, "nobody", ready, bin, "-l", "127.0.0.1", "-p", port, "-m", "8", "-U", "0")
	back := write(t, "back", "alice@example.org first\nbig@example.org "+strings.Repeat("x", 200)+"\nbob@other.example no\n")
	cf := write(t, "mc.cf", "memcache = inet:127.0.0.1:"+port+"\nbackup = texthash:"+back+"\nkey_format = pb:%s\ndomain = example.org\ndata_size_limit = 100\n")
	keys := []string{"alice@example.org", "Alice@example.org", "none@example.org", "big@example.org", "bob@other.example", "two words@example.org"}
	want := "alice@example.org=first Alice@example.org=first none@example.org! big@example.org=" + strings.Repeat("x", 200) + " bob@other.example! two words@example.org!"
	if got := ask(t, "memcache:"+cf, Options{}, keys...); got != want {
		t.Error(got)
	}
	// What was found is in the cache now, for both of us.
	alone := write(t, "alone.cf", "memcache = inet:127.0.0.1:"+port+"\nkey_format = pb:%s\n")
	if got := ask(t, "memcache:"+alone, Options{}, "alice@example.org", "none@example.org"); got != "alice@example.org=first none@example.org!" {
		t.Error(got)
	}
	if hasPostmap("memcache") {
		if out, failed := postmap(t, "memcache:"+alone, []string{"alice@example.org", "none@example.org"}); failed || out != "alice@example.org\tfirst\n" {
			t.Errorf("Postfix: %q", out)
		}
	}
	// A cache that is down: the table behind it answers, without one nobody does.
	down := strings.Replace("memcache = inet:127.0.0.1:PORT\nmax_try = 1\n", "PORT", freePort(t), 1)
	if got := ask(t, "memcache:"+write(t, "d.cf", down+"backup = texthash:"+back+"\n"), Options{}, "alice@example.org"); got != "alice@example.org=first" {
		t.Error(got)
	}
	if got := ask(t, "memcache:"+write(t, "e.cf", down), Options{}, "alice@example.org"); !strings.HasPrefix(got, "alice@example.org?") {
		t.Error(got)
	}
}
