package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

type outbox struct {
	sent []*mail.Envelope
	err  error
}

func (o *outbox) post(env *mail.Envelope) error {
	o.sent = append(o.sent, env)
	return o.err
}

func open(t *testing.T, o Options) (*Cache, *outbox) {
	t.Helper()
	box := &outbox{}
	c, err := New(o, box.post, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, box
}

// TestLife is ADDRESS_VERIFICATION_README's: the first question sends a probe, the
// answer holds until it is old, and is asked for again before.
func TestLife(t *testing.T) {
	c, box := open(t, Options{Origin: "here.test"})
	now := time.Now()
	ask := func(at time.Duration) *mail.Status {
		st, err := c.query(now.Add(at), "a@b.test")
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if ask(0) != nil || ask(time.Second) != nil || len(box.sent) != 1 {
		t.Fatalf("%d probes", len(box.sent))
	}
	env := box.sent[0]
	if env.Sender != "double-bounce@here.test" || !env.VerifyOnly || env.Verify || env.Rcpts[0].Addr != "a@b.test" || !c.Mine(env) {
		t.Errorf("probe is %+v", env)
	}
	if ask(1001 * time.Second); len(box.sent) != 2 {
		t.Error("a probe that got lost is not sent again")
	}
	c.Update("A@B.test", mail.OK("2.0.0", "250 fine"))
	if st := ask(time.Minute); st == nil || st.Outcome != mail.Sent || st.Text != "250 fine" || len(box.sent) != 2 {
		t.Errorf("%+v, %d probes", st, len(box.sent))
	}
	if st := ask(8 * 24 * time.Hour); st == nil || len(box.sent) != 3 {
		t.Errorf("an old answer is not asked for again: %+v, %d probes", st, len(box.sent))
	}
	c.Update("a@b.test", mail.Bounce("5.1.1", "gone"))
	if st := ask(8*24*time.Hour + time.Minute); st == nil || st.Outcome != mail.Sent {
		t.Errorf("one failure takes the place of a success: %+v", st)
	}
	if st := ask(32 * 24 * time.Hour); st != nil {
		t.Errorf("an answer of last month counts: %+v", st)
	}
	c.Update("a@b.test", mail.Bounce("5.1.1", "gone\r\nforever"))
	if st := ask(32*24*time.Hour + time.Minute); st != nil && (st.Outcome != mail.Bounced || st.Text != "gone  forever") {
		t.Errorf("%+v", st)
	}
}

// TestNegative: without address_verify_negative_cache failures are not kept.
func TestNegative(t *testing.T) {
	c, box := open(t, Options{NegativeCache: "no"})
	for range 2 {
		if st, _ := c.Query(context.Background(), "a@b"); st != nil {
			t.Error("an answer from nowhere")
		}
		c.Update("a@b", mail.Bounce("5.1.1", "no"))
	}
	if len(box.sent) != 2 || len(c.entries) != 0 {
		t.Errorf("%d probes, %d entries", len(box.sent), len(c.entries))
	}
}

func TestLimits(t *testing.T) {
	c, box := open(t, Options{Pending: 3})
	for n := range 5 {
		_, err := c.Query(context.Background(), mail.Address(fmt.Sprintf("%d@b", n)))
		if (err != nil) != (n >= 3) {
			t.Errorf("probe %d: %v", n, err)
		}
	}
	box.err = errors.New("disk full")
	c.Update("0@b", mail.OK("2.0.0", ""))
	if _, err := c.Query(context.Background(), "9@b"); err == nil || c.pending != 2 {
		t.Errorf("%v, %d under way", err, c.pending)
	}
	for n := range maxEntries + 100 {
		c.put(mail.Address(fmt.Sprint(n)), entry{known: true, updated: int64(n) << 8})
	}
	if len(c.entries) > maxEntries {
		t.Errorf("%d entries", len(c.entries))
	}
}

func TestSenders(t *testing.T) {
	c, _ := open(t, Options{Sender: "<>"})
	if c.Sender(time.Now()) != "" || !c.Mine(&mail.Envelope{VerifyOnly: true}) || c.Mine(&mail.Envelope{VerifyOnly: true, Verify: true}) || c.Mine(&mail.Envelope{}) {
		t.Error("the null sender")
	}
	c, _ = open(t, Options{Sender: "probe@x.test", SenderTTL: time.Hour})
	now := time.Now()
	a, b := c.Sender(now), c.Sender(now.Add(2*time.Hour))
	if a == b || !strings.HasPrefix(string(a), "probe") || !strings.HasSuffix(string(a), "@x.test") || !c.Mine(&mail.Envelope{VerifyOnly: true, Sender: c.Sender(now.Add(-time.Hour))}) {
		t.Errorf("%s then %s", a, b)
	}
}

func TestMaps(t *testing.T) {
	for spec, want := range map[string]string{"": "", "btree:/x/v": "/x/v.answers", "proxy:btree:/x/v": "/x/v.answers", "lmdb:/v": "/v.answers",
		"memcache:/etc/x": "error", "btree": "error", "btree:x": "error"} {
		got, err := fileOf(spec)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s", spec, got)
		}
	}
}

// TestFile: what is written is read again.
func TestFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "verify")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		c, err := New(Options{Map: "btree:" + dir + "/cache"}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 10).Draw(t, "n") {
			a := mail.Address(rapid.StringMatching(`[a-z :"]{1,8}@[a-z]{1,5}`).Draw(t, "a"))
			st := []*mail.Status{mail.OK("2.0.0", ""), mail.Defer("4.0.0", ""), mail.Bounce("5.0.0", "")}[rapid.IntRange(0, 2).Draw(t, "o")]
			st.Text = rapid.String().Draw(t, "text")
			c.Update(a, st)
		}
		c.Save()
		again, err := New(c.o, nil, nil)
		if err != nil || len(again.entries) != len(c.entries) {
			t.Fatalf("%d of %d, %v", len(again.entries), len(c.entries), err)
		}
		for a, e := range c.entries {
			if again.entries[a] != e {
				t.Fatalf("%q: %+v became %+v", a, e, again.entries[a])
			}
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add("a@b\t0:1234:text")
	f.Add("\t\t::")
	f.Fuzz(func(t *testing.T, s string) {
		if a, e, ok := parseLine(s); ok && (a == "" || e.updated <= 0 || e.outcome > mail.Bounced) {
			t.Fatalf("%q: %q %+v", s, a, e)
		}
	})
}
