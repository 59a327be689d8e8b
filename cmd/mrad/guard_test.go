package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// newPair writes a fresh certificate and key and returns its serial number.
func newPair(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := x509.MarshalPKCS8PrivateKey(key)
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, "new"), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name))
	}
}

// TestRenewal: a certificate that was renewed is used without a reload, by a
// process that sees no file; one that is broken is not.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	newPair(t, dir, 1)
	s := launch(t, fmt.Sprintf("yes\nssl_cert = <%s/cert.pem\nssl_key = <%s/key.pem", dir, dir))
	serial := func(port string) int64 {
		c, err := tls.Dial("tcp4", s.ports[port], &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial("imaps"); n != 1 {
		t.Fatal("serial number", n)
	}
	newPair(t, dir, 2)
	for end := time.Now().Add(oracle.Patience); serial("imaps") != 2 || serial("pop3s") != 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new certificate is not used\n", s.log())
		}
	}
	os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("rubbish"), 0o600)
	for end := time.Now().Add(oracle.Patience); !strings.Contains(s.log(), "the old certificate stays"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was said of a broken certificate\n", s.log())
		}
	}
	if n := serial("imaps"); n != 2 {
		t.Error("serial number", n)
	}
}

// TestUntraceable: a mail process has group mail, so its user must not be able to
// look into it; and the name of a virtual user brings no groups of this machine.
func TestUntraceable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root changes users")
	}
	const uid = 54321
	s := launch(t, "no\nmail_privileged_group = mail")
	os.Chmod(s.dir, 0o755)
	for d := s.dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	os.Chown(filepath.Join(s.dir, "home"), uid, uid)
	os.Chown(filepath.Join(s.dir, "mail"), uid, uid)
	os.Chown(filepath.Join(s.dir, "mail/alice"), uid, uid)
	os.Rename(filepath.Join(s.dir, "mail/alice"), filepath.Join(s.dir, "mail/sys"))
	// sys is in group sys by its name, but this one is no account of the machine.
	s.write(t, "users", fmt.Sprintf("sys:{PLAIN}secret:%d:%d::%s/home::\n", uid, uid, s.dir))
	c := s.dial(t, "imap")
	c.do("", "* OK")
	if got := c.do("a LOGIN sys secret", "a "); !strings.HasPrefix(got, "a OK") {
		t.Fatal(got, s.log())
	}
	if got := c.do("b SELECT INBOX", "b "); !strings.Contains(got, "* 1 EXISTS") {
		t.Error(got)
	}
	for _, pid := range children(t, s.proc.PID(), "mail") {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d\n", uid, uid, uid, uid)) || !strings.Contains(string(status), fmt.Sprintf("Groups:\t8 %d ", uid)) || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
			t.Errorf("%s", status)
		}
		fi, err := os.Stat(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Error("the user can trace a process that has group mail")
		}
	}
}

// TestAtTheLimit: clients that log out and in again at once are not refused.
func TestAtTheLimit(t *testing.T) {
	s := launch(t, "no\nmail_max_userip_connections = 2")
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 40 {
				c := s.dial(t, "imap")
				c.do("", "* OK")
				if got := c.do("a LOGIN alice secret", "a "); !strings.HasPrefix(got, "a OK") {
					t.Error(got)
					return
				}
				c.do("b LOGOUT", "b ")
				c.Close()
			}
		})
	}
	all.Wait()
	a, b := s.dial(t, "imap"), s.dial(t, "imap")
	for _, c := range []*talk{a, b} {
		c.do("", "* OK")
		c.do("a LOGIN alice secret", "a ")
	}
	c := s.dial(t, "imap")
	c.do("", "* OK")
	if got := c.do("a LOGIN alice secret", "a "); !strings.HasPrefix(got, "a NO [LIMIT]") {
		t.Error(got)
	}
}

// TestMailSetup: a user's process gets the settings of each protocol.
func TestMailSetup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.conf")
	os.WriteFile(path, []byte("mail_location = mbox:~/mail\nprotocols = imap pop3\nprotocol imap {\n  mail_max_userip_connections = 50\n}\n"+
		"protocol pop3 {\n  pop3_uidl_format = %v.%u\n}\n"), 0o600)
	s, err := load(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := s.mailSetup(); err != nil || u.UIDL != "%v.%u" || s.limits["imap"] != 50 || s.limits["pop3"] != 10 {
		t.Error(u, err, s.limits)
	}
}

// TestTLSOptions: ssl_cipher_list and ssl_options hold for what clients are offered.
func TestTLSOptions(t *testing.T) {
	dir := t.TempDir()
	newPair(t, dir, 1)
	s := launch(t, fmt.Sprintf("yes\nssl_cert = <%s/cert.pem\nssl_key = <%s/key.pem\nssl_cipher_list = ECDHE-ECDSA-AES256-GCM-SHA384\nssl_options = no_ticket", dir, dir))
	for suite, good := range map[uint16]bool{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: true, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: false} {
		c, err := tls.Dial("tcp4", s.ports["imaps"], &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if (err == nil) != good {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
		}
		if err == nil {
			c.Close()
		}
	}
	cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(2)}
	c, err := tls.Dial("tcp4", s.ports["imaps"], &tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Read(make([]byte, 1)) // tickets of TLS 1.3 come before the greeting
	if cache.puts != 0 {
		t.Error("a session ticket came")
	}
}

// countingCache counts the tickets that servers give.
type countingCache struct {
	tls.ClientSessionCache
	puts int
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	c.puts++
	c.ClientSessionCache.Put(key, s)
}

// TestMaxLine: imap_max_line_length holds for the commands of a session.
func TestMaxLine(t *testing.T) {
	for limit, good := range map[string]bool{"100 k": true, "64 k": false} {
		s := launch(t, "no\nimap_max_line_length = "+limit)
		c := s.dial(t, "imap")
		c.do("", "* OK")
		c.do("a LOGIN alice secret", "a ")
		c.do("b SELECT INBOX", "b ")
		if got := c.do("c SEARCH SUBJECT "+strings.Repeat("x", 90<<10), "c "); strings.HasPrefix(got, "* SEARCH") != good {
			t.Errorf("%s: %.200s", limit, got)
		}
	}
}

// TestLocalName: clients get the certificate of the name that they ask for, and a
// renewed one of it, too.
func TestLocalName(t *testing.T) {
	dir, other, wild := t.TempDir(), t.TempDir(), t.TempDir()
	newPair(t, dir, 1)
	newPair(t, other, 2)
	newPair(t, wild, 3)
	section := "local_name %s {\nssl_cert = <%s/cert.pem\nssl_key = <%s/key.pem\n}\n"
	s := launch(t, fmt.Sprintf("yes\nssl_cert = <%s/cert.pem\nssl_key = <%s/key.pem\n", dir, dir)+
		fmt.Sprintf(section, "mail.one.test", other, other)+fmt.Sprintf(section, "*.two.test", wild, wild))
	serial := func(name string) int64 {
		c, err := tls.Dial("tcp4", s.ports["imaps"], &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	for name, want := range map[string]int64{"": 1, "x.test": 1, "MAIL.one.test": 2, "one.test": 1, "a.two.test": 3, "a.b.two.test": 1, "two.test": 1} {
		if got := serial(name); got != want {
			t.Errorf("%q: certificate %d, want %d", name, got, want)
		}
	}
	newPair(t, other, 4)
	for end := time.Now().Add(oracle.Patience); serial("mail.one.test") != 4; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new certificate is not used\n", s.log())
		}
	}
}
