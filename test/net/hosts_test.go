package net

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// place is the network namespace of the hosts; listen opens sockets in it.
type place struct{ fd int }

// enter runs fn on a thread that is in the namespace. The thread ends with it.
func (p place) enter(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is of no use elsewhere
		if err := unix.Setns(p.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func (p place) listen(t *testing.T, addr string) (l net.Listener) {
	t.Helper()
	if err := p.enter(func() (err error) { l, err = net.Listen("tcp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// host is a mail host of the world.
type host struct {
	greeting string        // empty = 220
	wait     time.Duration // before the greeting; negative = for ever
	pause    time.Duration // before each reply
	cert     *tls.Certificate
	torn     bool   // STARTTLS is answered by noise
	rcpt     string // the reply to RCPT; empty = 250
	once     bool   // rcpt is only for the first time

	mu   sync.Mutex
	got  []string // "recipient tls" or "recipient clear" of each message
	last string   // the latest message
}

// serve answers connections until the listener is closed.
func (h *host) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go h.talk(c)
	}
}

// talk is one conversation.
func (h *host) talk(c net.Conn) {
	defer func() { c.Close() }()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	if h.wait < 0 {
		io.Copy(io.Discard, c)
		return
	}
	time.Sleep(h.wait)
	greeting := h.greeting
	if greeting == "" {
		greeting = "220 host ESMTP"
	}
	if fmt.Fprintf(c, "%s\r\n", greeting); greeting[0] != '2' {
		return
	}
	r, how, rcpts := bufio.NewReader(c), "clear", []string{}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		time.Sleep(h.pause)
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		reply := "250 2.0.0 Ok"
		switch verb {
		case "EHLO":
			if reply = "250-host\r\n250-8BITMIME\r\n250 SIZE 10000000"; (h.cert != nil || h.torn) && how == "clear" {
				reply = "250-host\r\n250-STARTTLS\r\n250 SIZE 10000000"
			}
		case "STARTTLS":
			io.WriteString(c, "220 2.0.0 go\r\n")
			if h.torn {
				c.Read(make([]byte, 1000)) // the client's first word
				io.WriteString(c, strings.Repeat("this is not TLS ", 20))
				return
			}
			tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*h.cert}})
			if tc.Handshake() != nil {
				return
			}
			c, how = tc, "tls"
			r = bufio.NewReader(c)
			continue
		case "RCPT":
			rcpt := strings.Trim(line[strings.IndexByte(line, '<'):strings.IndexByte(line, '>')], "<>")
			if reply = h.answer(); reply[0] == '2' {
				rcpts = append(rcpts, rcpt)
			}
		case "DATA":
			io.WriteString(c, "354 go\r\n")
			var text strings.Builder
			for line != ".\r\n" {
				text.WriteString(line)
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			h.take(rcpts, how, text.String())
			rcpts = nil
		case "RSET":
			rcpts = nil
		case "QUIT":
			io.WriteString(c, "221 2.0.0 Bye\r\n")
			return
		}
		io.WriteString(c, reply+"\r\n")
	}
}

// answer is the reply to a recipient.
func (h *host) answer() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	reply := h.rcpt
	if h.once {
		h.rcpt = ""
	}
	if reply == "" {
		return "250 2.1.5 Ok"
	}
	return reply
}

func (h *host) take(rcpts []string, how, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = text
	for _, r := range rcpts {
		h.got = append(h.got, r+" "+how)
	}
}

// taken returns what the host has accepted.
func (h *host) taken() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.got, ", ")
}

// authority signs certificates; its own is in the trusted ones of the namespace.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	der  []byte
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	c := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority of the test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign})
	a.cert, a.der, a.key = c.Leaf, c.Certificate[0], c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue signs a certificate, by the authority itself while it has none.
func (a *authority) issue(c *x509.Certificate) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// of returns a certificate for a name; a nil authority has it sign itself.
func (a *authority) of(t *testing.T, name string) *tls.Certificate {
	if a == nil {
		a = &authority{t: t}
	}
	return a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}})
}

// zones is the DNS of the world: every answer is authenticated, but for names that are
// told otherwise.
type zones struct {
	records  []mdns.RR
	insecure []string // ends of names without DNSSEC
}

// add adds a record in the form of a zone file.
func (z *zones) add(t *testing.T, format string, args ...any) {
	t.Helper()
	rr, err := mdns.NewRR(fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	z.records = append(z.records, rr)
}

// ServeDNS answers one question. Names below servfail.test are answered by an error.
func (z *zones) ServeDNS(w mdns.ResponseWriter, q *mdns.Msg) {
	a := new(mdns.Msg)
	a.SetReply(q)
	name := strings.ToLower(q.Question[0].Name)
	a.AuthenticatedData = true
	for _, end := range z.insecure {
		a.AuthenticatedData = a.AuthenticatedData && !strings.HasSuffix(name, end)
	}
	known := false
	for _, rr := range z.records {
		owner := strings.ToLower(rr.Header().Name)
		known = known || owner == name || strings.HasSuffix(owner, "."+name)
		if owner == name && rr.Header().Rrtype == q.Question[0].Qtype {
			a.Answer = append(a.Answer, rr)
		}
	}
	switch {
	case strings.HasSuffix(name, "servfail.test."):
		a.Rcode = mdns.RcodeServerFailure
	case !known:
		a.Rcode = mdns.RcodeNameError
	}
	w.WriteMsg(a)
}

// policyHost serves MTA-STS policies by host name.
func policyHost(t *testing.T, l net.Listener, ca *authority, policies map[string]string) {
	certs := map[string]*tls.Certificate{}
	for name := range policies {
		certs[name] = ca.of(t, name)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, policies[r.Host])
		}),
		TLSConfig: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := certs[h.ServerName]; c != nil {
				return c, nil
			}
			return nil, fmt.Errorf("no certificate for %q", h.ServerName)
		}},
	}
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
}
