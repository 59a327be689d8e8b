package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// The figures of a Reporter.
const (
	saveEvery = time.Minute
	// spread is the time after midnight (UTC) in which reports go out, so that not the
	// whole world sends at once (RFC 8460 section 4.1).
	spread   = 4 * time.Hour
	keepDays = 3 // for which a report that cannot be sent is tried again
	postTime = time.Minute
	maxRua   = 5 // places of one domain that get its report
)

// Options say who reports.
type Options struct {
	Organization string       // of the sender: mydomain
	Submitter    string       // the host that reports: myhostname
	From         mail.Address // who sends and may be asked
	// TXT asks DNS; a domain without a record is no error but an empty list.
	TXT func(ctx context.Context, name string) ([]string, error)
	// Send takes a message into the queue; write writes it with LF line ends.
	Send func(to mail.Address, write func(io.Writer) error) error
	// Post is the client for https:; nil = a plain one of Go's.
	Post *http.Client
	// Warn is told of reports that could not be sent.
	Warn func(format string, args ...any)
}

// Reporter sends what a Collector has counted.
type Reporter struct {
	o Options
	c *Collector
}

// NewReporter returns a Reporter for what c counts; Run does its work.
func NewReporter(o Options, c *Collector) *Reporter {
	if o.Post == nil {
		// Nothing from the environment, and the address that DNS gave is the only one.
		o.Post = &http.Client{Timeout: postTime, Transport: &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Reporter{o, c}
}

// Run sends reports once a day and saves the counts every minute, until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	due := time.Now().Add(rand.N(saveEvery)) // days that were over when we started
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := time.Now(); now.After(due) {
			r.SendAll(ctx, now)
			due = dayOf(now).start().Add(24*time.Hour + rand.N(spread))
		}
		r.c.Save()
	}
}

// SendAll sends the reports of the days that are over. What cannot be sent stays for
// the next day, and is dropped after some days.
func (r *Reporter) SendAll(ctx context.Context, now time.Time) {
	for _, d := range r.c.over(now) {
		for _, domain := range r.c.domains(d) {
			if ctx.Err() != nil {
				return
			}
			err := r.sendOne(ctx, d, domain)
			if err != nil {
				r.o.Warn("TLS report for %s of %s: %s", domain, string(d), err.Error())
			}
			if err == nil || now.Sub(d.start()) > keepDays*24*time.Hour {
				r.c.done(d, domain)
			}
		}
	}
}

// sendOne sends one domain's report to all who are to have it; nil where nobody is.
func (r *Reporter) sendOne(ctx context.Context, d day, domain string) error {
	texts, err := r.o.TXT(ctx, "_smtp._tls."+domain)
	if err != nil {
		return err
	}
	to := ParseRecord(texts)
	if len(to) == 0 {
		return nil
	}
	rep := r.build(d, domain)
	body, err := rep.pack()
	if err != nil {
		return err
	}
	var failed error
	sent := 0
	for _, u := range to {
		if u.Scheme == "https" {
			err = r.post(ctx, u, body)
		} else {
			err = r.mail(u, rep, body)
		}
		if err != nil {
			failed = err
			continue
		}
		sent++
	}
	if sent > 0 { // some of several places are enough (RFC 8460 section 3)
		return nil
	}
	return failed
}

// ParseRecord finds where reports go in the texts of _smtp._tls.DOMAIN: mailto: and
// https: URIs. More than one record, or one without rua=, is none (RFC 8460 section 3).
func ParseRecord(texts []string) (out []*url.URL) {
	records := 0
	for _, t := range texts {
		rest, ok := strings.CutPrefix(t, "v=TLSRPTv1")
		if rest = strings.TrimLeft(rest, " \t"); !ok || !strings.HasPrefix(rest, ";") {
			continue
		}
		records++
		for _, field := range strings.Split(rest, ";") {
			list, ok := strings.CutPrefix(strings.TrimSpace(field), "rua=")
			if !ok {
				continue
			}
			for _, s := range strings.Split(list, ",") {
				u, err := url.Parse(strings.TrimSpace(s))
				if err == nil && len(out) < maxRua && usable(u) {
					out = append(out, u)
				}
			}
		}
	}
	if records != 1 {
		return nil
	}
	return out
}

// usable tells a place that a report can be sent to.
func usable(u *url.URL) bool {
	switch u.Scheme {
	case "https":
		return u.Host != ""
	case "mailto":
		a, ok := address(u)
		return ok && a.Domain() != ""
	}
	return false
}

// address is that of a mailto: URI.
func address(u *url.URL) (mail.Address, bool) {
	s, err := url.PathUnescape(u.Opaque)
	bad := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("<>,\"()\\", r) })
	return mail.Address(s), err == nil && bad < 0
}

// report is one report (RFC 8460 section 4.4).
type report struct {
	Organization string    `json:"organization-name"`
	Range        dateRange `json:"date-range"`
	Contact      string    `json:"contact-info"`
	ID           string    `json:"report-id"`
	Policies     []*Result `json:"policies"`

	domain, submitter string
	from              mail.Address
}

type dateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// build makes the report of a day for a domain.
func (r *Reporter) build(d day, domain string) *report {
	start := d.start()
	return &report{
		Organization: r.o.Organization, Contact: string(r.o.From), Policies: r.c.results(d, domain),
		Range:  dateRange{start, start.Add(24*time.Hour - time.Second)},
		ID:     string(d) + "T00:00:00Z_" + domain + "@" + r.o.Submitter,
		domain: domain, submitter: r.o.Submitter, from: r.o.From,
	}
}

// pack writes the report as compressed JSON.
func (p *report) pack() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(p); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// name is that of the report as a file (RFC 8460 section 5.1).
func (p *report) name() string {
	return fmt.Sprintf("%s!%s!%d!%d.json.gz", p.submitter, p.domain, p.Range.Start.Unix(), p.Range.End.Unix())
}

// post sends a report to an https: URI (RFC 8460 section 5.4).
func (r *Reporter) post(ctx context.Context, u *url.URL, body []byte) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/tlsrpt+gzip")
	a, err := r.o.Post.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode/100 != 2 {
		return fmt.Errorf("%s: HTTP status %d", u.Host, a.StatusCode)
	}
	return nil
}

// mail sends a report to a mailto: URI (RFC 8460 section 5.3).
func (r *Reporter) mail(u *url.URL, p *report, body []byte) error {
	to, _ := address(u)
	return r.o.Send(to, func(w io.Writer) error { return p.write(w, to, body, time.Now()) })
}

// write writes the message that carries the report. TLS-Required: No (RFC 8689 section
// 5) lets it through just where TLS is broken.
func (p *report) write(w io.Writer, to mail.Address, body []byte, now time.Time) error {
	boundary := fmt.Sprintf("tlsrpt.%d/%s", now.UnixNano(), p.submitter)
	_, err := fmt.Fprintf(w, `Date: %s
From: %s
To: %s
Subject: Report Domain: %s Submitter: %s Report-ID: <%s>
Message-Id: <%d.tlsrpt@%s>
TLS-Report-Domain: %s
TLS-Report-Submitter: %s
TLS-Required: No
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: multipart/report; report-type="tlsrpt";
	boundary="%s"

--%s
Content-Type: text/plain; charset=us-ascii

This is an aggregate TLS report of %s about mail for
%s, from %s to %s.

--%s
Content-Type: application/tlsrpt+gzip
Content-Transfer-Encoding: base64
Content-Disposition: attachment;
	filename="%s"

`, now.UTC().Format("Mon, 2 Jan 2006 15:04:05 -0700"), p.from.Quoted(), to.Quoted(), p.domain, p.submitter, p.ID,
		now.UnixNano(), p.submitter, p.domain, p.submitter, boundary, boundary, p.submitter, p.domain,
		p.Range.Start.Format(time.RFC3339), p.Range.End.Format(time.RFC3339), boundary, p.name())
	if err != nil {
		return err
	}
	for text := base64.StdEncoding.EncodeToString(body); text != ""; {
		n := min(len(text), 76)
		if _, err := fmt.Fprintln(w, text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	_, err = fmt.Fprintf(w, "\n--%s--\n", boundary)
	return err
}
