package explain

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/mail"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/sys/dns"
)

// dialogueTime bounds the whole dialogue: name servers that do not answer are
// what it waits for.
const dialogueTime = 2 * time.Minute

// dialogue is a client that exists only in memory and the session that answers
// it. Events of the access lists belong to the command under way.
type dialogue struct {
	q    *Question
	conn net.Conn
	in   *bufio.Reader

	mu     sync.Mutex
	events []event // of the command under way
}

// event is one of the access lists, or of the router that they ask.
type event struct {
	policy policy.Event
	route  *rewrite.Event // nil: policy counts
}

// hear takes an event of the access lists.
func (d *dialogue) hear(e policy.Event) { d.add(event{policy: e}) }

// hearRoute takes an event of the router.
func (d *dialogue) hearRoute(e rewrite.Event) { d.add(event{route: &e}) }

func (d *dialogue) add(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// heard returns the events since the last call.
func (d *dialogue) heard() []event {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.events
	d.events = nil
	return out
}

// memoryConn is one end of a pipe that says what addresses it has.
type memoryConn struct {
	net.Conn
	remote, local net.Addr
}

// RemoteAddr is where the client seems to be.
func (c memoryConn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is where the service seems to be.
func (c memoryConn) LocalAddr() net.Addr { return c.local }

// open begins a session of the server.
func (d *dialogue) open(s *smtpd.Server) {
	ours, theirs := net.Pipe()
	ours.SetDeadline(time.Now().Add(dialogueTime))
	d.conn, d.in = ours, bufio.NewReader(ours)
	local := netip.IPv4Unspecified()
	if d.q.Client.Is6() {
		local = netip.IPv6Unspecified()
	}
	go s.ServeConn(memoryConn{theirs, tcpAddr(d.q.Client, 49152), tcpAddr(local, 25)})
}

func tcpAddr(a netip.Addr, port uint16) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port))
}

// say sends a command and returns the last line of the reply; an empty command
// only waits for one.
func (d *dialogue) say(command string) (reply string, all []string, err error) {
	if command != "" {
		if _, err := d.conn.Write([]byte(command + "\r\n")); err != nil {
			return "", nil, err
		}
	}
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			return "", nil, fmt.Errorf("the session ended: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		all = append(all, line)
		if len(line) < 4 || line[3] != '-' {
			return line, all, nil
		}
	}
}

// encrypt turns the client's end into TLS. Nobody looks at the certificate: it
// is one of ours.
func (d *dialogue) encrypt() error {
	c := tls.Client(d.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err := c.Handshake(); err != nil {
		return err
	}
	d.conn, d.in = c, bufio.NewReader(c)
	return nil
}

// login says the AUTH command that the session offers.
func (d *dialogue) login(ehlo []string) string {
	for _, l := range ehlo {
		if strings.Contains(l, " AUTH ") || strings.Contains(l, "-AUTH ") {
			for _, m := range strings.Fields(l)[1:] {
				if m == "PLAIN" {
					return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+d.q.User+"\x00-"))
				}
			}
			return "AUTH SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString([]byte("n,,n="+d.q.User))
		}
	}
	return "AUTH PLAIN =" // it will be told why not
}

// believer is an authentication server that believes everybody.
type believer struct{ user string }

// Mechs implements smtpd.Auth.
func (believer) Mechs() []wire.Mech {
	return []wire.Mech{{Name: "PLAIN", Prop: wire.Plaintext}, {Name: "SCRAM-SHA-256"}}
}

// Start implements smtpd.Auth.
func (b believer) Start(context.Context, wire.Request) (*wire.Exchange, wire.Answer, error) {
	return nil, wire.Answer{State: wire.OK, User: b.user}, nil
}

// named is a resolver that knows the client's name alone.
type named struct{ name string }

// Name implements namer.
func (n named) Name(context.Context, netip.Addr) (name, reverse string, err error) {
	if n.name == "" {
		return "", "", &dns.Error{Kind: dns.NoHost}
	}
	return n.name, n.name, nil
}

// nowhere is the message of a dialogue that nobody keeps.
type nowhere struct{ a *asker }

// ID implements smtpd.Message.
func (*nowhere) ID() string { return "EXPLAIN" }

// Start implements smtpd.Message.
func (n *nowhere) Start(env *mail.Envelope) error {
	n.a.kept = env
	return nil
}

// Write implements smtpd.Message.
func (*nowhere) Write(p []byte) (int, error) { return len(p), nil }

// Commit implements smtpd.Message.
func (*nowhere) Commit() error { return nil }

// Abort implements smtpd.Message.
func (*nowhere) Abort() {}

// throwaway makes a certificate for one dialogue.
func throwaway() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

// offline answers for the name servers that are not asked: every domain takes
// mail, and no address is on any list.
type offline struct {
	policy.Resolver // for what is not answered here: nobody answers
	asked           func(question string)
}

// MX implements policy.Resolver.
func (o offline) MX(_ context.Context, domain string) ([]dns.MX, bool, error) {
	o.asked("MX of " + domain)
	return []dns.MX{{Host: domain, Pref: 10}}, false, nil
}

// Addrs implements policy.Resolver.
func (o offline) Addrs(_ context.Context, host, _ string) ([]netip.Addr, error) {
	o.asked("addresses of " + host)
	return nil, &dns.Error{Name: host, Kind: dns.NoHost}
}

// TXT implements policy.Resolver.
func (o offline) TXT(_ context.Context, name string) ([]string, error) {
	o.asked("texts of " + name)
	return nil, &dns.Error{Name: name, Kind: dns.NoHost}
}
