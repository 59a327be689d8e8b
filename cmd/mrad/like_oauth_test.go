package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestOAuth2: OAUTHBEARER, XOAUTH2 and a token for a password, judged by an
// authorization server, as with Dovecot: what the client is told, word for word.
func TestOAuth2(t *testing.T) {
	t.Parallel()
	answers := map[string]string{"good": `{"email":"ann","active":true,"scope":"mail other","sub":7}`, "other": `{"email":"bob","active":true,"scope":"mail"}`,
		"inactive": `{"email":"ann","active":false,"scope":"mail"}`, "noscope": `{"email":"ann","active":true}`, "noname": `{"active":true,"scope":"mail"}`, "junk": "nothing"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch body := answers[r.FormValue("access_token")]; {
		case r.FormValue("access_token") == "down":
			w.WriteHeader(http.StatusInternalServerError)
		case body == "":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_token"}`)
		default:
			fmt.Fprint(w, body)
		}
	}))
	defer server.Close()
	conf := "auth_mechanisms = plain oauthbearer xoauth2\npassdb {\n  driver = oauth2\n  mechanisms = oauthbearer xoauth2 plain\n  args = DIR/oauth2.conf\n}\n" +
		"userdb {\n  driver = static\n  args = uid=8 gid=8 home=DIR/a\n}\n"
	systems := both(t, conf, func(dir string) {
		file(t, dir+"/oauth2.conf", "tokeninfo_url = "+server.URL+"/info?access_token=\nactive_attribute = active\nactive_value = true\nscope = mail\n"+
			"openid_configuration_url = https://id.test/openid\n")
	})
	bearer := func(token string) [][2]string {
		return [][2]string{{"OAUTHBEARER", "n,a=ann,\x01host=h\x01auth=Bearer " + token + "\x01\x01"}, {"XOAUTH2", "user=ann\x01auth=Bearer " + token + "\x01\x01"}, {"PLAIN", "\x00ann\x00" + token}}
	}
	var tries [][2]string
	for _, token := range []string{"good", "bad", "other", "inactive", "noscope", "noname", "junk", "down"} {
		tries = append(tries, bearer(token)...)
	}
	for _, raw := range []string{"n,,\x01auth=Bearer good\x01\x01", "n,a=ann\x01auth=Bearer good\x01\x01", "n,a=ann,\x01auth=Basic good\x01\x01", "y,a=ann,\x01auth=Bearer good\x01\x01",
		"p=x,a=ann,\x01auth=Bearer good\x01\x01", "n,a=ann,\x01auth=bearer good"} {
		tries = append(tries, [2]string{"OAUTHBEARER", raw})
	}
	for _, raw := range []string{"user=ann\x01auth=bearer good", "auth=Bearer good\x01\x01", "user=ann\x01\x01"} {
		tries = append(tries, [2]string{"XOAUTH2", raw})
	}
	good := 0
	for _, x := range tries {
		got := systems[0].authenticate(t, x[0], x[1])
		if strings.HasPrefix(got, "OK") {
			good++
		}
		if strings.HasPrefix(got, "OK") != (strings.Contains(strings.ToLower(x[1]), "bearer good") || x == [2]string{"PLAIN", "\x00ann\x00good"}) &&
			!strings.HasPrefix(x[1], "p=") && !strings.HasPrefix(x[1], "n,,") && !strings.HasPrefix(x[1], "auth") {
			t.Errorf("%q: %s\n%s", x, got, systems[0].log())
		}
		if len(systems) == 1 {
			continue
		}
		if real := systems[1].authenticate(t, x[0], x[1]); real != got {
			t.Errorf("%q: ours %s, Dovecot %s\n%s\n%s", x, got, real, systems[0].log(), systems[1].log())
		}
	}
	if good != 7 {
		t.Errorf("%d tries succeeded", good)
	}
	if strings.Contains(systems[0].log(), "noscope") || strings.Contains(systems[0].log(), "access_token") {
		t.Errorf("a token is in the log\n%s", systems[0].log())
	}
	if _, err := os.Stat("/usr/sbin/dovecot"); err != nil {
		t.Log("not compared: there is no Dovecot")
	}
}

// authenticate returns the challenge that a refusal brings, if any, and the answer
// without its text.
func (s likeSystem) authenticate(t *testing.T, mech, response string) string {
	t.Helper()
	c, err := net.Dial("tcp4", s.addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(c)
	in.ReadString('\n')
	fmt.Fprintf(c, "a AUTHENTICATE %s %s\r\n", mech, base64.StdEncoding.EncodeToString([]byte(response)))
	challenge := ""
	for {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return "gone"
		case strings.HasPrefix(line, "+ "):
			b, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(line[2:]))
			challenge = string(b) + " "
			fmt.Fprint(c, "AQ==\r\n")
		case strings.HasPrefix(line, "a "):
			f := strings.Fields(line + " - -")
			if f[1] == "OK" {
				return challenge + "OK"
			}
			return challenge + f[1] + " " + f[2]
		}
	}
}
