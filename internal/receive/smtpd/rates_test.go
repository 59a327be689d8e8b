package smtpd

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// TestNewTLSRate: sessions that begin anew are counted, resumed ones are not asked for.
func TestNewTLSRate(t *testing.T) {
	w := tlsWorld(t, func(w *world) { w.opts.TLSRate = 1 })
	for i, want := range []string{"220 2.0.0 Ready to start TLS", "454 4.7.0 Error: too many new TLS sessions from unknown[127.0.0.3]"} {
		k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
		k.want("220*")
		k.send("STARTTLS\r\n")
		k.want(want)
		if i == 0 {
			k.startTLS()
			k.send("NOOP\r\n")
			k.want("250 2.0.0 Ok")
		}
	}
	if !oracle.Await(func() bool {
		return hasLine(w.log.all(), "warning: Refusing STARTTLS request from unknown[127.0.0.3] for service smtp")
	}) {
		t.Errorf("log is %q", w.log.all())
	}
}

// TestStartTLSTimeout: who says STARTTLS and then nothing is sent away.
func TestStartTLSTimeout(t *testing.T) {
	w := tlsWorld(t, func(w *world) { w.opts.StartTLSTimeout, w.opts.Timeout = 100*time.Millisecond, time.Minute })
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("STARTTLS\r\n")
	k.want("220*", "EOF")
	if !oracle.Await(func() bool { return hasLine(w.log.all(), "SSL_accept error from unknown[127.0.0.3]: *") }) {
		t.Errorf("log is %q", w.log.all())
	}
}

// TestResponseLimit: a response above smtpd_sasl_response_limit ends AUTH, not
// the session.
func TestResponseLimit(t *testing.T) {
	w := tlsWorld(t, func(w *world) { w.opts.SASL, w.opts.SASLLimit = true, 13000 })
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("EHLO x\r\n")
	k.want("250*")
	k.send("AUTH PLAIN\r\n" + strings.Repeat("A", 12900) + "\r\n")
	k.want("334*", "535*")
	k.send("AUTH PLAIN\r\n" + strings.Repeat("A", 13100) + "\r\nNOOP\r\n")
	k.want("334*", "500 5.5.6 SASL response limit exceeded", "250*")
}

// TestStress: the limits of stress hold while nearly all sessions are taken.
func TestStress(t *testing.T) {
	w := newWorld()
	w.opts.MaxSessions, w.opts.Timeout, w.opts.Stress = 2, time.Minute, &Options{HardErrors: 1, Timeout: time.Minute}
	w.start(t)
	calm := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	calm.want("220*")
	calm.send("FOO\r\nFOO\r\nNOOP\r\n")
	calm.want("500*", "500*", "250*")
	second := newTalk(t, dialFrom(t, "127.0.0.4", w.addr))
	second.want("220*")
	second.send("FOO\r\n")
	second.want("500*", "421 4.7.0 mail.example.org Error: too many errors", "EOF")
	if !w.srv.stressed.Load() && w.srv.Sessions() == 2 {
		t.Error("no stress with all sessions taken")
	}
}

// TestWrapperRate: a port that begins with TLS refuses a client that made too
// many sessions before its handshake.
func TestWrapperRate(t *testing.T) {
	w := tlsWorld(t, func(w *world) { w.opts.TLSRate, w.opts.TLSWrapper = 1, true })
	first := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	first.startTLS()
	first.want("220*")
	c := tls.Client(dialFrom(t, "127.0.0.3", w.addr), &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err == nil {
		t.Error("a second handshake")
	}
}
