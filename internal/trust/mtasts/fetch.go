package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// fetchTime is how long a policy host may take (RFC 8461 section 3.3).
const fetchTime = time.Minute

// maxHeader bounds the header of a policy host's answer, in octets.
const maxHeader = 16 << 10

// The ways in which a policy cannot be had, in the words of reports (RFC 8460 section
// 4.3.2.1).
var (
	ErrFetch  = errors.New("sts-policy-fetch-error")
	ErrWebPKI = errors.New("sts-webpki-invalid")
)

// Resolver is what a Cache asks DNS; *dns.Resolver is one.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, error)
	Addrs(ctx context.Context, host, network string) ([]netip.Addr, error)
}

// fetcher gets policies over HTTPS. Nothing is taken from the environment, no answer
// is unpacked, and no redirection is followed (RFC 8461 section 3.3).
type fetcher struct {
	names  Resolver
	port   string
	client *http.Client
}

func newFetcher(o Options) *fetcher {
	f := &fetcher{names: o.Names, port: o.Port}
	f.client = &http.Client{
		Timeout: fetchTime,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DialContext:            f.dial,
			TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
		},
	}
	return f
}

// dial connects to one of a policy host's addresses.
func (f *fetcher) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	list, err := f.names.Addrs(ctx, host, "ip")
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	for _, a := range list {
		var c net.Conn
		if c, err = d.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), f.port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// fetch gets the policy of a domain. The error is one of ErrFetch, ErrWebPKI and
// ErrInvalid.
func (f *fetcher) fetch(ctx context.Context, domain string) (*Policy, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrFetch, printable(err.Error()))
	}
	q.Header.Set("User-Agent", "packetboat")
	a, err := f.client.Do(q)
	if err != nil {
		return nil, fetchError(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: HTTP status %d", ErrFetch, a.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return nil, fmt.Errorf("%w: not text/plain", ErrFetch)
	}
	text, err := io.ReadAll(io.LimitReader(a.Body, maxPolicy+1))
	switch {
	case err != nil:
		return nil, fetchError(err)
	case len(text) > maxPolicy:
		return nil, invalid("longer than %d octets", maxPolicy)
	}
	p, err := ParsePolicy(string(text))
	if err != nil {
		return nil, err
	}
	p.Domain = domain
	return p, nil
}

// fetchError sorts what went wrong: a certificate that nobody vouches for is another
// matter than a host that does not answer.
func fetchError(err error) error {
	_, bad := errors.AsType[*tls.CertificateVerificationError](err)
	_, wrong := errors.AsType[x509.HostnameError](err)
	kind := ErrFetch
	if bad || wrong {
		kind = ErrWebPKI
	}
	return fmt.Errorf("%w: %s", kind, printable(strings.TrimSpace(err.Error())))
}
