package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"packetboat/internal/mail"
)

func TestParseRecord(t *testing.T) {
	for _, tc := range []struct {
		texts []string
		want  string
	}{
		{[]string{"v=TLSRPTv1; rua=mailto:reports@example.com"}, "mailto:reports@example.com"},
		{[]string{"v=TLSRPTv1;rua=https://reporting.example.com/v1/tlsrpt"}, "https://reporting.example.com/v1/tlsrpt"},
		{[]string{"other", "v=TLSRPTv1; rua=mailto:a@b.c,https://d.e/f"}, "mailto:a@b.c https://d.e/f"},
		{[]string{"v=TLSRPTv1; rua=mailto:a%2Cb@b.c"}, ""},
		{[]string{"v=TLSRPTv1; rua=mailto:a@b.c%0d%0aBcc:x@y.z"}, ""},
		{[]string{"v=TLSRPTv1; rua=mailto:root"}, ""},
		{[]string{"v=TLSRPTv1; rua=http://d.e/f,ftp://x,file:///etc/passwd"}, ""},
		{[]string{"v=TLSRPTv1; rua=mailto:a@b.c", "v=TLSRPTv1; rua=mailto:d@e.f"}, ""},
		{[]string{"v=TLSRPTv2; rua=mailto:a@b.c"}, ""},
		{[]string{"v=TLSRPTv1"}, ""},
		{[]string{"v=TLSRPTv1; rua=" + strings.Repeat("mailto:a@b.c,", 50)}, strings.TrimSpace(strings.Repeat("mailto:a@b.c ", maxRua))},
		{nil, ""},
	} {
		var got []string
		for _, u := range ParseRecord(tc.texts) {
			got = append(got, u.String())
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%.80q: %q", tc.texts, got)
		}
	}
}

// house is what a Reporter reports to.
type house struct {
	*Reporter
	mu    sync.Mutex
	texts map[string][]string
	dns   error
	sent  map[mail.Address][]string
	warn  []string
	lose  error // sending fails with it
}

func newHouse(t *testing.T) *house {
	h := &house{texts: map[string][]string{}, sent: map[mail.Address][]string{}}
	warn := func(format string, args ...any) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.warn = append(h.warn, fmt.Sprintf(format, args...))
	}
	h.Reporter = NewReporter(Options{Organization: "here.test", Submitter: "mx.here.test", From: "tlsrpt@here.test", Warn: warn,
		TXT: func(_ context.Context, name string) ([]string, error) { return h.texts[name], h.dns },
		Send: func(to mail.Address, write func(io.Writer) error) error {
			if h.lose != nil {
				return h.lose
			}
			var b bytes.Buffer
			err := write(&b)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.sent[to] = append(h.sent[to], b.String())
			return err
		},
	}, NewCollector(filepath.Join(t.TempDir(), "tlsrpt"), warn))
	return h
}

// count counts what TestReport wants told.
func (h *house) count() {
	sts := Policy{Kind: STS, Domain: "Example.com", Text: []string{"version: STSv1", "mode: testing"}, MX: []string{"mx.example.com"}}
	for range 3 {
		h.c.Count(sts, Failure{})
	}
	bad := Failure{Kind: Expired, From: "192.0.2.1", Host: "mx.example.com", Addr: "192.0.2.25"}
	h.c.Count(sts, bad)
	h.c.Count(sts, bad)
	bad.Addr = "2001:db8::25"
	h.c.Count(sts, bad)
	h.c.Count(Policy{Kind: NoPolicy, Domain: "example.com"}, Failure{Kind: STSFetch, Reason: "HTTP status 404"})
	h.c.Count(Policy{Kind: NoPolicy, Domain: "silent.example"}, Failure{})
}

// TestReport: once a day each domain that asks for it gets the figures of the day
// before, by mail, and no other domain does; a restart in between loses nothing.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.texts["_smtp._tls.example.com"] = []string{"v=TLSRPTv1; rua=mailto:tls@example.com"}
		day := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		go h.Run(ctx)
		h.count()
		time.Sleep(23 * time.Hour)
		if len(h.sent) != 0 {
			t.Fatal("reported before the day was over")
		}
		stop()
		synctest.Wait()
		h.c.Save()
		h.c = NewCollector(h.c.file, h.o.Warn)
		ctx, stop = context.WithCancel(t.Context())
		go h.Run(ctx)
		time.Sleep(2 * 24 * time.Hour)
		stop()
		synctest.Wait()
		if len(h.sent) != 1 || len(h.sent["tls@example.com"]) != 1 || len(h.warn) != 0 || len(h.c.days) != 0 {
			t.Fatalf("%v %v %v", h.sent, h.warn, h.c.days)
		}
		checkMail(t, h.sent["tls@example.com"][0], day)
	})
}

// checkMail takes a report apart as a mail program would.
func checkMail(t *testing.T, text string, day time.Time) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"From": "tlsrpt@here.test", "To": "tls@example.com", "Tls-Report-Domain": "example.com",
		"Tls-Report-Submitter": "mx.here.test", "Tls-Required": "No"} {
		if m.Header.Get(name) != want {
			t.Errorf("%s: %q", name, m.Header.Get(name))
		}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Fatal(kind, params, err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	if _, err := r.NextPart(); err != nil {
		t.Fatal(err)
	}
	part, err := r.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	start := day.UTC().Truncate(24 * time.Hour)
	wantName := fmt.Sprintf("mx.here.test!example.com!%d!%d.json.gz", start.Unix(), start.Add(24*time.Hour-time.Second).Unix())
	if part.FileName() != wantName || part.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
		t.Errorf("%q %v", part.FileName(), part.Header)
	}
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, part))
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, z, start)
}

// checkJSON holds the figures against what was counted.
func checkJSON(t *testing.T, r io.Reader, start time.Time) {
	t.Helper()
	var got struct {
		Org   string `json:"organization-name"`
		ID    string `json:"report-id"`
		Range struct {
			Start string `json:"start-datetime"`
			End   string `json:"end-datetime"`
		} `json:"date-range"`
		Policies []struct {
			Policy  map[string]any
			Summary map[string]int
			Details []map[string]any `json:"failure-details"`
		}
	}
	if err := json.NewDecoder(r).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Org != "here.test" || got.ID == "" || got.Range.Start != start.Format(time.RFC3339) || len(got.Policies) != 2 {
		t.Fatalf("%+v", got)
	}
	p := got.Policies[0]
	if p.Policy["policy-type"] != "sts" || p.Policy["policy-domain"] != "example.com" || len(p.Policy["policy-string"].([]any)) != 2 ||
		p.Summary["total-successful-session-count"] != 3 || p.Summary["total-failure-session-count"] != 3 || len(p.Details) != 2 ||
		p.Details[0]["result-type"] != "certificate-expired" || p.Details[0]["failed-session-count"] != 2.0 ||
		p.Details[0]["receiving-ip"] != "192.0.2.25" || p.Details[0]["sending-mta-ip"] != "192.0.2.1" {
		t.Errorf("%+v", p)
	}
	if p := got.Policies[1]; p.Policy["policy-type"] != "no-policy-found" || p.Policy["policy-string"] != nil || p.Details[0]["failure-reason-code"] != "HTTP status 404" {
		t.Errorf("%+v", p)
	}
}

// TestPost: a report by https, and one that fails stays for the next day.
func TestPost(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	status, posted := http.StatusServiceUnavailable, 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		posted++
		b, _ := io.ReadAll(r.Body)
		z, err := gzip.NewReader(bytes.NewReader(b))
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/tlsrpt+gzip" || err != nil {
			t.Errorf("%s %v %v", r.Method, r.Header, err)
		} else if b, err := io.ReadAll(z); err != nil || !json.Valid(b) {
			t.Error(string(b), err)
		}
		w.WriteHeader(status)
	}))
	defer s.Close()
	h.o.Post = s.Client()
	h.texts["_smtp._tls.example.com"] = []string{"v=TLSRPTv1; rua=" + s.URL + "/tlsrpt"}
	h.count()
	tomorrow := time.Now().Add(24 * time.Hour)
	h.SendAll(t.Context(), tomorrow)
	if posted != 1 || len(h.warn) != 1 || len(h.c.days) != 1 {
		t.Fatal(posted, h.warn, h.c.days)
	}
	status = http.StatusOK
	h.SendAll(t.Context(), tomorrow)
	h.SendAll(t.Context(), tomorrow)
	if posted != 2 || len(h.c.days) != 0 {
		t.Fatal(posted, h.c.days)
	}
	h.count()
	h.dns = errors.New("no answer")
	h.SendAll(t.Context(), tomorrow)
	if len(h.c.days) != 1 {
		t.Error("a report was dropped too early")
	}
	h.SendAll(t.Context(), tomorrow.Add(4*24*time.Hour))
	if len(h.c.days) != 0 {
		t.Error("a report stays for ever")
	}
}

// TestBounds: what strangers make us count has an end, and a damaged file does no harm.
func TestBounds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	warned := 0
	c := NewCollector(file, func(string, ...any) { warned++ })
	for i := range 2 * maxDomains {
		c.Count(Policy{Kind: NoPolicy, Domain: fmt.Sprint("d", i)}, Failure{})
	}
	for i := range 100 {
		c.Count(Policy{Kind: STS, Domain: "d1", Text: []string{fmt.Sprint(i)}}, Failure{})
		c.Count(Policy{Kind: NoPolicy, Domain: "d2"}, Failure{Kind: Invalid, Host: fmt.Sprint(i)})
	}
	today := dayOf(time.Now())
	if n := len(c.days[today]); n != maxDomains {
		t.Error(n)
	}
	if n := len(c.days[today]["d1"]); n != maxPolicies {
		t.Error(n)
	}
	if r := c.days[today]["d2"][0]; len(r.Details) != maxDetails || r.Summary.Bad != 100 {
		t.Errorf("%d kinds, %+v", len(r.Details), r.Summary)
	}
	c.Save()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(file, b[:len(b)/2], 0o600)
	NewCollector(file, func(string, ...any) { warned++ }).Count(Policy{Kind: NoPolicy, Domain: "x"}, Failure{})
	for _, s := range []string{"null", `{"2026-01-01":null}`, `{"x":{"y":[]}}`} {
		os.WriteFile(file, []byte(s), 0o600)
		c := NewCollector(file, func(string, ...any) {})
		c.Count(Policy{Kind: NoPolicy, Domain: "x"}, Failure{})
		if len(c.days) != 1 {
			t.Errorf("%s: %v", s, c.days)
		}
	}
	if warned != 1 {
		t.Errorf("%d warnings", warned)
	}
}
