package gate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/sys/maillog"
)

type tab map[string]string

func (t tab) Lookup(_ context.Context, key string) (string, bool, error) {
	if t == nil {
		return "", false, errors.New("no answer")
	}
	v, ok := t[key]
	return v, ok, nil
}

func TestHosts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	os.WriteFile(file, []byte("# comment\n10.9.0.0/16 !10.8.0.1\n10.8.0.0/16\n"), 0o644)
	open := func(spec string) (Table, error) {
		if spec == "hash:broken" {
			return tab(nil), nil
		}
		return tab{"named.test": "x", "192.0.2.77": "x"}, nil
	}
	h, err := NewHosts([]string{"127.0.0.0/8", "!192.0.2.5", "192.0.2.0/28", "[2001:db8::]/32", "2001:db9::1", ".sub.test", "exact.test", "hash:t", file}, open)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]bool{
		"x 127.0.0.1": true, "x ::ffff:127.0.0.1": true, "x 192.0.2.5": false, "x 192.0.2.6": true, "x 192.0.2.77": true, "x 192.0.2.78": false,
		"x 2001:db8::5": true, "x 2001:db9::1": true, "x 2001:db9::2": false, "a.sub.test 1.1.1.1": true, "sub.test 1.1.1.1": false,
		"EXACT.test 1.1.1.1": true, "a.exact.test 1.1.1.1": false, "Named.test 1.1.1.1": true, "x 10.9.1.1": true, "x 10.8.0.1": false, "x 10.8.0.2": true,
	} {
		name, addr, _ := strings.Cut(in, " ")
		got, err := h.Match(context.Background(), name, netip.MustParseAddr(addr))
		if got != want || err != nil {
			t.Errorf("%s: %v %v", in, got, err)
		}
	}
	h, _ = NewHosts([]string{"hash:broken", "0.0.0.0/0"}, open)
	if ok, err := h.Match(context.Background(), "x", netip.MustParseAddr("1.1.1.1")); ok || err == nil {
		t.Error("a table without an answer holds somebody")
	}
	if ok, _ := (*Hosts)(nil).Match(context.Background(), "x", netip.MustParseAddr("1.1.1.1")); ok {
		t.Error("no list holds somebody")
	}
}

type text struct {
	mu sync.Mutex
	strings.Builder
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.Builder.Write(p)
}

func TestAnvil(t *testing.T) {
	out := &text{}
	a := NewAnvil(AnvilOptions{Unit: 60 * time.Second}, maillog.To(out, maillog.Options{}).Program("anvil"))
	one, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for i := 1; i <= 3; i++ {
		if open, rate := a.Connect("smtp", one); open != i || rate != i {
			t.Errorf("connection %d: %d %d", i, open, rate)
		}
	}
	a.Disconnect("smtp", one)
	if open, rate := a.Connect("smtp", one); open != 3 || rate != 4 {
		t.Errorf("%d %d", open, rate)
	}
	if open, _ := a.Connect("submission", one); open != 1 {
		t.Error("services are counted together")
	}
	a.Connect("smtp", six)
	if open, _ := a.Connect("smtp", netip.MustParseAddr("2001:db8::2")); open != 2 {
		t.Error("a /64 is not one client")
	}
	for range 5 {
		a.Count(Message, "smtp", one)
	}
	if n := a.Rate(Message, "smtp", one); n != 5 {
		t.Errorf("%d messages", n)
	}
	a.Statistics()
	for _, want := range []string{"statistics: max connection rate 4/60s for (smtp:192.0.2.1) at ", "statistics: max connection count 3 for (smtp:192.0.2.1) at ",
		"statistics: max message rate 5/60s for (smtp:192.0.2.1) at ", "statistics: max cache size 3 at "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
}

// TestAnvilUnit: counts begin again with each time unit, connections do not.
func TestAnvilUnit(t *testing.T) {
	a := NewAnvil(AnvilOptions{Unit: 20 * time.Millisecond}, nil)
	one := netip.MustParseAddr("192.0.2.1")
	a.Connect("smtp", one)
	a.Count(Auth, "smtp", one)
	time.Sleep(30 * time.Millisecond)
	if n := a.Count(Auth, "smtp", one); n != 1 {
		t.Errorf("%d", n)
	}
	if open, rate := a.Connect("smtp", one); open != 2 || rate != 1 {
		t.Errorf("%d %d", open, rate)
	}
}

// TestAnvilBound: an endless crowd of clients does not grow the counters.
func TestAnvilBound(t *testing.T) {
	a := NewAnvil(AnvilOptions{}, nil)
	for i := range maxClients + 1000 {
		a.Count(Message, "smtp", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if n := len(a.clients); n > maxClients {
		t.Errorf("%d clients are kept", n)
	}
}

func TestBans(t *testing.T) {
	b := NewBans()
	one := netip.MustParseAddr("192.0.2.1")
	var got []string
	for range 9 {
		got = append(got, fmt.Sprint(b.Failed(one, "alice")))
	}
	if s := strings.Join(got, " "); s != "0s 0s 0s 1s 2s 4s 8s 15s 15s" {
		t.Errorf("delays are %s", s)
	}
	// Many addresses that try one account are slowed down, too.
	var last time.Duration
	for i := range 40 {
		last = b.Failed(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), "bob")
	}
	if last == 0 {
		t.Error("one account can be tried from everywhere")
	}
	b.Passed(one, "alice")
	if d := b.Failed(one, "alice"); d != 0 {
		t.Errorf("after a right password: %v", d)
	}
	for i := range maxBans + 10 {
		b.Failed(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), fmt.Sprint(i))
	}
	if len(b.addrs) > maxBans || len(b.users) > maxBans {
		t.Errorf("%d addresses and %d accounts are kept", len(b.addrs), len(b.users))
	}
	if d := (*Bans)(nil).Failed(one, "x"); d != 0 {
		t.Error("nobody delays")
	}
}

func BenchmarkAnvil(b *testing.B) {
	a := NewAnvil(AnvilOptions{}, nil)
	one := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		a.Count(Message, "smtp", one)
	}
}
