// Package tlsrpt counts how TLS went with the hosts of other domains, and tells those
// that want to know once a day (SMTP TLS Reporting, RFC 8460).
//
// send/remote counts into a Collector; a Reporter sends what it has of the days that
// are over. Reports themselves are not counted, or they would never end: the caller
// leaves out mail from the address that sends them.
package tlsrpt

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"packetboat/internal/sys/disk"
)

// The kinds of policies that a session was held against (RFC 8460 section 4.4).
const (
	STS      = "sts"
	TLSA     = "tlsa"
	NoPolicy = "no-policy-found"
)

// What went wrong (RFC 8460 section 4.3).
const (
	NoSTARTTLS   = "starttls-not-supported"
	WrongHost    = "certificate-host-mismatch"
	NotTrusted   = "certificate-not-trusted"
	Expired      = "certificate-expired"
	Invalid      = "validation-failure" // any other failure
	BadTLSA      = "tlsa-invalid"
	BadDNSSEC    = "dnssec-invalid"
	DaneRequired = "dane-required"
	STSFetch     = "sts-policy-fetch-error"
	STSInvalid   = "sts-policy-invalid"
	STSWebPKI    = "sts-webpki-invalid"
)

// Limits on what one day may take in memory and on disk: what is beyond them is not
// counted.
const (
	maxDomains  = 10000
	maxPolicies = 10 // of a domain
	maxDetails  = 50 // kinds of failures of a policy
	maxFile     = 64 << 20
)

// Policy is what a session was held against.
type Policy struct {
	Kind   string   `json:"policy-type"` // STS, TLSA or NoPolicy
	Text   []string `json:"policy-string,omitempty"`
	Domain string   `json:"policy-domain"`
	MX     []string `json:"mx-host,omitempty"` // patterns of an MTA-STS policy
}

// Failure is one kind of failure. A zero Failure is a success.
type Failure struct {
	Kind   string `json:"result-type"`
	From   string `json:"sending-mta-ip,omitempty"`
	Host   string `json:"receiving-mx-hostname,omitempty"`
	Addr   string `json:"receiving-ip,omitempty"`
	Reason string `json:"failure-reason-code,omitempty"`
}

// Detail is a kind of failure and how often it was seen.
type Detail struct {
	Failure
	Sessions int64 `json:"failed-session-count"`
}

// Summary counts the sessions that a policy was about.
type Summary struct {
	Good int64 `json:"total-successful-session-count"`
	Bad  int64 `json:"total-failure-session-count"`
}

// Result is all that one day has of one policy.
type Result struct {
	Policy  Policy   `json:"policy"`
	Summary Summary  `json:"summary"`
	Details []Detail `json:"failure-details,omitempty"`
}

// day is a day of UTC, as 2006-01-02.
type day string

func dayOf(t time.Time) day { return day(t.UTC().Format(time.DateOnly)) }

// start returns when the day begins.
func (d day) start() time.Time {
	t, _ := time.Parse(time.DateOnly, string(d))
	return t
}

// Collector counts. It is used from any goroutine.
type Collector struct {
	file string
	warn func(format string, args ...any)

	mu    sync.Mutex
	days  map[day]map[string][]*Result // by domain
	dirty bool
}

// NewCollector returns a Collector with what its file holds; an empty name keeps it
// in memory. warn is told of a file that cannot be read or written.
func NewCollector(file string, warn func(format string, args ...any)) *Collector {
	c := &Collector{file: file, warn: warn, days: map[day]map[string][]*Result{}}
	c.load()
	return c
}

// Count counts one session of today.
func (c *Collector) Count(p Policy, f Failure) {
	p.Domain = strings.ToLower(p.Domain)
	c.mu.Lock()
	defer c.mu.Unlock()
	today := dayOf(time.Now())
	domains := c.days[today]
	if domains == nil {
		domains = map[string][]*Result{}
		c.days[today] = domains
	}
	r := find(domains[p.Domain], &p)
	if r == nil {
		if len(domains) >= maxDomains && domains[p.Domain] == nil || len(domains[p.Domain]) >= maxPolicies {
			return
		}
		r = &Result{Policy: p}
		domains[p.Domain] = append(domains[p.Domain], r)
	}
	c.dirty = true
	r.count(f)
}

// find returns the result of a policy.
func find(list []*Result, p *Policy) *Result {
	for _, r := range list {
		if r.Policy.Kind == p.Kind && slices.Equal(r.Policy.Text, p.Text) {
			return r
		}
	}
	return nil
}

// count adds one session.
func (r *Result) count(f Failure) {
	if f.Kind == "" {
		r.Summary.Good++
		return
	}
	r.Summary.Bad++
	for i := range r.Details {
		if r.Details[i].Failure == f {
			r.Details[i].Sessions++
			return
		}
	}
	if len(r.Details) < maxDetails {
		r.Details = append(r.Details, Detail{f, 1})
	}
}

// over returns the days before today, the first one first.
func (c *Collector) over(now time.Time) (list []day) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range c.days {
		if d < dayOf(now) {
			list = append(list, d)
		}
	}
	slices.Sort(list)
	return list
}

// domains returns those that a day knows.
func (c *Collector) domains(d day) (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.days[d] {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// results returns what a day that is over has of a domain.
func (c *Collector) results(d day, domain string) []*Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.days[d][domain]
}

// done forgets a domain of a day, and the day with its last one.
func (c *Collector) done(d day, domain string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = true
	if delete(c.days[d], domain); len(c.days[d]) == 0 {
		delete(c.days, d)
	}
}

// Save writes the file if anything is new. What a crash loses is some minutes' count.
func (c *Collector) Save() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty || c.file == "" {
		return
	}
	c.dirty = false
	b, err := json.Marshal(c.days)
	if err == nil {
		err = disk.WriteFile(c.file, b, 0o600)
	}
	if err != nil {
		c.warn("%s", err.Error())
	}
}

// load reads the file. A damaged one is begun anew.
func (c *Collector) load() {
	if c.file == "" {
		return
	}
	f, err := disk.OpenTrusted(c.file, os.O_RDONLY, -1)
	if err == nil {
		defer f.Close()
		err = json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&c.days)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.warn("%s: %s", c.file, err.Error())
	}
	for d, domains := range c.days {
		if domains == nil || d.start().IsZero() {
			delete(c.days, d)
		}
	}
	if c.days == nil {
		c.days = map[day]map[string][]*Result{}
	}
}
