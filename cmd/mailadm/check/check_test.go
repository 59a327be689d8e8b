package check

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/sys/config"
)

// now is the time of the tests' certificates.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// good is a configuration without a fault; tests change one line of it. ME is the
// user that runs the test, DIR the folder.
const good = `myhostname = mx.example.org
myorigin = example.org
mydestination = mx.example.org, example.org
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mail_owner = ME
default_privs = OTHER
setgid_group = GROUP
queue_directory = DIR/queue
data_directory = DIR/data
alias_maps = hash:DIR/aliases
alias_database = hash:DIR/aliases
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`

const goodMaster = `127.0.0.1:PORT inet n - y - - smtpd
smtp unix - - y - - smtp
local unix - n n - - local
error unix - - y - - error
`

const goodAliases = "postmaster: root\nroot: ann@elsewhere.test\n"

// lay writes the good configuration with more lines behind main.cf, and other
// files, into a folder.
func lay(t *testing.T, more string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	other := "nobody"
	if me.Username == other {
		other = "root"
	}
	fill := strings.NewReplacer("DIR", dir, "ME", me.Username, "OTHER", other, "GROUP", group.Name, "PORT", freePort(t))
	all := map[string]string{"main.cf": good + more, "master.cf": goodMaster, "aliases": goodAliases}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// report is what check says, with the folder's name taken out.
func report(t *testing.T, o Options) string {
	t.Helper()
	if o.Dovecot == "" {
		o.Dovecot = "none"
	}
	o.Now = now
	var b bytes.Buffer
	if err := write(&b, Check(o)); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(b.String(), o.Dir, "DIR")
}

// TestClean holds that nothing is said of a configuration without a fault, and
// that the exit code is 0.
func TestClean(t *testing.T) {
	dir := lay(t, "", nil)
	if got := report(t, Options{Dir: dir}); got != "" {
		t.Error(got)
	}
	var out, errs bytes.Buffer
	if code := Run([]string{"-c", dir, "--dovecot", "none"}, &out, &errs); code != 0 || out.Len()+errs.Len() > 0 {
		t.Errorf("exit %d: %s%s", code, &out, &errs)
	}
	out.Reset()
	if code := Run([]string{"-c", dir, "--dovecot", "none", "--json"}, &out, &errs); code != 0 || strings.TrimSpace(out.String()) != "[]" {
		t.Errorf("exit %d: %s", code, &out)
	}
}

// line 16 of main.cf is the first one that a test adds.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, more string
		files      map[string]string
		want       []string
	}{
		{"misspelt", "smtpd_banter = x\n", nil, []string{"DIR/main.cf:16:1: warning: unknown parameter smtpd_banter", "did you mean smtpd_banner"}},
		{"syntax", "no sense\n", nil, []string{"DIR/main.cf:16:"}},
		{"restriction", "smtpd_client_restrictions = reject_everything\n", nil, []string{"DIR/main.cf:16:", `error: unknown restriction "reject_everything"`}},
		{"table is not there", "virtual_alias_maps =\n  hash:DIR/aliases\n  hash:DIR/none\n", nil, []string{"DIR/main.cf:18: error: hash:DIR/none: open DIR/none: no such file or directory", "hint: make DIR/none"}},
		{"table type", "transport_maps = hash:DIR/x proxy:nosuch:/x\n", map[string]string{"x": ""}, nil},
		{"lines of a table", "transport_maps = hash:DIR/x\n", map[string]string{"x": "a.test smtp:\nb.test\na.test lmtp:\n"},
			[]string{"DIR/x:2: warning: expected format: key whitespace value", "DIR/x:3: warning: duplicate entry for a.test", "line 1 counts"}},
		{"lines of patterns", "transport_maps = regexp:DIR/x\n", map[string]string{"x": "# no\n/(/ smtp:\n"}, []string{"DIR/x:2: warning: "}},
		{"aliases", "", map[string]string{"aliases": goodAliases + "a: b\nb: a, DIR/none/f\nc: nosuchuserhere\nd: |/nonexistent/program\ne: \":include:/nonexistent/list\"\n"},
			[]string{"DIR/aliases:5: error: alias c leads to nosuchuserhere, and there is no such account or alias",
				"DIR/aliases:6: error: alias d: /nonexistent/program does not exist", "DIR/aliases:7: error: alias e:",
				"DIR/aliases:4: error: alias b: the folder of DIR/none/f does not exist"}},
		{"over another alias", "", map[string]string{"aliases": goodAliases + "a: b\nb: nosuchuserhere\n"}, []string{"DIR/aliases:4: error: alias b leads to nosuchuserhere", "!alias a leads"}},
		{"loop", "", map[string]string{"aliases": goodAliases + "a: b\nb: a@example.org\n"}, nil},
		{"root", "", map[string]string{"aliases": "postmaster: root\n"}, []string{"DIR/aliases: warning: root is no alias: nobody reads the mail for root"}},
		{"postmaster", "", map[string]string{"aliases": "root: ann@elsewhere.test\n"}, []string{"DIR/aliases: warning: postmaster is no alias"}},
		{"virtual", "virtual_alias_maps = hash:DIR/v\nvirtual_alias_domains = v.test\nvirtual_mailbox_domains = b.test\nvirtual_mailbox_maps = inline:{ann@b.test=x}\n",
			map[string]string{"v": "v.test anything\nx@v.test ann@b.test\ny@v.test eve@b.test\n"},
			[]string{"DIR/v:3: error: virtual alias y@v.test leads to eve@b.test, which is unknown in the virtual mailbox table"}},
		{"both", "virtual_alias_domains = a.test example.org\n", nil, []string{"DIR/main.cf:3: warning: do not list domain example.org in BOTH mydestination and virtual_alias_domains"}},
		{"everybody", "mynetworks = 127.0.0.0/8,\n  0.0.0.0/0\n", nil, []string{"DIR/main.cf:17: error: 0.0.0.0/0 trusts the whole internet",
			"DIR/main.cf:15: error: service 127.0.0.1:", "this is an open relay"}},
		{"permit first", "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit, reject_unauth_destination\n", nil,
			[]string{"DIR/main.cf:17: error: permit stands before reject_unauth_destination"}},
		{"sender first", "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions =\n check_sender_access hash:DIR/aliases,\n reject_unauth_destination\n", nil,
			[]string{"DIR/main.cf:18: warning: check_sender_access stands before reject_unauth_destination"}},
		{"user", "mail_owner = nosuchuserhere\n", nil, []string{"DIR/main.cf:16: error: mail_owner = nosuchuserhere: there is no such user", "adduser --system"}},
		{"group", "setgid_group = nosuchgrouphere\n", nil, []string{"DIR/main.cf:16: error: setgid_group = nosuchgrouphere: there is no such group"}},
		{"owner runs commands", "default_privs = $mail_owner\n", nil, []string{"DIR/main.cf:16: error: default_privs is mail_owner"}},
		{"no address", "", map[string]string{"master.cf": goodMaster + "192.0.2.77:25 inet n - y - - smtpd\n"}, []string{"DIR/master.cf:5: error: 192.0.2.77:25: this machine has no address 192.0.2.77"}},
		{"no port", "", map[string]string{"master.cf": goodMaster + "nosuchport inet n - y - - smtpd\n"}, []string{"DIR/master.cf:5: error: service nosuchport: unknown port \"nosuchport\""}},
		{"no certificate", "smtpd_tls_security_level = encrypt\n", nil, []string{"DIR/master.cf:1: error: service 127.0.0.1:", "wants TLS, but smtpd_tls_cert_file is empty"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := report(t, Options{Dir: lay(t, c.more, c.files)})
			if got == "" {
				t.Error("nothing is said")
			}
			for _, w := range c.want {
				// "!" before what must not be said.
				if text, not := strings.CutPrefix(w, "!"); strings.Contains(got, text) == not {
					t.Errorf("not as in %q:\n%s", w, got)
				}
			}
		})
	}
}

// TestExitCodes holds 1 for warnings and 2 for errors, and the names of the JSON.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		more, severity string
		code           int
	}{{"smtpd_banter = x\n", "warning", 1}, {"smtpd_etrn_restrictions = nonsense\n", "error", 2}} {
		var out, errs bytes.Buffer
		code := Run([]string{"-c", lay(t, c.more, nil), "--dovecot", "none", "--json"}, &out, &errs)
		var list []struct {
			File, Severity, Text, Hint string
			Line                       int
		}
		if err := json.Unmarshal(out.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		if code != c.code || len(list) != 1 || list[0].Line < 16 || list[0].Severity != c.severity || list[0].Text == "" || list[0].Hint == "" {
			t.Errorf("exit %d %+v", code, list)
		}
	}
}

// certificate writes a certificate with its key and returns their files.
func certificate(t *testing.T, dir, name string, ends time.Time, mode os.FileMode) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, x, x, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	put := func(file, kind string, b []byte, mode os.FileMode) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return put(name+".crt", "CERTIFICATE", der, 0o644), put(name+".key", "PRIVATE KEY", kder, mode)
}

// TestCertificates holds what is said of each fault of a certificate.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	day := 24 * time.Hour
	other, _ := certificate(t, dir, "other", now.Add(400*day), 0o600)
	for _, c := range []struct {
		name string
		ends time.Time
		mode os.FileMode
		cert string
		want string
	}{
		{"mx.example.org", now.Add(90 * day), 0o600, "", ""},
		{"mx.example.org", now.Add(20*day + time.Hour), 0o600, "", "DIR/main.cf:17: warning: CERT expires on 2026-12-13, in 20 days"},
		{"mx.example.org", now.Add(3*day + time.Hour), 0o600, "", "DIR/main.cf:17: error: CERT expires on 2026-11-26, in 3 days"},
		{"mx.example.org", now.Add(-time.Minute), 0o600, "", "DIR/main.cf:17: error: CERT expired on 2026-11-23"},
		{"www.example.org", now.Add(90 * day), 0o600, "", "DIR/main.cf:17: warning: CERT does not name mx.example.org (myhostname) but [www.example.org]"},
		{"mx.example.org", now.Add(90 * day), 0o644, "", "KEY: error: everybody may read this private key (mode rw-r--r--)"},
		{"mx.example.org", now.Add(90 * day), 0o600, other, "DIR/main.cf:17: error: "},
		{"mx.example.org", now.Add(90 * day), 0o600, "/nonexistent/x.pem", "DIR/main.cf:17: error: /nonexistent/x.pem: no such file"},
	} {
		cert, key := certificate(t, dir, c.name, c.ends, c.mode)
		if c.cert != "" {
			cert = c.cert
		}
		conf := lay(t, fmt.Sprintf("smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n", cert, key), nil)
		got := report(t, Options{Dir: conf})
		want := strings.NewReplacer("CERT", cert, "KEY", key).Replace(c.want)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%+v: got %q, want %q", c, got, want)
		}
	}
}

// TestPortTaken holds that the program is named that has a port.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := lay(t, "", map[string]string{"master.cf": l.Addr().String() + " inet n - y - - smtpd\n"})
	got := report(t, Options{Dir: dir})
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Skip("no /proc here")
	}
	want := fmt.Sprintf("DIR/master.cf:1: error: %s is taken by %s (process %d)", l.Addr(), strings.TrimSpace(string(comm)), os.Getpid())
	if !strings.Contains(got, want) {
		t.Errorf("no %q in %s", want, got)
	}
}

// TestFolders holds that folders of the queue that let in others are told.
func TestFolders(t *testing.T) {
	dir := lay(t, "", nil)
	if os.Getuid() != 0 {
		t.Skip("needs root: the queue belongs to root")
	}
	for name, mode := range map[string]os.FileMode{"queue": 0o755, "queue/incoming": 0o777, "queue/active": 0o700} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	got := report(t, Options{Dir: dir})
	if want := "DIR/queue/incoming: warning: has the mode 0777, which lets in more than 0700"; !strings.Contains(got, want) || strings.Count(got, "warning") != 1 {
		t.Errorf("got %s, want only %s", got, want)
	}
}

// TestDovecot holds that what is wrong in dovecot.conf is told with its lines.
func TestDovecot(t *testing.T) {
	dir := lay(t, "", map[string]string{"dovecot.conf": "protocols = imap\nssl = required\nssl_cert = </nonexistent/a.pem\nssl_key = </nonexistent/a.key\nlisten = 127.0.0.1\ndefault_login_user = nosuchuserhere\n",
		"broken.conf": "protocols = imap\nnonsense here = {\n"})
	got := report(t, Options{Dir: dir, Dovecot: filepath.Join(dir, "dovecot.conf")})
	if !strings.Contains(got, "DIR/dovecot.conf:6: error: default_login_user = nosuchuserhere") {
		t.Error(got)
	}
	if !strings.Contains(got, "DIR/dovecot.conf:3: ") || !strings.Contains(got, "/nonexistent/a.pem") {
		t.Error(got)
	}
	got = report(t, Options{Dir: dir, Dovecot: filepath.Join(dir, "broken.conf")})
	if !strings.Contains(got, "DIR/broken.conf:2: ") && !strings.Contains(got, "DIR/broken.conf:2:") {
		t.Error(got)
	}
	got = report(t, Options{Dir: dir, Dovecot: filepath.Join(dir, "absent.conf")})
	if !strings.Contains(got, "absent.conf") {
		t.Error(got)
	}
}

// TestOrder holds that the report is the same every time.
func TestOrder(t *testing.T) {
	dir := lay(t, "smtpd_banter = x\nvirtual_alias_maps = hash:DIR/none hash:DIR/none2\nmydestination = a.test b.test\nvirtual_alias_domains = b.test a.test\n", nil)
	first := report(t, Options{Dir: dir})
	for range 5 {
		if again := report(t, Options{Dir: dir}); again != first {
			t.Fatalf("%s\nand then\n%s", first, again)
		}
	}
	if exitCode([]config.Problem{{Severity: config.SeverityRefused}}) != exitErrors {
		t.Error("what keeps the system from starting is no warning")
	}
}

// TestRouting: what keeps mail from being routed is told once, with its line, and
// a table that proxymap(8) would not open with the parameter that lists it.
func TestRouting(t *testing.T) {
	dir := lay(t, "myorigin = /nonexistent/mailname\nrelay_domains = /nonexistent/domains\nsmtpd_etrn_restrictions = check_etrn_access proxy:hash:DIR/aliases\n", nil)
	list := Check(Options{Dir: dir, Dovecot: "none", Now: now})
	var got []string
	for _, p := range list {
		if p.Severity == config.SeverityError {
			got = append(got, fmt.Sprintf("%d: %s", p.Line, strings.ReplaceAll(p.Text, dir, "DIR")))
		}
	}
	want := []string{"16: parameter myorigin: open /nonexistent/mailname: no such file or directory",
		"17: parameter relay_domains: open /nonexistent/domains: no such file or directory",
		`18: proxy:hash:DIR/aliases: proxymap service is not configured for table "hash:DIR/aliases"; to approve this table for read-only access, list proxy:hash:DIR/aliases in main.cf:proxy_read_maps`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCertificateOnce: a certificate that two services want, one of them without
// being able to go on, is told of once, as an error.
func TestCertificateOnce(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.cf":   "compatibility_level = 3.6\nmyhostname = a.test\nalias_maps =\nsmtpd_tls_cert_file = /nosuch/cert.pem\nsmtpd_tls_security_level = may\nvirtual_alias_maps = mysql:/nosuch/maps.cf\n",
		"master.cf": "smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd\n -o smtpd_tls_security_level=encrypt\n1025 inet n - n - - smtpd\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	Run([]string{"-c", dir}, &out, &out)
	if n := strings.Count(out.String(), "/nosuch/cert.pem: no such file"); n != 1 || strings.Contains(out.String(), "in the clear") {
		t.Errorf("told %d times:\n%s", n, &out)
	}
	if !strings.Contains(out.String(), "hint: make /nosuch/maps.cf") {
		t.Errorf("no hint for the table:\n%s", &out)
	}
}
