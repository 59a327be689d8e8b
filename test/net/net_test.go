// Package net sends mail into a small internet of namespaces: a name server, hosts that
// take, refuse, wait, and break TLS, hosts under DANE and under MTA-STS. Each mail must
// end where the RFCs say, and the log must count up right for pflogsumm(1).
package net

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"packetboat/test/sandbox"
)

// within says that we are in our own namespaces already.
const within = "PACKETBOAT_NET_INSIDE"

// TestNet starts itself anew in namespaces of its own, where all ends with it. It is
// part of "make peers" (PEERS=1).
func TestNet(t *testing.T) {
	if os.Getenv(within) != "" {
		inside(t)
		return
	}
	if os.Getenv("PEERS") == "" {
		t.Skip("make peers runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("namespaces of one's own need root")
	}
	for _, program := range []string{"unshare", "ip", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	cmd := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
		// A shell is the first process of the namespace: it buries those without a parent.
		"bash", "-c", `"$0" "$@"; exit $?`, os.Args[0], "-test.run=^TestNet$", "-test.v", "-test.timeout=300s")
	cmd.Env = append(os.Environ(), within+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// run runs a command of the set-up.
func run(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		t.Skipf("%s: %v %s", line, err, out)
	}
}

// lay makes the two namespaces: ours with the mail system, and the hosts'.
func lay(t *testing.T, hosts int) place {
	t.Helper()
	run(t, "mount -t tmpfs run /run")
	run(t, "ip link set lo up")
	run(t, "ip netns add hosts")
	run(t, "ip link add here type veth peer name there netns hosts")
	run(t, "ip addr add 10.9.0.1/24 dev here")
	run(t, "ip -6 addr add fd09::1/64 dev here nodad")
	run(t, "ip link set here up")
	for i := range hosts {
		run(t, fmt.Sprintf("ip -n hosts addr add 10.9.0.%d/24 dev there", 10+i))
	}
	run(t, "ip -n hosts -6 addr add fd09::10/64 dev there nodad")
	run(t, "ip -n hosts link set there up")
	run(t, "ip -n hosts link set lo up")
	fd, err := unix.Open("/run/netns/hosts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return place{fd}
}

// cover has a file say something else for as long as the namespace lives.
func cover(t *testing.T, path, text string) {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Skip(err)
	}
	other := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(other, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "mount --bind "+other+" "+real)
}

// nameServer answers for the world at 10.9.0.10.
func nameServer(t *testing.T, p place, z *zones) {
	t.Helper()
	var pc net.PacketConn
	if err := p.enter(func() (err error) { pc, err = net.ListenPacket("udp", "10.9.0.10:53"); return err }); err != nil {
		t.Fatal(err)
	}
	s := &mdns.Server{PacketConn: pc, Handler: z}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
}

// journey is one mail and where it must end.
type journey struct {
	to   string
	at   string // the host that takes it, empty = none
	how  string // tls or clear
	log  string // a pattern that the log must have
	back string // what its bounce says; empty = there is none
}

// journeys are the mails of the test.
var journeys = []journey{
	{to: "a@three.test", at: "good", how: "clear", log: `to=<a@three.test>, relay=good.three.test\[10.9.0.13\]:25, .* dsn=2.0.0, status=sent`},
	{to: "b@refuse.test", log: `to=<b@refuse.test>, relay=mx.refuse.test\[.*\]:25, .* dsn=5.1.1, status=bounced \(host mx.refuse.test\[.*\] said: 550 5.1.1 no such user \(in reply to RCPT TO command\)\)`, back: "550 5.1.1 no such user"},
	{to: "c@slow.test", at: "slow", how: "clear", log: `to=<c@slow.test>, .* status=sent`},
	{to: "d@silent.test", log: `to=<d@silent.test>, .* dsn=4.4.2, status=deferred \(conversation with mx.silent.test\[.*\] timed out while receiving the initial server greeting\)`, back: "timed out"},
	{to: "e@torn.test", at: "torn", how: "clear", log: `to=<e@torn.test>, .* dsn=4.7.5, status=deferred \(Cannot start TLS: handshake failure\)`},
	{to: "f@dane.test", at: "dane", how: "tls", log: `Verified TLS connection established to mx.dane.test\[.*\]:25: TLSv1.3`},
	{to: "g@forged.test", log: `to=<g@forged.test>, .* dsn=4.7.5, status=deferred \(Server certificate not verified\)`, back: "not verified"},
	{to: "h@sts.test", at: "sts", how: "tls", log: `Verified TLS connection established to mx.sts.test\[.*\]:25: TLSv1.3`},
	{to: "i@stsforged.test", log: `to=<i@stsforged.test>, .* status=deferred \(Server certificate not verified\)`, back: "not verified"},
	{to: "j@stsother.test", log: `to=<j@stsother.test>, .* status=deferred \(the MTA-STS policy of stsother.test does not allow host mx.sts.test\)`, back: "does not allow host"},
	{to: "k@ststest.test", at: "ststest", how: "tls", log: `to=<k@ststest.test>, .* status=sent`},
	{to: "l@null.test", log: `to=<l@null.test>, relay=none, .* dsn=5.1.0, status=bounced \(Domain null.test does not accept mail \(nullMX\)\)`, back: "nullMX"},
	{to: "m@nowhere.test", log: `to=<m@nowhere.test>, relay=none, .* dsn=5.4.4, status=bounced \(Host or domain name not found`, back: "not found"},
	{to: "n@servfail.test", log: `to=<n@servfail.test>, relay=none, .* dsn=4.4.3, status=deferred \(Host or domain name not found. .* try again\)`, back: "try again"},
	{to: "o@implicit.test", at: "implicit", how: "clear", log: `to=<o@implicit.test>, relay=implicit.test\[.*\]:25, .* status=sent`},
	{to: "p@grey.test", at: "grey", how: "clear", log: `to=<p@grey.test>, .* dsn=4.2.0, status=deferred .* 450 4.2.0 later`},
	{to: "q@six.test", at: "six", how: "clear", log: `to=<q@six.test>, relay=mx.six.test\[fd09::10\]:25, .* status=sent`},
	{to: "r@weak.test", at: "weak", how: "tls", log: `to=<r@weak.test>, .* status=sent`},
}

// build makes hosts, zones and policies, and returns the hosts by name.
func build(t *testing.T, p place, ca *authority) map[string]*host {
	t.Helper()
	dane := (*authority)(nil).of(t, "elsewhere.test")
	key := sha256.Sum256(dane.Leaf.RawSubjectPublicKeyInfo)
	hosts := map[string]*host{
		"busy": {greeting: "421 4.3.2 too busy"}, "good": {}, "slow": {wait: 2 * time.Second, pause: 300 * time.Millisecond},
		"refuse": {rcpt: "550 5.1.1 no such user"}, "silent": {wait: -1}, "torn": {torn: true}, "dane": {cert: dane},
		"forged": {cert: ca.of(t, "mx.forged.test")}, "sts": {cert: ca.of(t, "mx.sts.test")}, "stsforged": {cert: (*authority)(nil).of(t, "mx.stsforged.test")},
		"ststest": {cert: (*authority)(nil).of(t, "mx.ststest.test")}, "implicit": {}, "grey": {rcpt: "450 4.2.0 later", once: true}, "six": {},
		"weak": {cert: (*authority)(nil).of(t, "elsewhere.test")},
	}
	z := &zones{insecure: []string{"sts.test.", "stsforged.test.", "ststest.test.", "stsother.test.", "weak.test."}}
	addrs := map[string]string{"busy": "10.9.0.12", "good": "10.9.0.13", "slow": "10.9.0.14", "refuse": "10.9.0.15", "silent": "10.9.0.16",
		"torn": "10.9.0.17", "dane": "10.9.0.18", "forged": "10.9.0.19", "sts": "10.9.0.20", "stsforged": "10.9.0.21", "ststest": "10.9.0.22",
		"implicit": "10.9.0.23", "grey": "10.9.0.24", "six": "fd09::10", "weak": "10.9.0.25"}
	for name, h := range hosts {
		go h.serve(p.listen(t, net.JoinHostPort(addrs[name], "25")))
		switch name {
		case "busy", "good":
			z.add(t, "%s.three.test. 60 IN A %s", name, addrs[name])
		case "implicit":
			z.add(t, "implicit.test. 60 IN A %s", addrs[name])
		case "six":
			z.add(t, "six.test. 60 IN MX 1 mx.six.test.")
			z.add(t, "mx.six.test. 60 IN AAAA %s", addrs[name])
		default:
			z.add(t, "%s.test. 60 IN MX 1 mx.%s.test.", name, name)
			z.add(t, "mx.%s.test. 60 IN A %s", name, addrs[name])
		}
	}
	z.add(t, "three.test. 60 IN MX 10 dead.three.test.")
	z.add(t, "three.test. 60 IN MX 20 busy.three.test.")
	z.add(t, "three.test. 60 IN MX 30 good.three.test.")
	z.add(t, "dead.three.test. 60 IN A 10.9.0.11")
	z.add(t, "null.test. 60 IN MX 0 .")
	z.add(t, "_smtp._tls.three.test. 60 IN TXT \"v=TLSRPTv1; rua=mailto:%s\"", reportTo)
	z.add(t, "_25._tcp.mx.dane.test. 60 IN TLSA 3 1 1 %x", key)
	z.add(t, "_25._tcp.mx.forged.test. 60 IN TLSA 3 1 1 %x", key)
	z.add(t, "_25._tcp.mx.weak.test. 60 IN TLSA 3 1 1 %064x", 0) // not authenticated: it says nothing
	z.add(t, "stsother.test. 60 IN MX 1 mx.sts.test.")
	policies := map[string]string{}
	for _, d := range []string{"sts", "stsforged", "ststest", "stsother"} {
		mode := "enforce"
		if d == "ststest" {
			mode = "testing"
		}
		z.add(t, "_mta-sts.%s.test. 60 IN TXT \"v=STSv1; id=1\"", d)
		z.add(t, "mta-sts.%s.test. 60 IN A 10.9.0.26", d)
		policies["mta-sts."+d+".test"] = "version: STSv1\nmode: " + mode + "\nmx: mx." + d + ".test\nmax_age: 86400\n"
	}
	policyHost(t, p.listen(t, "10.9.0.26:443"), ca, policies)
	nameServer(t, p, z)
	return hosts
}

// inside is the test proper.
func inside(t *testing.T) {
	p := lay(t, 20)
	ca := newAuthority(t)
	cover(t, "/etc/resolv.conf", "nameserver 10.9.0.10\n")
	cover(t, "/etc/ssl/certs/ca-certificates.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.der})))
	hosts := build(t, p, ca)
	s := sandbox.Start(t)
	set := []string{"-e", "inet_protocols=all", "smtp_tls_security_level=dane", "smtp_dns_support_level=dnssec", "smtp_tls_mta_sts=yes", "smtp_tlsrpt_enable=yes", "smtp_tls_loglevel=1",
		"smtp_helo_timeout=6s", "minimal_backoff_time=5s", "maximal_backoff_time=10s", "queue_run_delay=5s", "maximal_queue_lifetime=30s", "smtp_connect_timeout=2s"}
	if out, err := s.Command("postconf", set...).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s.Stop()
	yesterday(t, s)
	s.Start()
	for _, j := range journeys {
		cmd := s.Command("sendmail", "-f", "alice@sandbox.test", j.to)
		cmd.Stdin = strings.NewReader("Subject: to " + j.to + "\n\nhello\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", j.to, err, out)
		}
	}
	s.Drained(200 * time.Second)
	s.Wait(150*time.Second, "report about TLS", func() bool { return strings.Contains(hosts["good"].taken(), reportTo) })
	s.Drained(20 * time.Second)
	log := s.Log()
	mailbox, _ := os.ReadFile(filepath.Join(s.Dir, "mail", "alice"))
	for _, j := range journeys {
		j.check(t, hosts, log, string(mailbox))
	}
	if !strings.Contains(hosts["good"].last, "TLS-Report-Domain: three.test") || !strings.Contains(hosts["good"].last, "Content-Type: application/tlsrpt+gzip") {
		t.Errorf("the report about TLS is\n%s", hosts["good"].last)
	}
	if n := strings.Count(string(mailbox), "\nSubject: Undelivered Mail Returned to Sender\n"); n != bounces() {
		t.Errorf("%d bounces, not %d", n, bounces())
	}
	summary(t, s)
	s.Stop()
	told(t, s)
	s.Start()
	if t.Failed() {
		t.Logf("the log:\n%s", log)
	}
}

// reportTo gets the reports about TLS of three.test.
const reportTo = "tls@three.test"

// yesterday has the system remember a day that is over, and is still to be reported.
func yesterday(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	day := time.Now().UTC().Add(-24 * time.Hour).Format(time.DateOnly)
	counts := `{"` + day + `": {"three.test": [{"policy": {"policy-type": "no-policy-found", "policy-domain": "three.test"},
		"summary": {"total-successful-session-count": 5, "total-failure-session-count": 1}}]}}`
	if err := os.WriteFile(filepath.Join(s.Dir, "data", "tlsrpt_counts"), []byte(counts), 0o600); err != nil {
		t.Fatal(err)
	}
}

// told holds what would be told of today: each host by its kind of policy.
func told(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir, "data", "tlsrpt_counts"))
	if err != nil {
		t.Fatal(err)
	}
	var days map[string]map[string][]struct {
		Policy  map[string]any
		Summary map[string]int
		Details []map[string]any `json:"failure-details"`
	}
	if err := json.Unmarshal(b, &days); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, domains := range days {
		for domain, list := range domains {
			for _, r := range list {
				what := fmt.Sprint(r.Policy["policy-type"])
				if r.Summary["total-successful-session-count"] > 0 {
					what += " ok"
				}
				for _, d := range r.Details {
					what += fmt.Sprint(" ", d["result-type"])
				}
				got[domain] = what
			}
		}
	}
	for domain, want := range map[string]string{"sts.test": "sts ok", "stsforged.test": "sts certificate-not-trusted", "stsother.test": "sts validation-failure",
		"ststest.test": "sts certificate-not-trusted", "dane.test": "tlsa ok", "forged.test": "tlsa certificate-not-trusted",
		"torn.test": "no-policy-found validation-failure", "good.test": "", "implicit.test": "no-policy-found starttls-not-supported"} {
		if got[domain] != want {
			t.Errorf("told of %s: %q, not %q", domain, got[domain], want)
		}
	}
}

// check holds one mail against what became of it.
func (j *journey) check(t *testing.T, hosts map[string]*host, log, mailbox string) {
	t.Helper()
	for name, h := range hosts {
		want := ""
		if name == j.at {
			want = j.to + " " + j.how
		}
		if got := strings.TrimSuffix(h.taken(), ", "+reportTo+" clear"); (want != "" && got != want) || (want == "" && strings.Contains(got, j.to)) {
			t.Errorf("%s: host %s took %q, not %q", j.to, name, got, want)
		}
	}
	if !regexp.MustCompile(j.log).MatchString(log) {
		t.Errorf("%s: no line %s", j.to, j.log)
	}
	if got := strings.Contains(mailbox, "<"+j.to+">:"); got != (j.back != "") || !strings.Contains(strings.Join(strings.Fields(mailbox), " "), j.back) {
		t.Errorf("%s: bounced %v, want %q", j.to, got, j.back)
	}
}

// bounces counts the mails that come back.
func bounces() (n int) {
	for _, j := range journeys {
		if j.back != "" {
			n++
		}
	}
	return n
}

// summary has pflogsumm read the log: its totals are what was sent.
func summary(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	if _, err := exec.LookPath("pflogsumm"); err != nil {
		t.Log("pflogsumm is not installed: nobody counted the log")
		return
	}
	out, err := exec.Command("pflogsumm", "--no_no_msg_size", filepath.Join(s.Dir, "mail.log")).Output()
	if err != nil {
		t.Fatal(err)
	}
	refused, deferred := 0, 0
	for _, j := range journeys {
		if strings.Contains(j.log, "status=bounced") {
			refused++
		} else if strings.Contains(j.log, "status=deferred") {
			deferred++
		}
	}
	// The report about TLS is one more.
	for what, want := range map[string]int{"received": len(journeys), "delivered": len(journeys) + 1, "deferred": deferred, "bounced": refused, "rejected": 0} {
		m := regexp.MustCompile(`(?m)^\s*(\d+)\s+` + what + `\b`).FindStringSubmatch(string(out))
		if m == nil || m[1] != fmt.Sprint(want) {
			t.Errorf("pflogsumm: %v %s, not %d", m, what, want)
		}
	}
	if !regexp.MustCompile(fmt.Sprintf(`(?m)^\s*%d\s+\d+\s+0\s.*\ssandbox\.test$`, bounces())).Match(out) {
		t.Errorf("pflogsumm: not %d bounces delivered to sandbox.test", bounces())
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
