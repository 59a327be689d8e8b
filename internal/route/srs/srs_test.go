package srs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

func at(t time.Time) *Rewriter {
	return &Rewriter{Domain: "fwd.test", Secret: []byte("0123456789abcdef"), Now: func() time.Time { return t }}
}

var now = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

func TestForward(t *testing.T) {
	r := at(now)
	for _, a := range []mail.Address{"", "a@fwd.test", "a@FWD.test", "nodomain", mail.Address(strings.Repeat("x", 300) + "@a.test"), "a\n@x.test"} {
		if got := r.Forward(a); got != a {
			t.Errorf("%q became %q", a, got)
		}
	}
	first := r.Forward("alice+x@a.test")
	if !strings.HasPrefix(string(first), "SRS0=") || !strings.HasSuffix(string(first), "=a.test=alice+x@fwd.test") {
		t.Errorf("%s", first)
	}
	other := &Rewriter{Domain: "two.test", Secret: []byte("another secret!!"), Now: r.Now}
	second := other.Forward(first)
	if !strings.HasPrefix(string(second), "SRS1=") || !strings.HasSuffix(string(second), "@two.test") {
		t.Errorf("%s", second)
	}
	third := at(now)
	third.Domain = "three.test"
	for _, hop := range []*Rewriter{other, third} {
		addr := second
		if hop == third {
			addr = third.Forward(second)
		}
		back, err := hop.Reverse(addr)
		if err != nil || back != first {
			t.Errorf("%s: %s %v, want %s", addr, back, err, first)
		}
	}
}

func TestReverse(t *testing.T) {
	r := at(now)
	good := string(r.Forward("alice@a.test"))
	for addr, want := range map[string]error{
		good:                        nil,
		strings.ToLower(good):       nil,
		strings.ToUpper(good):       nil,
		"SRS0=aaaaaaaa" + good[13:]: ErrHash,
		strings.Replace(good, "alice", "mallory", 1): ErrHash,
		"SRS0=x@fwd.test":      ErrForm,
		"SRS0====@fwd.test":    ErrForm,
		"SRS1=a=b@fwd.test":    ErrForm,
		"SRS1=a=b==c@fwd.test": ErrHash,
		"alice@fwd.test":       ErrForm,
	} {
		got, err := r.Reverse(mail.Address(addr))
		if !errors.Is(err, want) || err == nil && !strings.EqualFold(string(got), "alice@a.test") {
			t.Errorf("%s: %s %v, want %v", addr, got, err, want)
		}
	}
	for d, want := range map[int]error{lifetime: nil, lifetime + 1: ErrStale, 500: ErrStale, -1: ErrStale} {
		if _, err := at(now.AddDate(0, 0, d)).Reverse(mail.Address(good)); !errors.Is(err, want) {
			t.Errorf("after %d days: %v", d, err)
		}
	}
	if !r.Mine(mail.Address(good)) || r.Mine("SRS0=a=b=c=d@other.test") || r.Mine("alice@fwd.test") {
		t.Error("Mine")
	}
}

// TestRoundTrip: Reverse(Forward(x)) = x.
func TestRoundTrip(t *testing.T) {
	r := at(now)
	rapid.Check(t, func(t *rapid.T) {
		a := mail.Address(rapid.StringMatching(`[!-~]{1,60}`).Draw(t, "local") + "@" + rapid.StringMatching(`[a-z0-9.-]{1,60}`).Draw(t, "domain"))
		f := r.Forward(a)
		if f == a {
			return
		}
		if back, err := r.Reverse(f); err != nil || back != a && !strings.HasPrefix(string(f), "SRS1") {
			t.Fatalf("%s: %s: %s %v", a, f, back, err)
		}
	})
}

func FuzzReverse(f *testing.F) {
	f.Add("SRS0=abcdefgh=aa=a.test=b@fwd.test")
	f.Add("SRS1=abcdefgh=h==x=y@fwd.test")
	r := at(now)
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := r.Reverse(mail.Address(s)); err == nil && a == "" {
			t.Errorf("%q", s)
		}
		r.Forward(mail.Address(s))
	})
}

// TestTakes: only what was made here, and not too long ago, is an address.
func TestTakes(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	r := &Rewriter{Domain: "ours.test", Secret: []byte("0123456789abcdef"), Now: func() time.Time { return now }}
	good := r.Forward("a@b.test")
	for a, want := range map[mail.Address]bool{good: true, "a@ours.test": false, "SRS0=aaaaaaaa=aa=b.test=a@ours.test": false, mail.Address(strings.ToUpper(string(good))): true,
		mail.Address(strings.Replace(string(good), "ours.test", "other.test", 1)): false, "SRS1=x@ours.test": false} {
		if r.Takes(a) != want {
			t.Errorf("%s: not %v", a, want)
		}
	}
	now = now.AddDate(0, 0, lifetime+1)
	if r.Takes(good) {
		t.Error("an old address is taken")
	}
}
