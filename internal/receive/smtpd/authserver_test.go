package smtpd

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"packetboat/internal/auth/wire"
	"packetboat/internal/receive/gate"
	"packetboat/test/oracle"
)

// authConf makes Dovecot, or mrad, an authentication server for SMTP and nothing
// else (SASL_README of Postfix: private/auth).
const authConf = `base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols =
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
auth_mechanisms = MECHS
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = scheme=PLAIN DIR/users
}
userdb {
  driver = static
  args = uid=8 gid=8 home=/nonexistent
}
service auth {
  unix_listener DIR/auth {
    mode = 0666
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// oauthConf has Dovecot ask a server of the test whose token it is.
const oauthConf = `passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = DIR/oauth2
}
`

// startAuthServer starts program with authConf and returns its socket.
func startAuthServer(t *testing.T, program, mechs, more string, args ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: an authentication server starts only as root")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%s is not there", program)
	}
	dir, err := os.MkdirTemp("", "pba") // short: the path of a socket holds 107 octets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	oracle.Passable(dir)
	os.Mkdir(dir+"/state", 0o755)
	write(t, dir+"/users", "alice:{PLAIN}apw::::::\nbob:{PLAIN}bpw::::::\n")
	if more != "" {
		api := httptest.NewServer(http.HandlerFunc(tokens))
		t.Cleanup(api.Close)
		write(t, dir+"/oauth2", "tokeninfo_url = "+api.URL+"/?t=\nusername_attribute = user\n")
	}
	write(t, dir+"/dovecot.conf", strings.NewReplacer("DIR", dir, "MECHS", mechs).Replace(authConf+more))
	cmd := exec.Command(program, append(args, "-c", dir+"/dovecot.conf")...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-done
	})
	if !oracle.Await(func() bool {
		c, err := net.Dial("unix", dir+"/auth")
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		b, _ := os.ReadFile(dir + "/log")
		t.Fatalf("no authentication server: %s\n%s", said.String(), b)
	}
	return dir + "/auth"
}

// tokens is an OAuth 2 server that knows one token.
func tokens(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("t") != "good-token" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_token"}`)
		return
	}
	fmt.Fprint(w, `{"user":"alice","expires_in":1000}`)
}

// authWorld is our server in front of an authentication server.
func authWorld(t *testing.T, sock string, bans *gate.Bans) *world {
	t.Helper()
	w := newWorld()
	w.opts.SASL, w.deps.Bans = true, bans
	w.deps.Auth = wire.New(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", sock)
	})
	return w.start(t)
}

// whole reads a reply of any number of lines.
func (k *talk) whole() (lines []string) {
	k.t.Helper()
	for {
		l, err := k.r.ReadString('\n')
		if err != nil {
			k.t.Fatal(err)
		}
		lines = append(lines, strings.TrimSuffix(l, "\r\n"))
		if len(l) < 4 || l[3] != '-' {
			return lines
		}
	}
}

// sasl is the client's side of a mechanism: the answer to a challenge.
type sasl func(challenge []byte) []byte

func mechanisms(user, password string) map[string]func() sasl {
	script := func(lines ...string) func() sasl {
		return func() sasl {
			left := lines
			return func([]byte) []byte {
				if len(left) == 0 {
					return nil
				}
				l := left[0]
				left = left[1:]
				return []byte(l)
			}
		}
	}
	hash := func(h scram.HashGeneratorFcn) func() sasl {
		return func() sasl {
			c, err := h.NewClient(user, password, "")
			if err != nil {
				panic(err)
			}
			conv := c.NewConversation()
			return func(challenge []byte) []byte {
				answer, err := conv.Step(string(challenge))
				if err != nil {
					return nil // the server's signature is wrong, or it refused
				}
				return []byte(answer)
			}
		}
	}
	return map[string]func() sasl{
		"PLAIN":         script("\x00" + user + "\x00" + password),
		"LOGIN":         script(user, password),
		"SCRAM-SHA-1":   hash(scram.SHA1),
		"SCRAM-SHA-256": hash(scram.SHA256),
		"CRAM-MD5": func() sasl {
			return func(challenge []byte) []byte {
				m := hmac.New(md5.New, []byte(password))
				m.Write(challenge)
				return []byte(user + " " + hex.EncodeToString(m.Sum(nil)))
			}
		},
		"OAUTHBEARER": script("n,a="+user+",\x01host=x\x01port=25\x01auth=Bearer "+password+"\x01\x01", "\x01"),
		"XOAUTH2":     script("user="+user+"\x01auth=Bearer "+password+"\x01\x01", ""),
	}
}

// login holds one AUTH, with the first answer in the command or not, and returns
// the last reply.
func login(k *talk, mech string, m sasl, initial bool) string {
	line := "AUTH " + mech
	if initial && mech != "LOGIN" && mech != "CRAM-MD5" {
		line += " " + base64.StdEncoding.EncodeToString(m(nil))
	}
	k.send(line + "\r\n")
	for range 6 {
		reply := k.whole()[0]
		challenge, more := strings.CutPrefix(reply, "334 ")
		if !more {
			return reply
		}
		b, _ := base64.StdEncoding.DecodeString(challenge)
		k.send(base64.StdEncoding.EncodeToString(m(b)) + "\r\n")
	}
	return "no end"
}

func authServers(t *testing.T, each func(t *testing.T, program, mechs, more string, args []string)) {
	here, _ := filepath.Abs("../../../bin/mrad")
	const all = "plain login cram-md5 scram-sha-1 scram-sha-256"
	t.Run("dovecot", func(t *testing.T) {
		each(t, "/usr/sbin/dovecot", all+" oauthbearer xoauth2", oauthConf, []string{"-F"})
	})
	t.Run("mrad", func(t *testing.T) { each(t, here, all, "", []string{"-F"}) })
}

// TestAuthServers: every mechanism that the server behind private/auth has works,
// with a right secret and not with a wrong one; a real Dovecot and mrad are such
// servers. The log line of a refusal is the one that fail2ban knows.
func TestAuthServers(t *testing.T) {
	authServers(t, func(t *testing.T, program, mechs, more string, args []string) {
		w := authWorld(t, startAuthServer(t, program, mechs, more, args...), nil)
		for _, mech := range strings.Fields(strings.ToUpper(mechs)) {
			good, bad := "apw", "wrong"
			if strings.HasSuffix(mech, "BEARER") || mech == "XOAUTH2" {
				good, bad = "good-token", "bad-token"
			}
			for _, initial := range []bool{false, true} {
				k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
				k.want("220*")
				k.send("EHLO x\r\n")
				offer := strings.Join(k.whole(), "\n")
				if !slices.Contains(strings.Fields(offer), mech) {
					t.Fatalf("%s is not offered in %q", mech, offer)
				}
				if r := login(k, mech, mechanisms("alice", bad)[mech](), initial); !strings.HasPrefix(r, "535 5.7.8 Error: authentication failed: ") {
					t.Errorf("%s with a wrong secret: %s", mech, r)
				}
				if r := login(k, mech, mechanisms("alice", good)[mech](), initial); r != "235 2.7.0 Authentication successful" {
					t.Errorf("%s: %s", mech, r)
				}
				k.send("AUTH PLAIN AGFsaWNlAGFwdw==\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@far.test>\r\n")
				k.want("503 5.5.1 Error: already authenticated", "250*", "250*")
				if !oracle.Await(func() bool {
					return hasLine(w.log.all(), "*: client=unknown[127.0.0.3], sasl_method="+mech+", sasl_username=alice") &&
						hasLine(w.log.all(), "warning: unknown[127.0.0.3]: SASL "+mech+" authentication failed: *")
				}) {
					t.Errorf("%s: the log does not tell: %s", mech, strings.Join(w.log.all(), "\n"))
				}
				k.c.Close()
			}
		}
	})
}

// TestGuessing: whoever tries passwords waits longer and longer, by address and
// by account, whatever the mechanism; who knows the password does not.
func TestGuessing(t *testing.T) {
	authServers(t, func(t *testing.T, program, mechs, more string, args []string) {
		bans := gate.NewBans()
		w := authWorld(t, startAuthServer(t, program, mechs, more, args...), bans)
		try := func(from, mech, user, password string) (string, time.Duration) {
			k := newTalk(t, dialFrom(t, from, w.addr))
			defer k.c.Close()
			k.want("220*")
			begun := time.Now()
			return login(k, mech, mechanisms(user, password)[mech](), true), time.Since(begun)
		}
		for _, mech := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256"} { // three cost nothing
			try("127.0.0.3", mech, "alice", "wrong")
		}
		if r, d := try("127.0.0.3", "CRAM-MD5", "bob", "wrong"); d < time.Second || !strings.HasPrefix(r, "535 ") {
			t.Errorf("the fourth guess from an address took %v: %s", d, r)
		}
		// Three failures of alice are counted, too: her account slows a stranger's
		// guesses only after many, so that nobody locks her out.
		if _, d := try("127.0.0.4", "PLAIN", "alice", "apw"); d > 10*time.Second {
			t.Errorf("another address waits %v", d)
		}
		if r, _ := try("127.0.0.3", "PLAIN", "alice", "apw"); r != "235 2.7.0 Authentication successful" {
			t.Errorf("the right password: %s", r)
		}
		if d := bans.Failed(netip.MustParseAddr("127.0.0.3"), "carol"); d != 0 {
			t.Errorf("after a right password an address still waits %v", d)
		}
	})
}
