package mtasts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseRecord(t *testing.T) {
	for _, tc := range []struct {
		texts []string
		id    string
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=STSv1;id=a"}, "a"},
		{[]string{"v=STSv1 ; id=a; x=y"}, "a"},
		{[]string{"some other text", "v=STSv1; id=7"}, "7"},
		{[]string{"v=STSv1; id=1", "v=STSv1; id=2"}, ""}, // more than one: none
		{[]string{"v=STSv1"}, ""},
		{[]string{"v=STSv2; id=1"}, ""},
		{[]string{"V=STSv1; id=1"}, ""},
		{[]string{"v=STSv1; id=a-b"}, ""},
		{[]string{"v=STSv1; id=" + strings.Repeat("1", 33)}, ""},
		{[]string{"v=STSv1; id="}, ""},
		{nil, ""},
	} {
		if got := ParseRecord(tc.texts); got != tc.id {
			t.Errorf("%q: %q, not %q", tc.texts, got, tc.id)
		}
	}
}

const good = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n"

func TestParsePolicy(t *testing.T) {
	p, err := ParsePolicy(good)
	if err != nil || p.Mode != Enforce || len(p.MX) != 2 || p.MaxAge != 7*24*time.Hour || len(p.Text) != 5 {
		t.Fatalf("%+v %v", p, err)
	}
	for host, want := range map[string]bool{
		"mx1.example.com": true, "MX1.Example.COM.": true, "mx2.example.com": false, "a.mx1.example.com": false,
		"a.example.net": true, "a.b.example.net": false, "example.net": false, ".example.net": false, "": false, "xexample.net": false,
	} {
		if p.Matches(host) != want {
			t.Errorf("%q: not %v", host, want)
		}
	}
	for name, text := range map[string]string{
		"no version":     "mode: none\nmax_age: 1\n",
		"other version":  strings.Replace(good, "STSv1", "STSv2", 1),
		"no mode":        strings.Replace(good, "mode", "node", 1),
		"unknown mode":   strings.Replace(good, "enforce", "maybe", 1),
		"no age":         strings.Replace(good, "max_age", "min_age", 1),
		"age too long":   strings.Replace(good, "604800", "31557601", 1),
		"negative age":   strings.Replace(good, "604800", "-1", 1),
		"no mx":          "version: STSv1\nmode: testing\nmax_age: 1\n",
		"mx no name":     strings.Replace(good, "mx1.example.com", "a b", 1),
		"mx wild inside": strings.Replace(good, "mx1.example.com", "mx.*.com", 1),
		"mx all":         strings.Replace(good, "mx1.example.com", "*", 1),
		"no colon":       good + "what\n",
		"empty":          "",
		"html":           "<html>",
	} {
		if p, err := ParsePolicy(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	// What is not known is passed over, and the first of two counts.
	if p, err := ParsePolicy("x: y\n" + good + "mode: none\n"); err != nil || p.Mode != Enforce {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := ParsePolicy("version:STSv1\nmode:none\nmax_age:86400"); err != nil || p.Mode != None {
		t.Errorf("%+v %v", p, err)
	}
}

// TestPolicyTotal: no file of a stranger's does harm, and a wildcard never stands for
// anything but one label.
func TestPolicyTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := ParsePolicy("version: STSv1\nmode: enforce\nmax_age: 1\nmx: " + rapid.String().Draw(t, "mx") + "\n")
		if err != nil {
			return
		}
		for _, m := range p.MX {
			if parent, wild := strings.CutPrefix(m, "*."); wild && (p.Matches(parent) || p.Matches("a.b."+parent)) {
				t.Fatal(m)
			}
		}
	})
}

// world is a policy host and a DNS of our own.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	texts []string
	dns   error
	serve func(w http.ResponseWriter, r *http.Request)
	asked int // of the policy host
	names int // of DNS
	opts  Options
}

func (w *world) TXT(_ context.Context, name string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names++
	if name != "_mta-sts.example.com" {
		return nil, errors.New("no such name")
	}
	return w.texts, w.dns
}

func (w *world) Addrs(_ context.Context, host, _ string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// change sets something of the world.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func text(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.example.com" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, body)
	}
}

// newWorld starts a policy host whose certificate is for names.
func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, texts: []string{"v=STSv1; id=1"}, serve: text(good)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, _ = x509.ParseCertificate(der)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked++
		serve := w.serve
		w.mu.Unlock()
		serve(rw, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	w.opts = Options{Names: w, Port: port, Roots: x509.NewCertPool(), File: filepath.Join(t.TempDir(), "sts")}
	w.opts.Roots.AddCert(c)
	return w
}

// older makes all times of a domain that much older.
func older(c *Cache, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.domains {
		e.checked, e.fetched, e.failed = e.checked.Add(-d), e.fetched.Add(-d), e.failed.Add(-d)
	}
}

// TestLife: a policy is fetched once, kept against all that happens to DNS and host,
// replaced when its id is another one, and forgotten when it expires.
func TestLife(t *testing.T) {
	w := newWorld(t, "mta-sts.example.com")
	c := New(w.opts)
	want := func(what string, mode Mode, id string, asked int, trouble error) {
		t.Helper()
		p, err := c.Policy(t.Context(), "Example.com.")
		got, gotID := None, ""
		if p != nil {
			got, gotID = p.Mode, p.ID
		}
		if got != mode || gotID != id || w.asked != asked || !errors.Is(err, trouble) {
			t.Errorf("%s: mode %s id %q asked %d: %v", what, got, gotID, w.asked, err)
		}
	}
	want("first", Enforce, "1", 1, nil)
	want("again", Enforce, "1", 1, nil)
	older(c, 6*time.Minute)
	want("the record is the same", Enforce, "1", 1, nil)
	w.change(func() { w.texts, w.serve = []string{"v=STSv1; id=2"}, http.NotFound })
	older(c, 6*time.Minute)
	want("a new one that cannot be had", Enforce, "1", 2, ErrFetch)
	older(c, time.Minute)
	want("not at once again", Enforce, "1", 2, ErrFetch)
	w.change(func() { w.texts, w.dns = nil, errors.New("no such name") })
	older(c, 6*time.Minute)
	want("the record is gone", Enforce, "1", 2, nil)
	w.change(func() {
		w.texts, w.dns, w.serve = []string{"v=STSv1; id=3"}, nil, text(strings.Replace(good, "enforce", "testing", 1))
	})
	older(c, 6*time.Minute)
	want("a new one", Testing, "3", 3, nil)
	c.Save()
	again := New(w.opts)
	w.change(func() { w.dns = errors.New("timeout") })
	if p, err := again.Policy(t.Context(), "example.com"); p == nil || p.ID != "3" || p.Mode != Testing || !p.Matches("x.example.net") || err != nil {
		t.Errorf("after a restart: %+v %v", p, err)
	}
	w.change(func() { w.dns = nil })
	older(c, 25*time.Hour)
	want("a day later it is fetched again", Testing, "3", 4, nil)
	w.change(func() {
		w.texts, w.serve = []string{"v=STSv1; id=4"}, text("version: STSv1\nmode: none\nmax_age: 86400\n")
	})
	older(c, 6*time.Minute)
	want("taken back", None, "", 5, nil)
	w.change(func() { w.texts, w.serve = []string{"v=STSv1; id=5"}, text(good) })
	older(c, 6*time.Minute)
	want("and again", Enforce, "5", 6, nil)
	w.change(func() { w.serve = http.NotFound })
	older(c, 8*24*time.Hour)
	want("expired", None, "", 7, ErrFetch)
}

// TestRefused: what a policy host must not do.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(http.ResponseWriter, *http.Request)
		want  error
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, ErrFetch},
		"html": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, good)
		}, ErrFetch},
		"no type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			fmt.Fprint(w, good)
		}, ErrFetch},
		"endless": {text(good + strings.Repeat("x: y\n", maxPolicy)), ErrInvalid},
		"garbage": {text("\x00\x01\xff"), ErrInvalid},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			text(good)(w, &http.Request{})
		}, ErrFetch},
		"server":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, ErrFetch},
		"created":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }, ErrFetch},
		"headers":  {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*maxHeader)) }, ErrFetch},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrFetch},
	} {
		w := newWorld(t, "mta-sts.example.com")
		w.serve = tc.serve
		if p, err := New(w.opts).Policy(t.Context(), "example.com"); p != nil || !errors.Is(err, tc.want) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	other := newWorld(t, "www.example.com")
	if p, err := New(other.opts).Policy(t.Context(), "example.com"); p != nil || !errors.Is(err, ErrWebPKI) {
		t.Errorf("another name's certificate: %+v %v", p, err)
	}
	unknown := newWorld(t, "mta-sts.example.com")
	unknown.opts.Roots = x509.NewCertPool()
	if p, err := New(unknown.opts).Policy(t.Context(), "example.com"); p != nil || !errors.Is(err, ErrWebPKI) {
		t.Errorf("nobody's certificate: %+v %v", p, err)
	}
	if p, err := New(unknown.opts).Policy(t.Context(), "without.example"); p != nil || err != nil {
		t.Errorf("no record: %+v %v", p, err)
	}
}

// TestOnce: many messages for a domain ask once.
func TestOnce(t *testing.T) {
	w := newWorld(t, "mta-sts.example.com")
	c := New(w.opts)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if p, err := c.Policy(t.Context(), "example.com"); p == nil || err != nil {
				t.Error(p, err)
			}
		})
	}
	wg.Wait()
	if w.asked != 1 || w.names != 1 {
		t.Errorf("asked %d times, and DNS %d times", w.asked, w.names)
	}
}

// TestBounded: domains without a policy make room for others, and never drop one
// that counts.
func TestBounded(t *testing.T) {
	w := newWorld(t, "mta-sts.example.com")
	c := New(w.opts)
	c.Policy(t.Context(), "example.com")
	for i := range 3 * maxDomains {
		c.Policy(t.Context(), fmt.Sprintf("d%d.example", i))
		if len(c.domains) > maxDomains {
			t.Fatal(len(c.domains))
		}
	}
	if c.domains["example.com"] == nil || w.asked != 1 {
		t.Error("the policy was dropped")
	}
}

// TestDamaged: a file that cannot be read is nothing to fail for.
func TestDamaged(t *testing.T) {
	w := newWorld(t, "mta-sts.example.com")
	c := New(w.opts)
	c.Policy(t.Context(), "example.com")
	c.Save()
	c.o.File = t.TempDir() + "/no/such/folder"
	warned := 0
	c.o.Warn = func(string, ...any) { warned++ }
	c.Save()
	w.opts.Warn = c.o.Warn
	w.opts.File = t.TempDir() // a folder
	New(w.opts)
	if warned != 2 {
		t.Errorf("%d warnings", warned)
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add(good)
	f.Add("version: STSv1\nmode: none\nmax_age: 0")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePolicy(s); err == nil {
			p.Matches("mx1.example.com")
		}
		ParseRecord([]string{s})
	})
}
