package auth

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"packetboat/internal/auth/scheme"
	"packetboat/internal/auth/wire"
)

// lines collects what goes to the log.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(v Level, s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, []string{"info ", "error "}[v]+s)
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "\n")
}

// fixture makes an Auth over a passwd-file of the given text; it sleeps only
// on its own clock.
func fixture(t *testing.T, users string, change func(*Options)) (*Auth, *lines, *[]time.Duration) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	log, slept := &lines{}, &[]time.Duration{}
	o := Options{Mechanisms: []string{"plain", "login", "cram-md5", "scram-sha-256"}, Verbose: true, Log: log.add, Host: "h.test",
		FirstUID: 1, MailLocation: "mbox:~/mail:INBOX=/var/mail/%u",
		Passdbs: []DB{{Driver: "passwd-file", Args: path}}, Userdbs: []DB{{Driver: "passwd-file", Args: path}}}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	a.sleep = func(_ context.Context, d time.Duration) {
		mu.Lock()
		*slept = append(*slept, d)
		mu.Unlock()
	}
	return a, log, slept
}

var remote = netip.MustParseAddrPort("192.0.2.9:999")

func try(a *Auth, mech string, responses ...string) wire.Answer {
	c := a.Begin(wire.Request{Service: "imap", Mech: mech, Remote: remote, Session: "S"})
	var ans wire.Answer
	for _, r := range responses {
		if ans = c.Step(context.Background(), []byte(r)); ans.State != wire.Continue {
			break
		}
	}
	return ans
}

const users = `# comment
alice:{PLAIN}secret:1000:1001::/home/alice::userdb_mail=maildir:~/Maildir nodelay=y
bob@x.test:{PLAIN}pa:ss:1000
bob:{PLAIN}hunter2:1002:1002::/home/bob::
empty::1:1::
locked:{PLAIN}x:1:1::/:: nologin=y reason=closed
netted:{PLAIN}x:1:1::/::allow_nets=10.0.0.0/8,192.0.2.9
far:{PLAIN}x:1:1::/::allow_nets=10.0.0.0/8
root:{PLAIN}x:0:0::/root::
moved:{PLAIN}x:1:1::/::user=bob
any::1:1::/::nopassword=y
`

func TestPlain(t *testing.T) {
	a, log, _ := fixture(t, users, nil)
	for _, c := range []struct {
		in, user string
		ok       bool
	}{
		{"\x00alice\x00secret", "alice", true},
		{"\x00ALICE\x00secret", "alice", true},
		{"alice\x00alice\x00secret", "alice", true},
		{"bob\x00alice\x00secret", "alice", false},
		{"\x00alice\x00Secret", "alice", false},
		{"\x00alice\x00", "alice", false},
		{"\x00alice\x00secret\x00", "", false},
		{"\x00\x00secret", "", false},
		{"alice", "", false},
		{"", "", false},
		{"\x00", "", false},
		{"\x00alice\x00secret\x00x", "", false},
		{"\x00empty\x00x", "empty", false},
		{"\x00any\x00whatever", "any", true},
		{"\x00any\x00", "any", false},
		{"\x00%u\x00x", "", false},
		{"\x00../alice\x00secret", "", false},
		{"\x00alice(1.2.3.4)\x00x", "", false},
		{"\x00" + strings.Repeat("a", 600) + "\x00x", "", false},
		{"\x00locked\x00x", "locked", false},
		{"\x00netted\x00x", "netted", true},
		{"\x00far\x00x", "far", false},
		{"\x00moved\x00x", "bob", true},
	} {
		ans := try(a, "PLAIN", c.in)
		if (ans.State == wire.OK) != c.ok || ans.User != c.user || ans.Temporary {
			t.Errorf("%q: %+v", c.in, ans)
		}
	}
	text := log.all()
	for _, want := range []string{"info passwd-file(alice,192.0.2.9,<S>): Password mismatch", "info plain(?,192.0.2.9,<S>): invalid input",
		"info plain(?,192.0.2.9,<S>): Username character disallowed by auth_username_chars: 0x25 (username: %u)"} {
		if !strings.Contains(text, want) {
			t.Errorf("log has no %q", want)
		}
	}
	if strings.Contains(text, "ecret") || strings.Contains(text, "whatever") {
		t.Error("a password is in the log")
	}
}

func TestUnknownUserAndLogin(t *testing.T) {
	a, log, slept := fixture(t, users, nil)
	if ans := try(a, "LOGIN", "zed", "x"); ans.State != wire.Fail || ans.User != "zed" {
		t.Error(ans)
	}
	if !strings.Contains(log.all(), "info passwd-file(zed,192.0.2.9,<S>): unknown user") {
		t.Error(log.all())
	}
	if len(*slept) == 0 || (*slept)[len(*slept)-1] < time.Second {
		t.Errorf("slept %v", *slept)
	}
	c := a.Begin(wire.Request{Service: "smtp", Mech: "LOGIN"})
	if ans := c.Step(t.Context(), nil); string(ans.Challenge) != "Username:" {
		t.Error(ans)
	}
	if ans := c.Step(t.Context(), []byte("bob")); string(ans.Challenge) != "Password:" {
		t.Error(ans)
	}
	if ans := c.Step(t.Context(), []byte("hunter2")); ans.State != wire.OK || ans.User != "bob" {
		t.Error(ans)
	}
	if a.Begin(wire.Request{Mech: "GSSAPI"}) != nil {
		t.Error("an unknown mechanism began")
	}
}

func TestCRAM(t *testing.T) {
	context := hex.EncodeToString(scheme.CRAMContext("geheim"))
	a, _, _ := fixture(t, users+"carl:{CRAM-MD5}"+context+"\n", nil)
	for user, password := range map[string]string{"bob": "hunter2", "carl": "geheim", "alice": "wrong", "zed": "x"} {
		c := a.Begin(wire.Request{Service: "imap", Mech: "CRAM-MD5"})
		ch := c.Step(t.Context(), nil)
		m := hmac.New(md5.New, []byte(password))
		m.Write(ch.Challenge)
		ans := c.Step(t.Context(), fmt.Appendf(nil, "%s %x", user, m.Sum(nil)))
		if (ans.State == wire.OK) != (user == "bob" || user == "carl") {
			t.Errorf("%s: %+v", user, ans)
		}
	}
}

func TestSCRAM(t *testing.T) {
	a, _, _ := fixture(t, users+"sam:{SCRAM-SHA-256}4096,QP2x00XDtNjwpfsv7TVSTg==,/f1iYCBJX2WoEn3ocRM+vIkeVyeukmjR5yyagN9KvwM=,TEmov0PXRH8wA1FvCWFOxqhA89KSCsRcmuRknrhtIj0=\n", nil)
	for user, c := range map[string]struct {
		password string
		ok       bool
	}{"bob": {"hunter2", true}, "sam": {"pässwörd 1", true}, "alice": {"wrong", false}, "zed": {"x", false}} {
		if got := scramLogin(t, a, user, c.password); got != c.ok {
			t.Errorf("%s: %v", user, got)
		}
	}
}

func scramLogin(t *testing.T, a *Auth, user, password string) bool {
	cl, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := cl.NewConversation()
	c := a.Begin(wire.Request{Service: "imap", Mech: "SCRAM-SHA-256"})
	msg, err := conv.Step("")
	for range 5 {
		if err != nil {
			t.Fatal(err)
		}
		ans := c.Step(t.Context(), []byte(msg))
		if ans.State != wire.Continue {
			return ans.State == wire.OK
		}
		msg, err = conv.Step(string(ans.Challenge))
	}
	t.Fatal("no end")
	return false
}

// TestSchemes holds every scheme against what doveadm pw of Dovecot 2.3.19 made.
func TestSchemes(t *testing.T) {
	const password = "pässwörd 1"
	for line := range strings.Lines(`{PLAIN}pässwörd 1
{CRYPT}$2y$05$e2c8idC9zLZIud5e9wYoweYPjjdD6FrpM8ao.Q2U8zG4YapRbO0NS
{MD5-CRYPT}$1$W8QsT.bh$aEVo3ibxuUBXqlMuwsRYK1
{SHA256-CRYPT}$5$hzQ2jl2IF1LC4wET$PH8TOxhkFs7iydX3w1z5ufNeqBQ0kOgkInQpBzwS2D3
{SHA512-CRYPT}$6$M2mFzYylJOrcRdpy$0pqd10F2Ii/etxwKqRGwHTGNmojK7mTVoOPqrqp7/N9L.8S4iwdHncbVTZI3dU87yPOoUU6cRCNNwtPJV7vDU1
$6$M2mFzYylJOrcRdpy$0pqd10F2Ii/etxwKqRGwHTGNmojK7mTVoOPqrqp7/N9L.8S4iwdHncbVTZI3dU87yPOoUU6cRCNNwtPJV7vDU1
{BLF-CRYPT}$2y$05$wmx5dzzWo4JXo76xq/PcKuZaprqbj2oGZLxqXHn99KrWAF6eWkqI2
{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$EQO8Fvg7Juqn+e2PhnUcLg$PuNFXHbdMtSb66AoZWlPP/ciTtTBrGbtrYuH8x7W+Fk
{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$YFeEV2HMqN1FAdizeHJ3kw$3JczT/MgTcq4Ooh6TRCMLEtVkSQ/oB9Guztyz1jzkY4
{PBKDF2}$1$36pg7HX1b5E5Ikv/$5000$6838fc55462cca6a2cef05f2b2e888bd4a8f0158
{SSHA}K2lqh96iS1i7eX+P+1n7bjNDX14NoY11
{SSHA256}kn+54iuIRVn9av6FDu9A6muSx5KAKPsphPlJOHhlYSXAx4Cg
{SSHA512}EGKix50GJUHkT5bP8lnmrcKCSwm2lwgZH4lyf4WCLHF8UH/4hHlLdjMIzHcmWyKNyBtcyoclO+zyr1dtxLAE8GnMKs8=
{SHA}/Hrn08gEogcgvDjo5YNQSGibZVE=
{SHA1}/Hrn08gEogcgvDjo5YNQSGibZVE=
{SHA256}UODX5JZHe18JVwv9yvMbAoeS719Y7fwn28vMuM/OHRU=
{SHA512}MGrCWX/OaIyw5xBZ0RrM2vwe1YHoo2MD/NKt2+vkfLiudEOMnHxXTsVXCSooO5eehIdUJFylnTmr3TTyK23wMw==
{SMD5}acZ+iDGCy3almIXxjiZjA1iu/U4=
{PLAIN-MD5}ce74b892da441b00f4b61523872bc6b4
{LDAP-MD5}znS4ktpEGwD0thUjhyvGtA==
{CRAM-MD5}52088da9670cd71eb1a28e47c53cd529f0dab67d4b8b55f1cf849141d512452f
{SCRAM-SHA-1}4096,TZiAE4sBJqmY4R/ANWM8qQ==,Z+VFyPUDiwy8RPD3Lig4F9bX+D0=,riHqDXp1TLcprqOVphRCMos9mig=
{SCRAM-SHA-256}4096,QP2x00XDtNjwpfsv7TVSTg==,/f1iYCBJX2WoEn3ocRM+vIkeVyeukmjR5yyagN9KvwM=,TEmov0PXRH8wA1FvCWFOxqhA89KSCsRcmuRknrhtIj0=
{cleartext}pässwörd 1
{MD5}$1$GrOqnxXM$0Xh3CturqN0JhO737GAnW1
{SSHA.HEX}d4199b1da58beee09c47ec897f2ec47b0f21c9a65d371fca
{SHA256.HEX}50e0d7e496477b5f09570bfdcaf31b028792ef5f58edfc27dbcbccb8cfce1d15
{SHA256}50e0d7e496477b5f09570bfdcaf31b028792ef5f58edfc27dbcbccb8cfce1d15
{SSHA.b64}yZFdCPnkRUTcY0/GuXEDxEdNtg0vdA2s
{DIGEST-MD5}67e04ad0b46696565d8d643c108d7c73
{HMAC-MD5}52088da9670cd71eb1a28e47c53cd529f0dab67d4b8b55f1cf849141d512452f
`) {
		s := scheme.Parse(strings.TrimSuffix(line, "\n"), "CRYPT")
		if ok, err := s.Match("a@b.c", password); !ok || err != nil {
			t.Errorf("%s: %v %v", s.Scheme, ok, err)
		}
		if strings.HasPrefix(s.Scheme, "ARGON") {
			continue // slow on purpose
		}
		if ok, _ := s.Match("a@b.c", password+"x"); ok {
			t.Errorf("%s: a wrong password fits", s.Scheme)
		}
	}
	if ok, err := scheme.Parse("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$ZjGUEbD1qrpRZvE/IeQI26cnNiCj7A4fTkdxnzw.HwB", "CRYPT").Match("", "pw1"); !ok {
		t.Error("yescrypt:", err)
	}
	for _, bad := range []string{"{NOPE}x", "{CRYPT}rTkgTouU0dqcQ", "{SHA512-CRYPT}", "{SSHA}!!", "{SSHA}", "{SHA}AAAA", "{PBKDF2}$1$a$b$c", "{SCRAM-SHA-1}1,2", "{CRAM-MD5}zz", "{"} {
		if ok, err := scheme.Parse(bad, "CRYPT").Match("u", "x"); ok || err == nil {
			t.Errorf("%s: %v %v", bad, ok, err)
		}
	}
}

func TestFileChangesAndMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	_, err := New(Options{Passdbs: []DB{{Driver: "passwd-file", Args: path}}})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	os.WriteFile(path, []byte("a:{PLAIN}one\n"), 0o600)
	log := &lines{}
	a, err := New(Options{Delay: -1, NoPenalty: true, Log: log.add, Passdbs: []DB{{Driver: "passwd-file", Args: path}}})
	if err != nil {
		t.Fatal(err)
	}
	if ans := try(a, "PLAIN", "\x00a\x00one"); ans.State != wire.OK {
		t.Error(ans)
	}
	os.WriteFile(path, []byte("a:{PLAIN}three\n"), 0o600)
	if ans := try(a, "PLAIN", "\x00a\x00one"); ans.State == wire.OK {
		t.Error("the old password still works")
	}
	if ans := try(a, "PLAIN", "\x00a\x00three"); ans.State != wire.OK {
		t.Error(ans)
	}
	os.Remove(path)
	if ans := try(a, "PLAIN", "\x00a\x00three"); !ans.Temporary || ans.Code != wire.CodeTempFail {
		t.Error(ans)
	}
	if !strings.Contains(log.all(), path) {
		t.Errorf("log: %s", log.all())
	}
}

func TestUserdb(t *testing.T) {
	a, log, _ := fixture(t, users, nil)
	u, err := a.User(t.Context(), "Alice", "lmtp", nil)
	if err != nil || u.UID != 1000 || u.GID != 1001 || u.Home != "/home/alice" || u.Mail != "maildir:/home/alice/Maildir" {
		t.Errorf("%+v %v", u, err)
	}
	u, err = a.User(t.Context(), "bob", "lmtp", nil)
	if err != nil || u.Mail != "mbox:/home/bob/mail:INBOX=/var/mail/bob" {
		t.Errorf("%+v %v", u, err)
	}
	if _, err = a.User(t.Context(), "zed", "lmtp", nil); !errors.Is(err, ErrNoUser) {
		t.Error(err)
	}
	if _, err = a.User(t.Context(), "%u", "lmtp", nil); !errors.Is(err, ErrNoUser) {
		t.Error(err)
	}
	if _, err = a.User(t.Context(), "root", "lmtp", nil); err == nil || !strings.Contains(err.Error(), "first_valid_uid") {
		t.Error(err, log.all())
	}
}

func TestStaticAndPrefetch(t *testing.T) {
	a, _, _ := fixture(t, users, func(o *Options) {
		o.Userdbs = []DB{{Driver: "prefetch"}, {Driver: "static", Args: "uid=1000 gid=1000 home=/srv/%d/%n"}}
		o.AnyChars = true
	})
	u, err := a.User(t.Context(), "bob@x.test", "lmtp", nil)
	if err != nil || u.Home != "/srv/x.test/bob" {
		t.Errorf("%+v %v", u, err)
	}
	if _, err = a.User(t.Context(), "nobody@x.test", "lmtp", nil); !errors.Is(err, ErrNoUser) {
		t.Error(err)
	}
	if u, err := a.User(t.Context(), "../../etc@x.test", "lmtp", Fields{}); err == nil {
		t.Errorf("a user left the folder: %+v", u)
	}
	u, err = a.LoggedIn(t.Context(), &Query{User: "q"}, Fields{"userdb_uid": "7", "userdb_gid": "7", "userdb_home": "/q"})
	if err != nil || u.UID != 7 || u.Home != "/q" {
		t.Errorf("%+v %v", u, err)
	}
}

func TestDenyAndOrder(t *testing.T) {
	dir := t.TempDir()
	deny, second := filepath.Join(dir, "deny"), filepath.Join(dir, "second")
	os.WriteFile(deny, []byte("bob:x\n"), 0o600)
	os.WriteFile(second, []byte("alice:{PLAIN}other\ncarl:{PLAIN}c\n"), 0o600)
	a, _, _ := fixture(t, users, func(o *Options) {
		o.Passdbs = []DB{{Driver: "passwd-file", Args: deny, Deny: true}, o.Passdbs[0], {Driver: "passwd-file", Args: second}}
	})
	for in, want := range map[string]wire.State{"\x00bob\x00hunter2": wire.Fail, "\x00alice\x00other": wire.OK, "\x00alice\x00secret": wire.OK, "\x00carl\x00c": wire.OK, "\x00carl\x00d": wire.Fail} {
		if ans := try(a, "PLAIN", in); ans.State != want {
			t.Errorf("%q: %+v", in, ans)
		}
	}
}

func TestPenalty(t *testing.T) {
	p := newPenalties()
	now := time.Unix(1e9, 0)
	p.now = func() time.Time { return now }
	var got []time.Duration
	for i := range 6 {
		got = append(got, p.wait("192.0.2.1"))
		p.failed("192.0.2.1", "u", fmt.Sprint(i))
		p.failed("192.0.2.1", "u", fmt.Sprint(i)) // the same again does not count
	}
	if s := fmt.Sprint(got); s != "[0s 2s 4s 8s 15s 15s]" {
		t.Error(s)
	}
	if p.wait("192.0.2.2") != 0 || p.wait("") != 0 {
		t.Error("another address waits")
	}
	p.failed("2001:db8:1:2::1", "u", "x")
	if p.wait("2001:db8:1:3::9") == 0 {
		t.Error("an IPv6 network is not one client")
	}
	now = now.Add(2 * time.Minute)
	if p.wait("192.0.2.1") != 0 {
		t.Error("never forgotten")
	}
	for i := range penaltyHosts + 10 {
		p.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(), "u", "x")
	}
	if len(p.hosts) > penaltyHosts {
		t.Error(len(p.hosts))
	}
}

type fakePAM map[string]PAMResult

func (f fakePAM) Check(_ context.Context, service, user, password, _ string) (PAMResult, error) {
	if user == "down" {
		return PAMResult{}, errors.New("no answer")
	}
	return f[service+"/"+user+"/"+password], nil
}

func TestPAM(t *testing.T) {
	fake := fakePAM{"imap/ann/right": {OK: true}, "imap/ann/wrong": {Step: "pam_authenticate", Code: 7, Text: "Authentication failure"},
		"imap/who/x": {Step: "pam_authenticate", Code: 10, Text: "User not known"}, "imap/old/x": {Step: "pam_acct_mgmt", Code: 13, Text: "User account has expired"},
		"imap/max/x":  {Step: "pam_authenticate", Code: 11, Text: "Have exhausted maximum number of retries for service"},
		"imap/ldap/x": {Step: "pam_authenticate", Code: 9, Text: "Authentication service cannot retrieve authentication info"}}
	a, log, _ := fixture(t, users, func(o *Options) {
		o.PAM = fake
		o.Passdbs = []DB{{Driver: "pam", Args: "session=no max_requests=20 %s"}}
	})
	if ans := try(a, "PLAIN", "\x00ann\x00right"); ans.State != wire.OK {
		t.Error(ans)
	}
	for _, in := range []string{"\x00ann\x00wrong", "\x00who\x00x", "\x00old\x00x", "\x00max\x00x"} {
		if ans := try(a, "PLAIN", in); ans.State != wire.Fail || ans.Temporary {
			t.Error(in, ans)
		}
	}
	for _, in := range []string{"\x00down\x00x", "\x00ldap\x00x"} {
		if ans := try(a, "PLAIN", in); !ans.Temporary {
			t.Error(in, ans)
		}
	}
	want := "info pam(ann,192.0.2.9,<S>): pam_authenticate() failed: Authentication failure (Password mismatch?)"
	if !strings.Contains(log.all(), want) || !strings.Contains(log.all(), "info pam(who,192.0.2.9,<S>): unknown user") {
		t.Error(log.all())
	}
	if _, err := New(Options{Passdbs: []DB{{Driver: "pam"}}}); err == nil {
		t.Error("pam without pamcheck was accepted")
	}
	for _, args := range []string{"session=yes", "session", "setcred=yes dovecot", "failure_show_msg=yes %s"} {
		if _, err := New(Options{PAM: fake, Passdbs: []DB{{Driver: "pam", Args: args}}}); err == nil {
			t.Errorf("args %q were passed over in silence", args)
		}
	}
}

func TestExpand(t *testing.T) {
	q := &Query{User: "Bob@Ex.Org", Orig: "o", Service: "imap", Remote: "::1", Home: "/h", UID: "7"}
	for in, want := range map[string]string{"%u": "Bob@Ex.Org", "%Lu": "bob@ex.org", "%n-%d": "Bob-Ex.Org", "%%u": "%u", "%{user}": "Bob@Ex.Org",
		"%L{domain}": "ex.org", "%Un": "BOB", "%h/x%i": "/h/x7", "%": "%", "%r%s": "::1imap", "%{nope}": "", "a%Q": "a"} {
		if got := Expand(in, q); got != want {
			t.Errorf("%s = %q, want %q", in, got, want)
		}
	}
	if got := Expand("%u", &Query{User: "%h%{home}"}); got != "%h%{home}" {
		t.Errorf("a user name was expanded: %q", got)
	}
	for _, bad := range []string{"../x", "..", ".", "a/b", "", "a\x00"} {
		if _, err := ExpandPath("/m/%u", &Query{User: bad}); err == nil {
			t.Errorf("%q may be part of a path", bad)
		}
	}
}

func FuzzPasswdLine(f *testing.F) {
	for _, s := range []string{"a:b:1:2::/h::x=y", "a", ":", "#", "a:{X", "a:]", "a:[13]", "a:x[34]", "::::::::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		name, e := parsePasswdLine(line)
		if e == nil {
			return
		}
		if name == "" || strings.Contains(name, ":") {
			t.Errorf("%q: name %q", line, name)
		}
		if s := e.stored("PLAIN"); s.Scheme != "ARGON2ID" && s.Scheme != "ARGON2I" && s.Scheme != "ARGON2" && len(line) < 200 && !strings.Contains(s.Data, "$") {
			s.Match("u", "p")
		}
	})
}

func FuzzExpand(f *testing.F) {
	f.Add("%u%{home}%L{x", "u")
	f.Fuzz(func(t *testing.T, pattern, user string) {
		if p, err := ExpandPath("/a/%u", &Query{User: user}); err == nil && filepath.Dir(p) != "/a" {
			t.Errorf("%q leads to %q", user, p)
		}
		Expand(pattern, &Query{User: user})
	})
}

// TestMake: what Make makes, Match takes.
func TestMake(t *testing.T) {
	for _, name := range append(scheme.Names(), "SSHA.HEX", "SHA256.B64") {
		s, err := scheme.Make(name, "a@b", "pässwörd", 0)
		if err != nil || !strings.HasPrefix(s, "{"+name+"}") {
			t.Errorf("%s: %q %v", name, s, err)
			continue
		}
		if ok, err := scheme.Parse(s, "").Match("a@b", "pässwörd"); !ok || err != nil {
			t.Errorf("%s: %q does not match: %v", name, s, err)
		}
		if strings.HasPrefix(name, "ARGON") || name == "CRYPT" || name == "BLF-CRYPT" {
			continue // slow on purpose
		}
		if ok, _ := scheme.Parse(s, "").Match("a@b", "passwörd"); ok {
			t.Errorf("%s: matches everything", name)
		}
	}
}
