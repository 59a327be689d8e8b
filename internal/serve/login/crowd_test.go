package login

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// TestCrowd fills the house with clients that say nothing: whoever comes next
// gets in, and the oldest is sent away with a word.
func TestCrowd(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"all":         func(o *Options) { o.MaxClients = 5 },
		"one address": func(o *Options) { o.MaxPerIP = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, change)
			silent := make([]net.Conn, 30)
			for i := range silent {
				// Whoever has to go takes a moment, and there is room for so many of them.
				oracle.Await(func() bool {
					h.server.mu.Lock()
					defer h.server.mu.Unlock()
					return h.server.clients <= 5
				})
				silent[i] = dial(t, h.ports["imap"])
				if _, err := bufio.NewReader(silent[i]).ReadString('\n'); err != nil {
					t.Fatalf("client %d got no greeting: %v", i, err)
				}
			}
			silent[0].SetReadDeadline(time.Now().Add(oracle.Patience))
			if b, err := io.ReadAll(silent[0]); err != nil || string(b) != "* BYE Connection queue full\r\n" {
				t.Errorf("the oldest was told %q, %v", b, err)
			}
			if !oracle.Await(func() bool {
				h.server.mu.Lock()
				defer h.server.mu.Unlock()
				return h.server.clients == 5 && h.server.pushed == 0
			}) {
				t.Error("clients that were pushed out are still counted")
			}
			if !strings.Contains(h.log.String(), "Disconnected: Connection queue full (no auth attempts in 0 secs)") {
				t.Error("the log does not say why")
			}
		})
	}
}

// TestRequireTLS holds ssl = required against mechanisms that send no password.
func TestRequireTLS(t *testing.T) {
	h := build(t, func(o *Options) { o.RequireTLS = true; o.DisablePlaintext = false }, "cram-md5")
	c := dial(t, h.ports["imap"])
	r := bufio.NewReader(c)
	r.ReadString('\n')
	io.WriteString(c, "a AUTHENTICATE CRAM-MD5\r\n")
	if s, _ := r.ReadString('\n'); s != "a NO [PRIVACYREQUIRED] Authentication not allowed until SSL/TLS is enabled.\r\n" {
		t.Errorf("answer %q", s)
	}
}

// TestRefusedLiteral: octets of a literal that nobody wanted are no commands.
func TestRefusedLiteral(t *testing.T) {
	h := build(t, func(o *Options) { o.DisablePlaintext = false })
	for _, line := range []string{"a SELECT {40+}", "a LOGIN {99999999999999999999+}", "a LOGIN x {5000+}", "a LOGIN ({7+}", "a NOOP {7+}",
		"( {7+}", "a LOGIN {1+}\r\nx y z {9+}", "a ID (\"x\" {99999999999+}"} {
		c := dial(t, h.ports["imap"])
		io.WriteString(c, line+"\r\nb CAPABILITY\r\nc CAPABILITY\r\nd LOGOUT\r\n")
		b, _ := io.ReadAll(c)
		if _, after, _ := strings.Cut(string(b), "\n"); strings.Contains(after, "CAPABILITY") || !strings.Contains(after, "* BYE") {
			t.Errorf("%q: %q", line, b)
		}
	}
}
