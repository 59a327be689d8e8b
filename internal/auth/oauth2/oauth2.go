// Package oauth2 asks an authorization server about tokens, as Dovecot's passdb
// oauth2 does: by its tokeninfo_url, or by introspection (RFC 7662). Tokens are
// checked by the server alone; a token that can be checked here (a JWT with a key)
// is not supported and refused at the start.
package oauth2

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/auth/extconf"
)

// Limits of what a server may send.
const (
	maxAnswer = 64 << 10
	maxFields = 100
	timeout   = 30 * time.Second
)

// settings are the names that a file may have (dovecot-oauth2.conf.ext).
var settings = strings.Fields(`grant_url tokeninfo_url introspection_url scope introspection_mode username_validation_format
username_attribute active_attribute active_value client_id client_secret issuers openid_configuration_url pass_attrs
rawlog_dir timeout_msecs max_idle_time_msecs max_parallel_connections max_pipelined_requests force_introspection send_auth_headers
use_grant_password blocking tls_ca_cert_file tls_ca_cert_dir tls_cert_file tls_key_file tls_cipher_suite tls_allow_invalid_cert
local_validation_key_dict debug`)

// ErrInvalid is a token that the server does not take, or that is another user's.
// Its text is for the log.
type ErrInvalid struct {
	Text     string
	Disabled bool // the token lacks the scope: the user may not
}

func (e *ErrInvalid) Error() string { return e.Text }

// DB is one authorization server as a file describes it.
type DB struct {
	UserFormat string // username_validation_format: what the server's name must be, with %variables
	PassAttrs  string // pass_attrs
	Scope      string // that a token must have
	OpenID     string // openid_configuration_url, told to clients whose token is bad

	tokeninfo, introspection, grant string
	mode, user, active, activeValue string
	clientID, clientSecret          string
	force, passwordGrant            bool
	client                          *http.Client
}

// Open reads a settings file. It connects to nothing.
func Open(path string) (*DB, error) {
	s, err := extconf.Read(path, settings)
	if err != nil {
		return nil, err
	}
	d := &DB{UserFormat: s.Get("username_validation_format", "%u"), PassAttrs: s["pass_attrs"], OpenID: s["openid_configuration_url"],
		tokeninfo: s["tokeninfo_url"], introspection: s["introspection_url"], grant: s["grant_url"], mode: s.Get("introspection_mode", "auth"),
		user: s.Get("username_attribute", "email"), active: s["active_attribute"], activeValue: s["active_value"], clientID: s["client_id"],
		clientSecret: s["client_secret"], Scope: s["scope"], force: s.Bool("force_introspection", false), passwordGrant: s.Bool("use_grant_password", false)}
	switch d.mode {
	case "auth", "get", "post":
	case "local":
		err = errors.New("introspection_mode = local is not supported: name the server's introspection_url")
	default:
		err = fmt.Errorf("invalid value for introspection_mode: %s", d.mode)
	}
	switch {
	case err != nil:
	case d.tokeninfo == "" && d.introspection == "":
		err = errors.New("set tokeninfo_url or introspection_url")
	case s["tls_cert_file"] != "" || s["tls_cipher_suite"] != "" || s["tls_ca_cert_dir"] != "" || s["local_validation_key_dict"] != "" || s["issuers"] != "":
		err = errors.New("tls_cert_file, tls_cipher_suite, tls_ca_cert_dir, issuers and local_validation_key_dict are not supported")
	case d.passwordGrant && d.grant == "":
		err = errors.New("use_grant_password needs grant_url")
	}
	if err == nil {
		err = d.connectWith(s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// connectWith makes the client.
func (d *DB) connectWith(s extconf.Settings) error {
	limit := timeout
	if n, err := strconv.Atoi(s["timeout_msecs"]); err == nil && n > 0 {
		limit = time.Duration(n) * time.Millisecond
	}
	conf := &tls.Config{InsecureSkipVerify: s.Bool("tls_allow_invalid_cert", false)}
	if file := s["tls_ca_cert_file"]; file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(b) {
			return fmt.Errorf("tls_ca_cert_file %s: no certificate in it", file)
		}
	}
	d.client = &http.Client{Timeout: limit, Transport: &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: 10, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return nil
}

// ByPassword tells whether a password is traded for a token (use_grant_password).
func (d *DB) ByPassword() bool { return d.passwordGrant }

// Grant trades a password for a token (RFC 6749 section 4.3).
func (d *DB) Grant(ctx context.Context, user, password string) (string, error) {
	form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}, "client_id": {d.clientID}, "client_secret": {d.clientSecret}}
	if d.Scope != "" {
		form.Set("scope", d.Scope)
	}
	f, err := d.ask(ctx, http.MethodPost, d.grant, form, "")
	if err == nil && f["access_token"] == "" {
		err = &ErrInvalid{Text: "Password grant failed: no token returned"}
	}
	return f["access_token"], err
}

// Validate asks the server about a token. user is the name that its answer must
// hold. The error is an *ErrInvalid, or says that the server could not be asked.
func (d *DB) Validate(ctx context.Context, token, user string) (map[string]string, error) {
	f := map[string]string{}
	if d.tokeninfo != "" {
		got, err := d.ask(ctx, http.MethodGet, d.tokeninfo+url.QueryEscape(token), nil, "")
		if err != nil {
			return nil, err
		}
		maps.Copy(f, got)
	}
	if d.introspection != "" && (d.tokeninfo == "" || d.force || f[d.user] == "") {
		got, err := d.introspect(ctx, token)
		if err != nil {
			return nil, err
		}
		maps.Copy(f, got)
	}
	return f, d.judge(f, user)
}

func (d *DB) introspect(ctx context.Context, token string) (map[string]string, error) {
	switch d.mode {
	case "get":
		return d.ask(ctx, http.MethodGet, d.introspection+url.QueryEscape(token), nil, "")
	case "post":
		return d.ask(ctx, http.MethodPost, d.introspection, url.Values{"token": {token}}, "")
	}
	return d.ask(ctx, http.MethodGet, d.introspection, nil, token)
}

// judge holds what the server said against what is asked of it.
func (d *DB) judge(f map[string]string, user string) error {
	name := f[d.user]
	switch {
	case name == "":
		//lint:ignore ST1005 the words of Dovecot's log
		return errors.New("No username returned")
	case !strings.EqualFold(name, user):
		return &ErrInvalid{Text: fmt.Sprintf("Username '%s' did not match '%s'", user, name)}
	}
	if d.active != "" {
		value, ok := f[d.active]
		if !ok || d.activeValue != "" && value != d.activeValue {
			return &ErrInvalid{Text: "Provided token is not valid"}
		}
	}
	for word := range strings.FieldsSeq(d.Scope) {
		if !has(f["scope"], word) && !has(f["aud"], word) {
			return &ErrInvalid{Text: fmt.Sprintf("Token is not valid for scope '%s'", d.Scope), Disabled: true}
		}
	}
	return nil
}

func has(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return true
		}
	}
	return false
}

// ask makes one request; bearer goes into a header.
func (d *DB) ask(ctx context.Context, method, to string, form url.Values, bearer string) (map[string]string, error) {
	r, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the URL of the server is none") // it may hold the token
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	} else if d.clientID != "" && method == http.MethodPost {
		r.SetBasicAuth(url.QueryEscape(d.clientID), url.QueryEscape(d.clientSecret))
	}
	a, err := d.client.Do(r)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address, which may hold the token
		}
		return nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("the server's answer is longer than %d bytes", maxAnswer)
	case a.StatusCode >= 400 && a.StatusCode < 500:
		return nil, &ErrInvalid{Text: "Token validation failed: " + strconv.Itoa(a.StatusCode)}
	case a.StatusCode/100 != 2:
		return nil, fmt.Errorf("the server answered %d", a.StatusCode)
	}
	return Fields(b)
}

// Fields reads the members of a JSON object: words, numbers and truth values, and
// lists of words with spaces between them. Objects inside it are left out.
func Fields(b []byte) (map[string]string, error) {
	var all map[string]any
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("the server's answer is no JSON object: %w", err)
	}
	if len(all) > maxFields {
		return nil, fmt.Errorf("the server's answer has more than %d members", maxFields)
	}
	f := map[string]string{}
	for name, v := range all {
		switch v := v.(type) {
		case string:
			f[name] = v
		case json.Number, bool:
			f[name] = fmt.Sprint(v)
		case []any: // of scope and audience; a user's name is one word
			if name != "scope" && name != "aud" {
				continue
			}
			var words []string
			for _, w := range v {
				if s, ok := w.(string); ok {
					words = append(words, s)
				}
			}
			f[name] = strings.Join(words, " ")
		}
	}
	return f, nil
}
