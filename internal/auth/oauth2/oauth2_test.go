package oauth2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBearer: what Dovecot takes of both mechanisms' responses, and what not.
func TestBearer(t *testing.T) {
	for in, want := range map[string]string{
		"n,a=ann@x.y,\x01host=h\x01port=143\x01auth=Bearer tok\x01\x01": "ann@x.y tok", "y,a=ann,\x01auth=bearer tok\x01\x01": "ann tok", "n,a=ann\x01auth=Bearer tok": "ann tok",
		"n,a=a=2Cb=3Dc,\x01auth=Bearer tok\x01\x01": "a,b=c tok", "n,a=a=41,\x01auth=Bearer tok\x01\x01": " tok", "n,,\x01auth=Bearer tok\x01\x01": " tok",
		"p=tls-unique,a=ann,\x01auth=Bearer tok\x01\x01": " ", "n,a=ann,\x01auth=Basic tok\x01\x01": "ann ", "": " ", "n,a=ann\x00,\x01auth=Bearer tok\x01": " ",
		"google user=ann\x01auth=Bearer tok\x01\x01": "ann tok", "google user=ann\x01\x01": "ann ", "google auth=Bearer tok\x01\x01": " tok", "google \x01\x01": " ",
	} {
		text, google := strings.CutPrefix(in, "google ")
		user, token := Bearer(text, google)
		if got := user + " " + token; got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func FuzzBearer(f *testing.F) {
	f.Add("n,a=ann,\x01auth=Bearer tok\x01\x01", false)
	f.Add("user=ann\x01auth=Bearer tok\x01\x01", true)
	f.Fuzz(func(t *testing.T, s string, google bool) {
		user, token := Bearer(s, google)
		if strings.ContainsAny(user+token, "\x00\x01") {
			t.Errorf("%q gives %q %q", s, user, token)
		}
	})
}

// open makes a DB of a file's text, URL standing for the server.
func open(t *testing.T, server, text string) (*DB, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "oauth2.conf")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "URL", server)), 0o600); err != nil {
		t.Fatal(err)
	}
	return Open(path)
}

// TestModes: how the server is asked in each mode, and what its answers mean.
func TestModes(t *testing.T) {
	var asked string
	answers := map[string]string{"good": `{"email":"Ann","active":true,"scope":"mail other","sub":7,"deep":{"x":1}}`, "bob": `{"email":"bob","active":true,"scope":["mail"]}`,
		"off": `{"email":"ann","active":false,"scope":"mail"}`, "noscope": `{"email":"ann","active":true}`, "noname": `{"active":true,"scope":"mail"}`, "list": `{"email":["ann"],"active":true,"scope":"mail"}`,
		"junk": `nothing`, "aud": `{"email":"ann","active":true,"aud":["mail"]}`, "long": `{"email":"` + strings.Repeat("x", maxAnswer) + `"}`, "half": `{"active":true}`}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		token := r.FormValue("token")
		if h, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			token = h
		}
		user, secret, _ := r.BasicAuth()
		asked += fmt.Sprintf("%s %s %s:%s;", r.Method, r.URL.Path, user, secret)
		switch {
		case r.URL.Path == "/grant":
			if r.FormValue("username") == "ann" && r.FormValue("password") == "pw" && r.FormValue("grant_type") == "password" {
				json.NewEncoder(w).Encode(map[string]string{"access_token": "good"})
				return
			}
			w.WriteHeader(400)
		case token == "down":
			w.WriteHeader(503)
		case token == "moved":
			http.Redirect(w, r, "/info?token=good", http.StatusFound)
		case r.URL.Path == "/more":
			fmt.Fprint(w, `{"email":"ann"}`)
		case answers[token] == "":
			w.WriteHeader(401)
		default:
			fmt.Fprint(w, answers[token])
		}
	}))
	defer s.Close()
	const strict = "active_attribute = active\nactive_value = true\nscope = mail\n"
	for _, c := range []struct{ text, token, want, asked string }{
		{"tokeninfo_url = URL/info?token=", "good", "ok", "GET /info :;"},
		{"introspection_url = URL/info", "good", "ok", "GET /info :;"},
		{"introspection_url = URL/info?token=\nintrospection_mode = get", "good", "ok", "GET /info :;"},
		{"introspection_url = URL/info\nintrospection_mode = post\nclient_id = me\nclient_secret = s3", "good", "ok", "POST /info me:s3;"},
		{"tokeninfo_url = URL/info?token=\nintrospection_url = URL/more", "half", "ok", "GET /info :;GET /more :;"},
		{"tokeninfo_url = URL/info?token=\nintrospection_url = URL/more", "good", "ok", "GET /info :;"},
		{"tokeninfo_url = URL/info?token=\nintrospection_url = URL/more\nforce_introspection = yes", "good", "ok", "GET /info :;GET /more :;"},
		{strict + "tokeninfo_url = URL/info?token=", "good", "ok", ""}, {strict + "tokeninfo_url = URL/info?token=", "aud", "ok", ""},
		{strict + "tokeninfo_url = URL/info?token=", "bob", "invalid: Username 'ann' did not match 'bob'", ""},
		{strict + "tokeninfo_url = URL/info?token=", "off", "invalid: Provided token is not valid", ""},
		{strict + "tokeninfo_url = URL/info?token=", "noscope", "disabled: Token is not valid for scope 'mail'", ""},
		{strict + "tokeninfo_url = URL/info?token=", "stolen", "invalid: Token validation failed: 401", ""},
		{"tokeninfo_url = URL/info?token=", "noname", "broken: No username returned", ""}, {"tokeninfo_url = URL/info?token=", "list", "broken: No username returned", ""},
		{"tokeninfo_url = URL/info?token=", "junk", "broken: the server's answer is no JSON object", ""}, {"tokeninfo_url = URL/info?token=", "long", "broken: the server's answer is longer", ""},
		{"tokeninfo_url = URL/info?token=", "down", "broken: the server answered 503", ""}, {"tokeninfo_url = URL/info?token=", "moved", "broken: the server answered 302", ""},
		{"tokeninfo_url = http://127.0.0.1:1/x?token=", "secret", "broken: ", ""},
		{"tokeninfo_url = URL/info?token=", "a&b=c d", "invalid: ", ""},
	} {
		asked = ""
		d, err := open(t, s.URL, c.text+"\n")
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Validate(context.Background(), c.token, "ann")
		var bad *ErrInvalid
		got := "ok"
		switch {
		case errors.As(err, &bad) && bad.Disabled:
			got = "disabled: " + bad.Text
		case errors.As(err, &bad):
			got = "invalid: " + bad.Text
		case err != nil:
			got = "broken: " + err.Error()
		}
		if !strings.HasPrefix(got, c.want) || c.asked != "" && asked != c.asked || strings.Contains(got, c.token) && c.token == "secret" {
			t.Errorf("%q, token %s: %s (asked %s), want %s (%s)", c.text, c.token, got, asked, c.want, c.asked)
		}
	}
	d, err := open(t, s.URL, "grant_url = URL/grant\nuse_grant_password = yes\nintrospection_url = URL/info\n")
	if err != nil || !d.ByPassword() {
		t.Fatal(err)
	}
	if token, err := d.Grant(t.Context(), "ann", "pw"); token != "good" || err != nil {
		t.Errorf("a right password gives %q, %v", token, err)
	}
	var bad *ErrInvalid
	if _, err := d.Grant(t.Context(), "ann", "no"); !errors.As(err, &bad) {
		t.Errorf("a wrong password gives %v", err)
	}
}

// TestOpen: what a file may not say.
func TestOpen(t *testing.T) {
	for text, want := range map[string]string{"": "set tokeninfo_url", "introspection_mode = local\nintrospection_url = x\n": "local is not supported", "introspection_mode = odd\nintrospection_url = x\n": "invalid value",
		"tokeninfo_url = x\nuse_grant_password = yes\n": "needs grant_url", "tokeninfo_url = x\ntls_cert_file = y\n": "not supported", "tokeninfo_url = x\ntls_ca_cert_file = /nosuch\n": "no such file",
		"tokeninfo_urll = x\n": "tokeninfo_urll", "tokeninfo_url = x\n": ""} {
		_, err := open(t, "", text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
