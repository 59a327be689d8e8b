package dnslist

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/sys/dns"
)

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, yes, no string
	}{
		{"127.0.0.2", "127.0.0.2", "127.0.0.3 127.0.1.2"},
		{"127.0.0.[2;4..8]", "127.0.0.2 127.0.0.4 127.0.0.6 127.0.0.8", "127.0.0.3 127.0.0.9"},
		{"[127.0.0.2]", "127.0.0.2", "127.0.0.1"},
		{"127.[0..255].[0;1].2", "127.9.0.2 127.255.1.2", "127.0.2.2"},
	} {
		z, err := Parse("zone.test=" + tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range strings.Fields(tt.yes) {
			if !z.want.match(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s does not match", tt.pattern, a)
			}
		}
		for _, a := range strings.Fields(tt.no) {
			if z.want.match(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s matches", tt.pattern, a)
			}
		}
	}
	for _, bad := range []string{"", "1.2.3", "1.2.3.4.5", "1.2.[3.4]", "1.2.3.3[6..9]", "1.2.3.256", "1.2.3.[9..2]", "1.2.3.[", "1.2.3.[]", "1.2.3.[1;]", "[1.2.3.4", "x"} {
		if _, err := Parse("zone.test=" + bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestPatternProperty: a pattern holds exactly what its ranges say.
func TestPatternProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, 255).Draw(t, "from")
		to := rapid.IntRange(from, 255).Draw(t, "to")
		one := rapid.IntRange(0, 255).Draw(t, "one")
		z, err := Parse(fmt.Sprintf("z=127.0.0.[%d;%d..%d]", one, from, to))
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(0, 255).Draw(t, "n")
		want := n == one || n >= from && n <= to
		if z.want.match(netip.AddrFrom4([4]byte{127, 0, 0, byte(n)})) != want {
			t.Fatalf("%d in %d;%d..%d", n, one, from, to)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("bl.test=127.0.0.[2;4..8]")
	f.Add("bl.test=[[[")
	f.Add("=")
	f.Fuzz(func(t *testing.T, s string) {
		if z, err := Parse(s); err == nil && z.Domain == "" {
			t.Fatalf("%q has no zone", s)
		}
	})
}

func TestReverse(t *testing.T) {
	for a, want := range map[string]string{
		"1.2.3.4":        "4.3.2.1",
		"::ffff:1.2.3.4": "4.3.2.1",
		"2001:db8::1":    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2",
	} {
		if got := Reverse(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %s", a, got)
		}
	}
}

type counting struct {
	asked int
	fail  bool
}

func (c *counting) Addrs(_ context.Context, name, _ string) ([]netip.Addr, error) {
	c.asked++
	if c.fail {
		return nil, &dns.Error{Name: name, Type: "A"}
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
}

func (c *counting) TXT(context.Context, string) ([]string, error) {
	return []string{"one", strings.Repeat("x", 600)}, nil
}

// TestRemembers: an answer is asked for once a minute, a failure each time, and
// the text is bounded.
func TestRemembers(t *testing.T) {
	c := &counting{}
	said := 0
	l := New(c, func(string, ...any) { said++ })
	now := time.Now()
	l.clock = func() time.Time { return now }
	z, _ := Parse("bl.test")
	for range 3 {
		a, err := l.Ask(context.Background(), z, "4.3.2.1")
		if err != nil || !a.Listed || len(a.Text) != textLimit || !strings.HasPrefix(a.Text, "one / xx") {
			t.Fatal(a, err)
		}
	}
	now = now.Add(2 * time.Minute)
	l.Ask(context.Background(), z, "4.3.2.1")
	if c.asked != 2 {
		t.Errorf("asked %d times", c.asked)
	}
	c.fail = true
	for range 2 {
		if _, err := l.Ask(context.Background(), z, "5.3.2.1"); err == nil {
			t.Error("a failure is an answer")
		}
	}
	if c.asked != 4 || said != 2 {
		t.Errorf("asked %d times, %d warnings", c.asked, said)
	}
	for n := range maxAnswers + 10 {
		l.remember(fmt.Sprint(n), remembered{})
	}
	if len(l.known) > maxAnswers {
		t.Errorf("%d answers are remembered", len(l.known))
	}
}
