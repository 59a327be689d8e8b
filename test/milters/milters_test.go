package milters

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"packetboat/test/oracle"
)

// eicar is the test virus of all scanners, put together so that no scanner takes
// this file for one.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-` + `ANTIVIRUS-TEST-FILE!$H+H*`

// gtube is the test spam of all scanners.
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-" + "ANTI-UBE-TEST-EMAIL*C.34X"

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// openDKIM runs a signer and a verifier of opendkim(8) for b.test.
func openDKIM(t *testing.T) (signer, verifier string) {
	t.Helper()
	need(t, "/usr/sbin/opendkim")
	dir := folder(t, "opendkim")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub, _ := x509.MarshalPKIXPublicKey(key.Public())
	config(t, dir, "key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	config(t, dir, "public", "s._domainkey.b.test v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(pub)+"\n")
	signer, verifier = oracle.Address(t), oracle.Address(t)
	common := "Canonicalization relaxed/simple\nSyslog no\nRequireSafeKeys no\nUserID opendkim\n"
	sign := config(t, dir, "sign", common+"Mode s\nDomain b.test\nSelector s\nKeyFile DIR/key\nInternalHosts 127.0.0.0/8\nSocket inet:"+port(signer)+"@127.0.0.1\n")
	verify := config(t, dir, "verify", common+"Mode v\nInternalHosts 192.0.2.1\nTestPublicKeys DIR/public\nAlwaysAddARHeader yes\nSocket inet:"+port(verifier)+"@127.0.0.1\n")
	run(t, signer, nil, "/usr/sbin/opendkim", "-f", "-x", sign)
	run(t, verifier, nil, "/usr/sbin/opendkim", "-f", "-x", verify)
	return signer, verifier
}

// TestOpenDKIM: what is signed on the way in at one door is whole at the next.
func TestOpenDKIM(t *testing.T) {
	signer, verifier := openDKIM(t)
	signs := pair(t, "smtpd_milters = inet:"+signer+"\n")
	checks := pair(t, "smtpd_milters = inet:"+verifier+"\n")
	m := plain("signed", "a  subject\n\tin two lines", "Hello \n\n.dot\nFrom here\n\n\n")
	signed := agree(t, signs, []mail{m})
	expect(t, signed, map[string][2]string{"signed": {"^250", `(?m)^DKIM-Signature: v=1;`}})
	again := m
	again.name, again.text = "verified", signed["signed"][1]
	broken := again
	broken.name, broken.text = "broken", strings.Replace(again.text, "Hello", "Hallo", 1)
	got := agree(t, checks, []mail{again, broken, plain("unsigned", "x", "y")})
	expect(t, got, map[string][2]string{
		"verified": {"^250", `(?s)^Authentication-Results: mail\.x\.test;.*dkim=pass`},
		"broken":   {"^250", `(?s)^Authentication-Results: mail\.x\.test;.*dkim=fail`},
		"unsigned": {"^250", `(?s)^Authentication-Results: mail\.x\.test; dkim=none`}})
}

// openDMARC runs opendmarc(8), which believes the verifier's results. There is no
// DNS, so that no domain has a policy.
func openDMARC(t *testing.T) string {
	t.Helper()
	need(t, "/usr/sbin/opendmarc")
	dir := folder(t, "opendmarc")
	addr := oracle.Address(t)
	config(t, dir, "ignored", "192.0.2.1\n") // else it ignores 127.0.0.1
	conf := config(t, dir, "conf", "IgnoreHosts DIR/ignored\nAuthservID mail.x.test\nTrustedAuthservIDs mail.x.test\nSoftwareHeader true\nSyslog false\nRejectFailures false\nUserID opendmarc\nBaseDirectory DIR\nSocket inet:"+port(addr)+"@127.0.0.1\n")
	run(t, addr, nil, "/usr/sbin/opendmarc", "-f", "-c", conf)
	return addr
}

func TestOpenDMARC(t *testing.T) {
	_, verifier := openDKIM(t)
	both := pair(t, "smtpd_milters = inet:"+verifier+", inet:"+openDMARC(t)+"\n")
	noFrom := plain("no From", "x", "y")
	noFrom.text = strings.Replace(noFrom.text, "From: A <a@b.test>\n", "", 1)
	twoFrom := plain("two From", "x", "y")
	twoFrom.text = "From: b@c.test\n" + twoFrom.text
	got := agree(t, both, []mail{plain("plain", "x", "y"), noFrom, twoFrom})
	expect(t, got, map[string][2]string{"plain": {"^250", `(?m)^DMARC-Filter: OpenDMARC`}})
}

// rspamdConf is an rspamd that scans in its proxy process, knows a few symbols, and
// asks nobody.
const rspamdConf = `options {
  pidfile = "DIR/pid";
  dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }
  filters = "";
  local_addrs = [];
  hs_cache_dir = "DIR";
  url_tld = "DIR/tld";
}
logging { type = "console"; level = "notice"; }
metric {
  name = "default";
  actions { reject = 15; "add header" = 6; "rewrite subject" = 4; subject = "[odd] %s"; unknown_weight = 1; }
}
multimap {
  LOTTERY { type = "header"; header = "Subject"; map = "DIR/lottery"; regexp = true; score = 8.0; }
  ODD { type = "header"; header = "Subject"; map = "DIR/odd"; regexp = true; score = 5.0; }
}
milter_headers { skip_local = false; use = ["x-spamd-bar", "x-spam-status", "x-spam-level"]; }
worker "rspamd_proxy" {
  bind_socket = "ADDR";
  milter = yes;
  timeout = 60s;
  upstream "local" { default = yes; self_scan = yes; }
  count = 1;
}
modules { path = "/usr/share/rspamd/plugins/multimap.lua"; path = "/usr/share/rspamd/plugins/milter_headers.lua"; }
lua = "/usr/share/rspamd/rules/rspamd.lua";
`

func rspamd(t *testing.T) string {
	t.Helper()
	need(t, "/usr/bin/rspamd")
	dir := folder(t, "_rspamd")
	addr := oracle.Address(t)
	config(t, dir, "tld", "test\n") // a short list: the long one takes minutes on a loaded machine
	config(t, dir, "lottery", "/lottery/i\n")
	config(t, dir, "odd", "/odd/i\n")
	conf := config(t, dir, "conf", strings.ReplaceAll(rspamdConf, "ADDR", addr))
	run(t, addr, nil, "/usr/bin/rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", conf)
	return addr
}

func TestRspamd(t *testing.T) {
	both := pair(t, "smtpd_milters = inet:"+rspamd(t)+"\nmilter_command_timeout = 80s\nmilter_content_timeout = 80s\n")
	got := agree(t, both, []mail{plain("ham", "hello", "How are you?"), plain("likely", "the lottery", "you have won"), plain("odd", "an odd thing", "x"),
		plain("spam", "hello", gtube)})
	expect(t, got, map[string][2]string{
		"ham":    {"^250", `(?m)^X-Spamd-Bar: `},
		"likely": {"^250", `(?m)^X-Spam-Status: Yes`},
		"odd":    {"^250", `(?m)^Subject: \[odd\] an odd thing`},
		"spam":   {"^554 5.7.1 Gtube pattern", "^$"}})
}

// spamAssassin runs spamd(1) and its milter.
func spamAssassin(t *testing.T) string {
	t.Helper()
	need(t, "/usr/sbin/spamd", "/usr/sbin/spamass-milter")
	dir := folder(t, "debian-spamd")
	addr := oracle.Address(t)
	run(t, addr, nil, "/usr/sbin/spamd", "-L", "-x", "-m", "1", "-u", "debian-spamd", "-H", dir, "-s", "null", "-i", "127.0.0.1", "-p", port(addr))
	sock := dir + "/milter"
	run(t, "", func() bool { _, err := os.Stat(sock); return err == nil }, "/usr/sbin/spamass-milter", "-p", sock, "-r", "15", "--", "-d", "127.0.0.1", "-p", port(addr))
	os.Chmod(sock, 0o666)
	return sock
}

func TestSpamAssassin(t *testing.T) {
	both := pair(t, "smtpd_milters = unix:"+spamAssassin(t)+"\nmilter_content_timeout = 80s\n")
	got := agree(t, both, []mail{plain("ham", "hello", "How are you?\n.\n"), plain("spam", "hello", gtube)})
	expect(t, got, map[string][2]string{
		"ham":  {"^250", `(?m)^X-Spam-Status: No`},
		"spam": {"^550 5.7.1 Blocked by SpamAssassin", "^$"}})
}

// clamAV runs clamd(8) with a list of one virus, and its milter.
func clamAV(t *testing.T) string {
	t.Helper()
	need(t, "/usr/sbin/clamd", "/usr/sbin/clamav-milter")
	dir := folder(t, "clamav")
	if err := os.Mkdir(dir+"/db", 0o755); err != nil {
		t.Fatal(err)
	}
	// MD5 and size of the file, as sigtool --md5 writes them.
	config(t, dir+"/db", "local.hdb", "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n")
	addr, milter := oracle.Address(t), oracle.Address(t)
	clamd := config(t, dir, "clamd.conf", "DatabaseDirectory DIR/db\nTCPSocket "+port(addr)+"\nTCPAddr 127.0.0.1\nForeground yes\nUser clamav\nTemporaryDirectory DIR\n")
	run(t, addr, nil, "/usr/sbin/clamd", "-c", clamd)
	conf := config(t, dir, "milter.conf", "MilterSocket inet:"+port(milter)+"@127.0.0.1\nClamdSocket tcp:127.0.0.1:"+port(addr)+"\nForeground yes\nUser clamav\n"+
		"OnInfected Reject\nRejectMsg Virus %v\nAddHeader Replace\nTemporaryDirectory DIR\n")
	run(t, milter, nil, "/usr/sbin/clamav-milter", "-c", conf)
	return milter
}

// attached is a message with a file.
func attached(name, content string) mail {
	m := plain(name, "a file", "")
	head, _, _ := strings.Cut(m.text, "\n\n")
	m.text = head + "\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nsee there\n--b\nContent-Type: application/octet-stream; name=x.com\n" +
		"Content-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(content)) + "\n--b--\n"
	return m
}

func TestClamAV(t *testing.T) {
	both := pair(t, "smtpd_milters = inet:"+clamAV(t)+"\nmilter_content_timeout = 80s\n")
	got := agree(t, both, []mail{attached("clean", "harmless"), attached("virus", eicar), plain("forged", "x\nX-Virus-Status: Clean, believe me", "y")})
	expect(t, got, map[string][2]string{
		"clean":  {"^250", `(?m)^X-Virus-Status: Clean$`},
		"virus":  {"^550 5.7.1 Virus Eicar-Test-Signature", "^$"},
		"forged": {"^250", `(?m)^X-Virus-Status: Clean$`}})
}

// TestAllMilters: a signer, a virus scanner and two spam filters one behind the
// other, as machines have them.
func TestAllMilters(t *testing.T) {
	signer, verifier := openDKIM(t)
	list := []string{"inet:" + verifier, "inet:" + openDMARC(t), "inet:" + clamAV(t), "inet:" + rspamd(t), "inet:" + signer}
	both := pair(t, "smtpd_milters = "+strings.Join(list, ", ")+"\nmilter_command_timeout = 80s\nmilter_content_timeout = 80s\n")
	got := agree(t, both, []mail{plain("ham", "hello", "How are you?"), plain("spam", "hello", gtube), attached("virus", eicar), plain("odd", "odd lottery", "x")})
	expect(t, got, map[string][2]string{
		"ham":   {"^250", `(?s)DKIM-Signature: .*X-Virus-Status: Clean`},
		"spam":  {"^554 5.7.1 Gtube", "^$"},
		"virus": {"^550 5.7.1 Virus", "^$"}})
}

// TestMilterGreylist: Debian 12 has no milter-greylist any more.
func TestMilterGreylist(t *testing.T) {
	need(t, "/usr/sbin/milter-greylist")
	dir := folder(t, "greylist")
	sock := dir + "/sock"
	conf := config(t, dir, "conf", "socket \"DIR/sock\" 666\ndumpfile \"DIR/db\" 600\nacl greylist default delay 1h\nuser \"greylist\"\n")
	run(t, "", func() bool { _, err := os.Stat(sock); return err == nil }, "/usr/sbin/milter-greylist", "-D", "-f", conf)
	both := pair(t, "smtpd_milters = unix:"+sock+"\n")
	agree(t, both, []mail{plain("first", "x", "y"), plain("second", "x", "y")})
}

// TestPostgrey: a stranger is told to come again, and is let in when he does.
func TestPostgrey(t *testing.T) {
	need(t, "/usr/sbin/postgrey")
	dir := folder(t, "postgrey")
	addr := oracle.Address(t)
	run(t, addr, nil, "/usr/sbin/postgrey", "--inet="+addr, "--dbdir="+dir, "--delay=1", "--user=postgrey", "--pidfile="+dir+"/pid")
	both := pair(t, "smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service inet:"+addr+"\n")
	for i, s := range both {
		m := plain("grey", "x", "y")
		m.from = []string{"one@b.test", "two@b.test"}[i] // each is a stranger to postgrey
		reply, _ := s.send(t, m)
		if !strings.HasPrefix(reply, "450 4.2.0 <alice@x.test>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/x.test.html") {
			t.Errorf("%s: first %q", s.name, reply)
		}
		if !oracle.Await(func() bool {
			r, content := s.send(t, m)
			return strings.HasPrefix(r, "250") && strings.HasPrefix(content, "X-Greylist: delayed ")
		}) {
			t.Errorf("%s: never let in, or without X-Greylist", s.name)
		}
	}
}

// amavisConf is amavisd(8) without scanners: what is shown is the way there and
// back. It judges names of files by itself.
const amavisConf = `use strict;
$max_servers = 1; $daemon_user = 'amavis'; $daemon_group = 'amavis';
$mydomain = 'x.test'; $myhostname = 'mail.x.test';
$MYHOME = '<here>'; $TEMPBASE = '<here>'; $pid_file = '<here>/pid'; $lock_file = '<here>/lock'; $db_home = '<here>';
$inet_socket_bind = '127.0.0.1'; $inet_socket_port = FRONT; $unix_socketname = undef;
$forward_method = 'smtp:[127.0.0.1]:BACK'; $notify_method = $forward_method;
$enable_db = 0; $enable_zmq = 0; $log_level = 1; $do_syslog = 0; $LOGFILE = '<here>/log';
@bypass_virus_checks_maps = (1); @bypass_spam_checks_maps = (1);
@local_domains_maps = (['.x.test']); @mynetworks = ('192.0.2.0/24');
$X_HEADER_TAG = 'X-Virus-Scanned'; $X_HEADER_LINE = 'by a test'; $allowed_added_header_fields{lc('X-Virus-Scanned')} = 1;
$final_banned_destiny = D_REJECT; $final_bad_header_destiny = D_PASS; $enable_dkim_verification = 0; $enable_dkim_signing = 0;
$warnbannedrecip = 0; $banned_admin = undef;
$banned_filename_re = new_RE(qr'.\.(exe|com)$'i);
1;
`

// backServices are the services of README.postfix of amavis: the way there, and
// the port for the way back, where nothing is filtered.
func backServices() []string {
	return []string{"BACK inet n - n - - smtpd", "  -o content_filter=", "  -o smtpd_relay_restrictions=permit_mynetworks,reject", "  -o mynetworks=127.0.0.0/8",
		"  -o smtpd_authorized_xforward_hosts=127.0.0.0/8", "  -o receive_override_options=no_header_body_checks,no_unknown_recipient_checks,no_address_mappings",
		"amavis unix - - n - 2 smtp", "  -o smtp_data_done_timeout=1200", "  -o smtp_send_xforward_command=yes", "  -o disable_dns_lookups=yes"}
}

// TestAmavis: mail goes to amavis and comes back on a port of its own (10025 on
// machines out there), with the first client's name, and is not filtered again.
func TestAmavis(t *testing.T) {
	need(t, "/usr/sbin/amavisd")
	// Each of both has an amavis of its own.
	both := pair(t, "content_filter = amavis:[127.0.0.1]:FRONT\n", backServices()...)
	results := map[string]string{}
	for _, s := range both {
		dir := folder(t, "amavis")
		conf := config(t, folder(t, "root"), "conf", // not where it writes: amavis minds
			strings.NewReplacer("<here>", dir, "FRONT", port(s.front), "BACK", port(s.back)).Replace(amavisConf))
		run(t, s.front, nil, "/usr/sbin/amavisd", "-c", conf, "foreground")
		for _, m := range []mail{plain("scanned", "x", "y"), attached("banned", "MZ")} {
			if reply, _ := s.send(t, m); reply != "250 2.0.0 Ok: queued as ID" {
				t.Errorf("%s: %s: %q", s.name, m.name, reply)
			}
		}
		results[s.name] = s.afterFilter(t)
	}
	if a, b := settle(results["postfix"]), settle(results["ours"]); a != b {
		t.Errorf("of postfix:\n%s\nof ours:\n%s", a, b)
	}
	if !strings.Contains(results["ours"], "(mail.x.test [127.0.0.1]) (amavis") {
		t.Errorf("it did not come from amavis: %s", results["ours"])
	}
}

// afterFilter waits until amavis has given one message back and refused the other,
// and returns the one as it stands in the queue. The log tells the first client.
func (s *system) afterFilter(t *testing.T) string {
	t.Helper()
	var id []string
	if !oracle.Await(func() bool {
		log := s.log()
		id = regexp.MustCompile(`(\w+): client=\S+, orig_queue_id=\w+, orig_client=unknown\[127\.0\.0\.1\]`).FindStringSubmatch(log)
		return id != nil && strings.Contains(log, "status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:") &&
			regexp.MustCompile(`relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, delay=\S+, delays=\S+, dsn=5\.7\.0, status=bounced \(host 127\.0\.0\.1\[127\.0\.0\.1\] said: 554 5\.7\.0 Reject`).MatchString(log)
	}) {
		t.Fatalf("%s: the filter's answers are not in the log:\n%s", s.name, s.log())
	}
	return s.cat(t, id[1])
}
