package maillog

import (
	"bytes"
	"strings"
	"testing"
)

// TestDovecotLines holds the lines against those that Dovecot 2.3.19 wrote.
func TestDovecotLines(t *testing.T) {
	c := Client{Service: "imap", User: "alice", Method: "PLAIN", Remote: "127.0.0.3", Local: "127.0.0.1", Session: "h1CYGvJgj4R/AAAD"}
	tls := c
	tls.TLS = "TLS"
	none := Client{Service: "pop3", Remote: "127.0.0.25", Local: "127.0.0.1", Session: "S"}
	forged := c
	forged.User = "x>, method=PLAIN, rip=192.0.2.1, lip=1\n2"
	for want, event := range map[string]func(*Log){
		"imap-login: Login: user=<alice>, method=PLAIN, rip=127.0.0.3, lip=127.0.0.1, mpid=263, TLS, session=<h1CYGvJgj4R/AAAD>": func(g *Log) { g.Login(tls, 263) },
		"imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<alice>, method=PLAIN, rip=127.0.0.3, lip=127.0.0.1, session=<h1CYGvJgj4R/AAAD>": func(g *Log) {
			g.LoginDisconnected(c, "Connection closed", "(auth failed, 1 attempts in 2 secs)")
		},
		"pop3-login: Disconnected: Connection closed (no auth attempts in 0 secs): user=<>, rip=127.0.0.25, lip=127.0.0.1, session=<S>": func(g *Log) {
			g.LoginDisconnected(none, "Connection closed", "(no auth attempts in 0 secs)")
		},
		"imap-login: Login: user=<x?, method=PLAIN, rip=192.0.2.1, lip=1?2>, method=PLAIN, rip=127.0.0.3, lip=127.0.0.1, mpid=1, session=<h1CYGvJgj4R/AAAD>": func(g *Log) { g.Login(forged, 1) },
		"pop3(alice)<260><1zAqG/JgL7N/AAAY>: Disconnected: Logged out top=0/0, retr=0/0, del=0/10, size=5682": func(g *Log) {
			g.POP3Disconnected("alice", 260, "1zAqG/JgL7N/AAAY", "Logged out", POP3Stats{Total: 10, Size: 5682})
		},
		"lmtp(229): Disconnect from local: Logged out (state=READY)": func(g *Log) { g.LMTPDisconnect(229, "local", "Logged out", "READY") },
		"auth: Error: x": func(g *Log) { g.DovecotError("auth", "x") },
	} {
		var b bytes.Buffer
		event(To(&b, Options{Name: "dovecot", Bare: true, Host: "mail"}).Program(""))
		if got := b.String(); !strings.HasSuffix(got, " mail dovecot: "+want+"\n") {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}
