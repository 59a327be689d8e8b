package screen

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
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/receive/gate"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// TestMore: parameters of the dialogue that the comparison with postscreen does
// not reach.
func TestMore(t *testing.T) {
	deep := func(change func(o *Options)) *peer {
		o := options("deep")
		o.Wait = 100 * time.Millisecond
		change(&o)
		log := &lines{}
		return &peer{addrs: map[string]string{"x": listen(t, screen(t, log, o))}, log: log.get}
	}
	hello := []string{"< 220-patience", "< 220 mail.example.org*"}
	for _, k := range []struct {
		name   string
		change func(o *Options)
		talk   talk
	}{
		{"backup address", func(o *Options) { o.Allowed = []string{"!127.0.0.1", "static:all"} },
			talk{steps: append(hello, "> HELO x", "< 250*", "> MAIL FROM:<>", "< 250*", "> RCPT TO:<a@b.test>", "< 450 4.3.2*"),
				log: []string{"ALLOWLIST VETO [127.0.0.3]:*", "DISCONNECT*"}}},
		{"old words", func(o *Options) { o.Respect, o.Allowed = "no", []string{"!127.0.0.1", "static:all"} },
			talk{steps: hello, log: []string{"WHITELIST VETO [127.0.0.3]:*"}}},
		{"command filter", func(o *Options) { o.Filter = "inline:{odd=NOOP}" }, talk{steps: append(hello, "> odd", "< 250 2.0.0 Ok")}},
		{"time limit", func(o *Options) { o.Timeout = 200 * time.Millisecond },
			talk{steps: append(hello, "< 421 4.4.2 mail.example.org Error: timeout exceeded", "< EOF"), log: []string{"COMMAND TIME LIMIT from [127.0.0.3]:* after CONNECT"}}},
		{"count limit", func(o *Options) { o.Commands = 1 },
			talk{steps: append(hello, "> NOOP", "< 250*", "> NOOP", "< 421*", "< EOF"), log: []string{"COMMAND COUNT LIMIT from [127.0.0.3]:* after NOOP"}}},
		{"length limit", func(o *Options) {},
			talk{steps: append(hello, "> NOOP "+strings.Repeat("x", 5000), "< 421*", "< EOF"), log: []string{"COMMAND LENGTH LIMIT from [127.0.0.3]:* after CONNECT"}}},
		{"no VRFY, no DSN", func(o *Options) { o.NoVRFY, o.Discard = true, []string{"dsn"} },
			talk{steps: append(hello, "> EHLO x", "< 250-mail.example.org", "< 250-SIZE 200000", "< 250-ETRN", "< 250-ENHANCEDSTATUSCODES", "< 250-8BITMIME", "< 250-SMTPUTF8", "< 250 CHUNKING",
				"> VRFY x", "< 502 5.5.1 VRFY command is disabled")}},
		{"HELO required", func(o *Options) { o.HeloNeed = true }, talk{steps: append(hello, "> MAIL FROM:<>", "< 503 5.5.1 Error: send HELO/EHLO first")}},
		{"TLS required", func(o *Options) { o.TLSLevel = "encrypt" }, talk{steps: append(hello, "> MAIL FROM:<>", "< 530 5.7.0 Must issue a STARTTLS command first")}},
		{"load balancer", func(o *Options) { o.Upstream = "haproxy" },
			talk{steps: append([]string{">> PROXY TCP4 192.0.2.1 192.0.2.2 4444 25\r\n"}, hello...), log: []string{"CONNECT from [192.0.2.1]:4444 to [192.0.2.2]:25"}}},
		{"load balancer that says nothing", func(o *Options) { o.Upstream, o.UpstreamTime = "haproxy", 100*time.Millisecond },
			talk{steps: []string{"< EOF"}, log: []string{"warning: haproxy read: *"}}},
	} {
		t.Run(k.name, func(t *testing.T) {
			k.talk.service, k.talk.from = "x", "127.0.0.3"
			deep(k.change).hold(t, k.talk)
		})
	}
}

// TestStress: when nine tenths of the places are taken, clients wait less long for
// their greeting; the log tells when that begins and ends.
func TestStress(t *testing.T) {
	o := options("plain")
	o.Queue, o.Teaser, o.Wait = 10, "", time.Hour
	hard := options("plain")
	hard.Wait = 50 * time.Millisecond
	o.Stress = &hard
	log := &lines{}
	addr := listen(t, screen(t, log, o))
	var all []net.Conn
	for i := range 10 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(40+i))}, Timeout: 5 * time.Second}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
		if i == 8 {
			awaitLine(t, log, "entering STRESS mode with 9 connections")
		}
	}
	last := all[9]
	last.SetDeadline(time.Now().Add(8 * time.Second))
	if l, err := bufio.NewReader(last).ReadString('\n'); !strings.HasPrefix(l, "220 ") {
		t.Fatalf("under stress a client waits an hour: %q %v", l, err)
	}
	for _, c := range all[:3] {
		c.Close()
	}
	awaitLine(t, log, "leaving STRESS mode with 7 connections")
}

func awaitLine(t *testing.T, log *lines, want string) {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if slices.Contains(log.get(), want) {
			return
		}
	}
	t.Fatalf("no %q in\n%s", want, strings.Join(log.get(), "\n"))
}

// TestStartTLS: the dialogue goes on inside TLS, without what came before in the
// clear.
func TestStartTLS(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	o := options("deep")
	o.TLSLevel, o.Teaser, o.Wait = "encrypt", "", 100*time.Millisecond
	s, err := New(o, Deps{Log: maillog.To(io.Discard, maillog.Options{}).Program("x"), Serve: behind,
		Table: func(spec string) (gate.Table, error) { return table.Open(spec, table.Options{}) },
		TLS:   &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.3")}}
	conn, err := d.Dial("tcp", listen(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(oracle.Patience))
	r := bufio.NewReader(conn)
	r.ReadString('\n')
	io.WriteString(conn, "STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n")
	if l, _ := r.ReadString('\n'); !strings.HasPrefix(l, "220 ") {
		t.Fatal(l)
	}
	in := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	fmt.Fprint(in, "RCPT TO:<a@b.test>\r\n")
	if l, err := bufio.NewReader(in).ReadString('\n'); !strings.HasPrefix(l, "503 5.5.1 Error: need MAIL command") {
		t.Errorf("%q %v", l, err)
	}
}
