package intake

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"packetboat/test/oracle"
)

// startOpenDKIM runs opendkim(8) as a signer for b.test, or skips the test.
func startOpenDKIM(t *testing.T) (milters string) {
	t.Helper()
	prog, err := exec.LookPath("/usr/sbin/opendkim")
	if err != nil {
		t.Skip("opendkim is not installed")
	}
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	addr := oracle.Address(t)
	_, p, _ := net.SplitHostPort(addr)
	conf := fmt.Sprintf("Domain b.test\nSelector s\nKeyFile %s/key\nSocket inet:%s@127.0.0.1\nMode s\nRequireSafeKeys no\nInternalHosts 127.0.0.1\nCanonicalization relaxed/simple\nSyslog no\n", dir, p)
	for name, text := range map[string]string{"key": string(b), "conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(prog, "-f", "-x", filepath.Join(dir, "conf"))
	if err := cmd.Start(); err != nil {
		t.Skipf("opendkim does not start: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if oracle.Answers(addr) {
		return "inet:" + addr
	}
	t.Skip("opendkim does not answer here")
	return ""
}

var signedAt = regexp.MustCompile(`\bt=\d+`)

// TestOpenDKIM signs the same mail behind Postfix and behind us: the signatures
// must be over the same octets, and stand at the same place.
func TestOpenDKIM(t *testing.T) {
	t.Parallel()
	milters := startOpenDKIM(t)
	o := startOriginal(t, map[string]map[string]string{"dkim": {}}, map[string]string{"smtpd_milters": milters})
	u := newOurs(t, Options{})
	ourAddr := serveOurs(t, u, milters)
	for _, text := range []string{
		"From: A <a@b.test>\nTo: bob@x.test\nSubject: signed\n mail\nDate: Mon, 23 Nov 2026 14:07:05 +0000\nMessage-ID: <1@b.test>\n\nHello\n\n.dot\n\n\n",
		"From: a@b.test\nTo: bob@x.test\nDate: Mon, 23 Nov 2026 14:07:05 +0000\nMessage-ID: <2@b.test>\n\n" + strings.Repeat("a line of a longer body\n", 20000),
		"From: a@b.test\nDate: Mon, 23 Nov 2026 14:07:05 +0000\nMessage-ID: <3@b.test>\n",
	} {
		var content [2]string
		// A signature holds the second it was made in: both are to be of the same.
		for range 5 {
			for i, addr := range []string{o.addrs["dkim"], ourAddr} {
				s := dialSMTP(t, addr)
				m := queuedAs.FindStringSubmatch(s.send("a@b.test", []string{"bob@mail.example.org"}, text))
				s.c.Close()
				if m == nil {
					t.Fatalf("%s: not taken", addr)
				}
				var r result
				if i == 0 {
					o.queued(m[1])
					o.read(&r, m[1])
				} else {
					u.read(t, &r, m[1])
				}
				content[i] = r.content
			}
			if signedAt.FindString(content[0]) == signedAt.FindString(content[1]) {
				break
			}
		}
		if content[0] != content[1] || !strings.HasPrefix(content[1], "DKIM-Signature: v=1;") {
			t.Errorf("ours:\n%.1500s\npostfix:\n%.1500s", content[1], content[0])
		}
	}
}
