package login

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/auth"
	"packetboat/internal/auth/wire"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
	"packetboat/test/oracle"
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// wait returns the log when it holds want, or after oracle.Patience.
func (l *logBuffer) wait(want string) string {
	oracle.Await(func() bool { return strings.Contains(l.String(), want) })
	return l.String()
}

// house is a Server with everything around it.
type house struct {
	server *Server
	log    *logBuffer
	auth   *wire.Server
	ports  map[string]string // imap, imaps, pop3, pop3s
	err    error             // what Handover returns
	last   chan Handover
}

// Handover implements Parent: it says what a mail process says and echoes.
func (h *house) Handover(_ context.Context, v Handover, f *os.File) (int, error) {
	if h.err != nil {
		return 0, h.err
	}
	if _, _, ok := h.auth.Claim(v.Ticket); !ok {
		return 0, errors.New("bad ticket")
	}
	c, err := net.FileConn(f)
	if err != nil {
		return 0, err
	}
	go func() {
		defer c.Close()
		if v.Proto == IMAP {
			fmt.Fprintf(c, "%s OK [CAPABILITY IMAP4rev1] Logged in\r\n", v.Tag)
		} else {
			fmt.Fprint(c, "+OK Logged in.\r\n")
		}
		c.Write(v.Pending)
		io.Copy(c, c)
	}()
	h.last <- v
	return 4711, nil
}

// certificate makes a self-signed pair.
func certificate(t testing.TB) (certPEM, keyPEM []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

// connect returns a dialler to an auth server in this process.
func connect(s *wire.Server) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		a, b, err := proc.SocketPair()
		if err != nil {
			return nil, err
		}
		defer a.Close()
		defer b.Close()
		far, err := net.FileConn(b)
		if err != nil {
			return nil, err
		}
		go s.ServeConn(far)
		return net.FileConn(a)
	}
}

func build(t testing.TB, change func(*Options), mechs ...string) *house {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	os.WriteFile(users, []byte("alice:{PLAIN}secret:1:1::/::\n"), 0o600)
	a, err := auth.New(auth.Options{Mechanisms: append([]string{"plain", "login"}, mechs...), Delay: 20 * time.Millisecond, NoPenalty: true,
		Passdbs: []auth.DB{{Driver: "passwd-file", Args: users}}})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{log: &logBuffer{}, auth: &wire.Server{Backend: a}, ports: make(map[string]string), last: make(chan Handover, 100)}
	client := wire.New(connect(h.auth))
	certPEM, keyPEM := certificate(t)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Greeting: "test ready.", DisablePlaintext: true, Verbose: true, TLS: &tls.Config{Certificates: []tls.Certificate{pair}},
		Log: maillog.To(h.log, maillog.Options{Name: "dovecot", Bare: true, Host: "h"}).Program("")}
	if change != nil {
		change(&o)
	}
	h.server = New(o, client, h)
	var ears []net.Listener
	for name, p := range map[string]Proto{"imap": IMAP, "imaps": IMAP, "pop3": POP3, "pop3s": POP3} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ears = append(ears, l)
		h.ports[name] = l.Addr().String()
		go h.server.Serve(l, p, strings.HasSuffix(name, "s"))
	}
	t.Cleanup(func() {
		for _, l := range ears {
			l.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), oracle.Patience)
		defer cancel()
		h.server.Shutdown(ctx)
		client.Close()
	})
	return h
}

// dial connects from 127.0.0.7, which is another machine's address to a server
// on 127.0.0.1.
func dial(t testing.TB, addr string) net.Conn {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7)}}
	c, err := d.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(oracle.Patience))
	return c
}

// play runs one dialogue file: "c -> " is sent, "s <- " must come ("~" stands
// for any rest), "s <- EOF" is the end, "tls" starts a handshake.
func play(t *testing.T, script string, ports map[string]string, name string) {
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	port, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(script), ".txt"), "-")
	if strings.HasPrefix(string(b), "tls\n") {
		port += "s"
	}
	c := dial(t, ports[port])
	r := bufio.NewReader(c)
	for n, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		switch {
		case line == "tls":
			s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			if err := s.Handshake(); err != nil {
				t.Fatal(err)
			}
			c, r = s, bufio.NewReader(s)
		case strings.HasPrefix(line, "c -> "):
			fmt.Fprintf(c, "%s\r\n", line[5:])
		case strings.HasPrefix(line, "s <- "):
			want := strings.ReplaceAll(line[5:], "NAME", name)
			got, err := r.ReadString('\n')
			got = strings.TrimSuffix(got, "\r\n")
			// A Dovecot tells its capabilities after a login before the tagged OK.
			for strings.HasPrefix(got, "* CAPABILITY") && strings.HasSuffix(want, " OK ~") {
				got, err = r.ReadString('\n')
			}
			if !matches(got, want, err) {
				t.Fatalf("line %d: got %q %v, want %q", n+1, got, err, want)
			}
		}
	}
}

func matches(got, want string, err error) bool {
	if want == "EOF" {
		return errors.Is(err, io.EOF) && got == ""
	}
	if prefix, ok := strings.CutSuffix(want, "~"); ok {
		return strings.HasPrefix(got, prefix)
	}
	return got == want
}

func scripts(t *testing.T) []string {
	list, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(list) == 0 {
		t.Fatal("no dialogues", err)
	}
	return list
}

func TestDialogues(t *testing.T) {
	h := build(t, nil)
	for _, s := range scripts(t) {
		t.Run(filepath.Base(s), func(t *testing.T) { play(t, s, h.ports, "Packetboat") })
	}
}

// TestDialoguesDovecot runs the same dialogues against the original.
func TestDialoguesDovecot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root starts a Dovecot")
	}
	if _, err := os.Stat("/usr/sbin/dovecot"); err != nil {
		t.Skip("Dovecot is not installed")
	}
	ports := startDovecot(t)
	for _, s := range scripts(t) {
		t.Run(filepath.Base(s), func(t *testing.T) {
			t.Parallel()
			play(t, s, ports, "Dovecot")
		})
	}
}

// startDovecot runs a private Dovecot in the test's folder.
func startDovecot(t *testing.T) map[string]string {
	dir := t.TempDir()
	for p := dir; p != os.TempDir() && len(p) > 1; p = filepath.Dir(p) {
		os.Chmod(p, 0o755)
	}
	certPEM, keyPEM := certificate(t)
	os.WriteFile(dir+"/cert", certPEM, 0o600)
	os.WriteFile(dir+"/key", keyPEM, 0o600)
	os.WriteFile(dir+"/users", []byte("alice:{PLAIN}secret:8:8::"+dir+"/home::\n"), 0o644)
	os.Mkdir(dir+"/home", 0o755)
	os.Chown(dir+"/home", 8, 8)
	ports := make(map[string]string)
	listeners := ""
	for _, p := range []string{"imap", "pop3"} {
		listeners += "service " + p + "-login {\n"
		for _, name := range []string{p, p + "s"} {
			port := quietPort(t)
			ports[name] = "127.0.0.1:" + port
			listeners += "inet_listener " + name + " {\n port = " + port + "\n}\n"
		}
		listeners += "}\n"
	}
	conf := strings.ReplaceAll(`base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <DIR/cert
ssl_key = <DIR/key
login_greeting = test ready.
auth_mechanisms = plain login
mail_location = mbox:DIR/home/mail:INBOX=DIR/home/inbox
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = DIR/users
}
userdb {
  driver = passwd-file
  args = DIR/users
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`, "DIR", dir) + listeners
	os.Mkdir(dir+"/state", 0o755)
	os.WriteFile(dir+"/dovecot.conf", []byte(conf), 0o644)
	p, err := proc.Start(proc.Role{Path: "/usr/sbin/dovecot", Args: []string{"dovecot", "-F", "-c", dir + "/dovecot.conf"}, Env: proc.CleanEnv(), Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Signal(proc.SIGTERM); p.Wait() })
	for name, addr := range ports {
		if !oracle.Await(func() bool {
			c, err := net.Dial("tcp4", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		}) {
			b, _ := os.ReadFile(dir + "/log")
			t.Fatalf("Dovecot does not answer at %s:\n%s", name, b)
		}
	}
	return ports
}

// quietPort returns a free port below those that the kernel gives to others
// while the program that is to listen there starts.
func quietPort(t *testing.T) string {
	for range 100 {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", 10000+mrand.IntN(20000)))
		if err != nil {
			continue
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	t.Fatal("no free port")
	return ""
}

// TestSTARTTLSInjection: what stands behind STARTTLS in the clear is never run
// (CVE-2011-0411, CVE-2021-33515).
func TestSTARTTLSInjection(t *testing.T) {
	h := build(t, nil)
	for port, in := range map[string]string{"imap": "a STARTTLS\r\nb NOOP\r\n", "pop3": "STLS\r\nCAPA\r\n"} {
		c := dial(t, h.ports[port])
		r := bufio.NewReader(c)
		r.ReadString('\n')
		fmt.Fprint(c, in)
		rest, _ := io.ReadAll(r)
		if s := string(rest); strings.Contains(s, "OK") || strings.Contains(s, "UIDL") {
			t.Errorf("%s: %q", port, s)
		}
	}
}

// TestTLSProxy sends much through a TLS session in both directions, with a
// command that was sent together with the login.
func TestTLSProxy(t *testing.T) {
	h := build(t, nil)
	c := tls.Client(dial(t, h.ports["imaps"]), &tls.Config{InsecureSkipVerify: true})
	fmt.Fprint(c, "a LOGIN alice secret\r\nb NOOP\r\n")
	r := bufio.NewReader(c)
	for _, want := range []string{"* OK [CAP", "a OK", "b NOOP\r\n"} {
		if line, err := r.ReadString('\n'); !strings.HasPrefix(line, want) {
			t.Fatalf("%q %v, want %q", line, err, want)
		}
	}
	data := make([]byte, 3<<20)
	rand.Read(data)
	go func() { c.Write(data); c.CloseWrite() }()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(data), err)
	}
	v := <-h.last
	want := "imap-login: Login: user=<alice>, method=PLAIN, rip=127.0.0.7, lip=127.0.0.1, mpid=4711, TLS, session=<" + v.Session + ">"
	if log := h.log.wait(want); !strings.Contains(log, want) || !v.TLS {
		t.Error(log)
	}
}

func TestPlainHandover(t *testing.T) {
	h := build(t, func(o *Options) { o.DisablePlaintext = false })
	c := dial(t, h.ports["pop3"])
	fmt.Fprint(c, "USER alice\r\nPASS secret\r\nSTAT\r\n")
	r := bufio.NewReader(c)
	for _, want := range []string{"+OK test", "+OK\r", "+OK Logged", "STAT"} {
		if line, err := r.ReadString('\n'); !strings.HasPrefix(line, want) {
			t.Fatalf("%q %v, want %q", line, err, want)
		}
	}
	fmt.Fprint(c, "more\r\n")
	if line, _ := r.ReadString('\n'); line != "more\r\n" {
		t.Errorf("%q", line)
	}
}

func TestHandoverFails(t *testing.T) {
	for err, want := range map[error]string{ErrTooMany: "a NO [LIMIT]", errors.New("x"): "a NO [UNAVAILABLE]"} {
		h := build(t, func(o *Options) { o.DisablePlaintext = false })
		h.err = err
		c := dial(t, h.ports["imap"])
		fmt.Fprint(c, "a LOGIN alice secret\r\n")
		out, _ := io.ReadAll(c)
		if !strings.Contains(string(out), want) {
			t.Errorf("%q", out)
		}
	}
}

// TestLogLines holds the lines that fail2ban reads.
func TestLogLines(t *testing.T) {
	h := build(t, func(o *Options) { o.DisablePlaintext = false })
	c := dial(t, h.ports["imap"])
	fmt.Fprint(c, "a LOGIN alice wrong\r\n")
	r := bufio.NewReader(c)
	r.ReadString('\n')
	if line, _ := r.ReadString('\n'); line != "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" {
		t.Error(line)
	}
	c.Close()
	want := "imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): user=<alice>, method=PLAIN, rip=127.0.0.7, lip=127.0.0.1, session=<"
	if log := h.log.wait(want); !strings.Contains(log, want) {
		t.Error(log)
	}
	dial(t, h.ports["pop3"]).Close()
	want = "pop3-login: Disconnected: Connection closed (no auth attempts in 0 secs): user=<>, rip=127.0.0.7, lip=127.0.0.1, session=<"
	if log := h.log.wait(want); !strings.Contains(log, want) {
		t.Error(log)
	}
	c = dial(t, h.ports["imaps"])
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	want = "imap-login: Disconnected: Connection closed: SSL_accept() failed: "
	if log := h.log.wait(want); !strings.Contains(log, want) || !strings.Contains(log, "TLS handshaking") {
		t.Error(log)
	}
}

func TestLimits(t *testing.T) {
	h := build(t, func(o *Options) { o.Timeout = 300 * time.Millisecond })
	bufio.NewReader(dial(t, h.ports["imap"])).ReadString('\n')
	want := "Disconnected: Inactivity (no auth attempts in 0 secs)"
	if log := h.log.wait(want); !strings.Contains(log, want) {
		t.Error(log)
	}
	for _, in := range []string{strings.Repeat("x", 20000), "a LOGIN " + strings.Repeat("(", 20000), "a LOGIN {4096+}\r\n" + strings.Repeat("y", 4096) + strings.Repeat("{", 9000)} {
		c := dial(t, h.ports["imap"])
		go fmt.Fprint(c, in)
		out, _ := io.ReadAll(io.LimitReader(c, 1<<20))
		if !strings.Contains(string(out), "BYE") && len(out) > 10000 {
			t.Errorf("%.30q: %q", in, out)
		}
	}
}

func TestShutdown(t *testing.T) {
	h := build(t, nil)
	r := bufio.NewReader(dial(t, h.ports["imap"]))
	r.ReadString('\n')
	go h.server.Shutdown(t.Context())
	if line, _ := r.ReadString('\n'); line != "* BYE Server shutting down.\r\n" {
		t.Error(line)
	}
}

func FuzzPreLogin(f *testing.F) {
	for _, s := range []string{"a LOGIN x y\r\n", "a LOGIN {3+}\r\nabc {1+}\r\nx\r\n", "a AUTHENTICATE PLAIN =\r\n", "a ID (\"x\" {3+}\r\nabc NIL)\r\n",
		"* BAD\r\na LOGIN \"\\\r\n", "a STARTTLS\r\nb NOOP\r\n", "USER x\r\nPASS y\r\n", "AUTH PLAIN\r\n*\r\n", "\x00\r\n", "a LOGIN {99999999999999999999+}\r\n"} {
		f.Add([]byte(s))
	}
	a, err := auth.New(auth.Options{Mechanisms: []string{"plain", "login"}, Delay: -1, NoPenalty: true})
	if err != nil {
		f.Fatal(err)
	}
	server := &wire.Server{Backend: a}
	client := wire.New(connect(server))
	defer client.Close()
	s := New(Options{}, client, nil)
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, p := range []Proto{IMAP, POP3} {
			out := &memory{in: bytes.NewReader(in)}
			cl := s.newClient(out, p, netip.AddrPort{}, netip.AddrPort{})
			cl.run(false)
			cl.free()
			for line := range strings.Lines(out.b.String()) {
				if !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\x00\x1b") {
					t.Errorf("%q answered %q", in, line)
				}
			}
		}
	})
}

// memory is a connection that reads from memory.
type memory struct {
	net.Conn
	in io.Reader
	b  bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error)       { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error)      { return m.b.Write(p) }
func (m *memory) Close() error                     { return nil }
func (m *memory) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (m *memory) RemoteAddr() net.Addr             { return m.LocalAddr() }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }
