// Package ldapauth asks directories for accounts, as dovecot-ldap.conf.ext says
// (Dovecot's AuthDatabase/LDAP): look-ups of a password or of a user by a filter,
// and passwords that the directory judges itself (auth_bind). Values in filters
// are escaped (RFC 4515), in names too (RFC 4514). A directory that does not answer
// is an error, never "no such user". No error holds a password.
package ldapauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"packetboat/internal/auth/extconf"
	"packetboat/internal/sys/dbtls"
	"packetboat/internal/sys/pool"
)

const (
	// connectTime is how long a connection may take to be made.
	connectTime = 10 * time.Second
	// answerTime is how long a question may take.
	answerTime = 60 * time.Second
	// retry is how long a server that failed is left alone.
	retry = time.Second
	// maxEntries bounds the accounts that iterate_filter lists.
	maxEntries = 1 << 20
)

// The settings of the file.
var settings = []string{"hosts", "uris", "dn", "dnpass", "auth_bind", "auth_bind_userdn", "tls", "sasl_bind", "sasl_mech", "sasl_realm", "sasl_authz_id",
	"tls_ca_cert_file", "tls_ca_cert_dir", "tls_cert_file", "tls_key_file", "tls_cipher_suite", "tls_require_cert", "deref", "scope", "base",
	"ldap_version", "debug_level", "ldaprc_path", "user_attrs", "user_filter", "pass_attrs", "pass_filter", "iterate_attrs", "iterate_filter",
	"default_pass_scheme", "userdb_warning_disable", "blocking"}

// DB is the directory of one settings file; it is safe for many goroutines.
type DB struct {
	Scheme        string // default_pass_scheme
	Base          string
	PassFilter    string
	UserFilter    string
	IterateFilter string
	PassAttrs     string
	UserAttrs     string
	IterateAttrs  string
	AuthBind      bool
	BindDN        string // auth_bind_userdn; empty = the name is searched for

	dn, dnpass string
	servers    []string
	startTLS   bool
	tls        dbtls.TLS
	scope      int
	deref      int
	pool       *pool.Pool[*conn]
}

// conn is a connection that is bound as dn.
type conn struct{ *ldap.Conn }

// Open reads a settings file; no connection is made yet.
func Open(path string) (*DB, error) {
	s, err := extconf.Read(path, settings)
	if err != nil {
		return nil, err
	}
	d := &DB{Scheme: s.Get("default_pass_scheme", "CRYPT"), Base: s["base"], dn: s["dn"], dnpass: s["dnpass"],
		PassFilter: s.Get("pass_filter", "(&(objectClass=posixAccount)(uid=%u))"), UserFilter: s.Get("user_filter", "(&(objectClass=posixAccount)(uid=%u))"),
		IterateFilter: s.Get("iterate_filter", "(objectClass=posixAccount)"), PassAttrs: s.Get("pass_attrs", "uid=user,userPassword=password"),
		UserAttrs:    s.Get("user_attrs", "homeDirectory=home,uidNumber=uid,gidNumber=gid"),
		IterateAttrs: s.Get("iterate_attrs", "uid=user"), AuthBind: s.Bool("auth_bind", false), BindDN: s["auth_bind_userdn"],
		startTLS: s.Bool("tls", false)}
	if err := d.more(s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d.pool = pool.New(d.servers, pool.Options{Retry: retry, Ordered: true, Timeout: answerTime}, d.connect)
	return d, nil
}

// more reads what can be wrong.
func (d *DB) more(s extconf.Settings) error {
	d.servers = strings.Fields(s["uris"])
	for _, h := range strings.Fields(s["hosts"]) {
		if _, _, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), "389")
		}
		d.servers = append(d.servers, "ldap://"+h)
	}
	verify := s.Get("tls_require_cert", "hard")
	d.tls = dbtls.TLS{CAFile: s["tls_ca_cert_file"], CADir: s["tls_ca_cert_dir"], Cert: s["tls_cert_file"], Key: s["tls_key_file"],
		Verify: verify == "hard" || verify == "demand", Names: verify == "hard" || verify == "demand"}
	var ok bool
	scopes := map[string]int{"subtree": ldap.ScopeWholeSubtree, "onelevel": ldap.ScopeSingleLevel, "base": ldap.ScopeBaseObject}
	if d.scope, ok = scopes[s.Get("scope", "subtree")]; !ok {
		return fmt.Errorf("unknown scope option '%s'", s["scope"])
	}
	derefs := map[string]int{"never": ldap.NeverDerefAliases, "searching": ldap.DerefInSearching, "finding": ldap.DerefFindingBaseObj, "always": ldap.DerefAlways}
	if d.deref, ok = derefs[s.Get("deref", "never")]; !ok {
		return fmt.Errorf("unknown deref option '%s'", s["deref"])
	}
	switch {
	case len(d.servers) == 0:
		return errors.New("no uris or hosts set")
	case d.Base == "":
		return errors.New("no base given")
	case s.Bool("sasl_bind", false), s["tls_cipher_suite"] != "", s["ldaprc_path"] != "":
		return errors.New("sasl_bind, tls_cipher_suite and ldaprc_path are not supported")
	case s.Get("ldap_version", "3") != "3":
		return errors.New("ldap_version: only version 3 is spoken")
	}
	return nil
}

// connect makes a connection that is bound as dn.
func (d *DB) connect(ctx context.Context, server string) (*conn, error) {
	c, err := d.dial(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("connect to ldap server %s: %w", server, err)
	}
	if err := bind(c, d.dn, d.dnpass); err != nil {
		c.Close()
		return nil, fmt.Errorf("ldap server %s: binding as dn %q failed: %w", server, d.dn, err)
	}
	return &conn{c}, nil
}

func bind(c *ldap.Conn, dn, password string) error {
	if password == "" {
		return c.UnauthenticatedBind(dn)
	}
	return c.Bind(dn, password)
}

func (d *DB) dial(ctx context.Context, server string) (*ldap.Conn, error) {
	scheme, host, _ := strings.Cut(server, "://")
	host, _, _ = strings.Cut(host, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	nd := &net.Dialer{Timeout: connectTime}
	if end, ok := ctx.Deadline(); ok {
		nd.Deadline = end
	}
	var tc *tls.Config
	if d.startTLS || scheme == "ldaps" {
		var err error
		if tc, err = d.tls.Config(os.ReadFile, host); err != nil {
			return nil, err
		}
	}
	c, err := ldap.DialURL(server, ldap.DialWithDialer(nd), ldap.DialWithTLSConfig(tc))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(answerTime)
	if d.startTLS && scheme != "ldaps" {
		if err := c.StartTLS(tc); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Entry is one account: its name in the directory, and its attributes with names
// in lower case.
type Entry struct {
	DN     string
	Values map[string][]string
}

// Search returns the entries that a filter finds below base, with the attributes.
func (d *DB) Search(ctx context.Context, base, filter string, attributes []string) (list []Entry, err error) {
	err = d.pool.Do(ctx, func(_ context.Context, c *conn) error {
		list = nil
		r, err := c.Search(&ldap.SearchRequest{BaseDN: base, Scope: d.scope, DerefAliases: d.deref, Filter: filter, Attributes: attributes})
		if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			return nil
		}
		if err != nil {
			return answered(err)
		}
		if len(r.Entries) > maxEntries {
			return &pool.Answered{Err: fmt.Errorf("more than %d entries", maxEntries)}
		}
		for _, e := range r.Entries {
			x := Entry{DN: e.DN, Values: make(map[string][]string)}
			for _, a := range e.Attributes {
				x.Values[strings.ToLower(a.Name)] = a.Values
			}
			list = append(list, x)
		}
		return nil
	})
	return list, err
}

// ErrPassword says that the directory refused to let somebody bind.
var ErrPassword = errors.New("invalid credentials")

// Bind asks the directory whether password is that of dn, on a connection of its
// own: a shared one must never be somebody else's. An empty password would be an
// anonymous bind, which always succeeds (RFC 4513 section 5.1.2).
func (d *DB) Bind(ctx context.Context, dn, password string) error {
	if password == "" || dn == "" {
		return ErrPassword
	}
	var last error
	for _, server := range d.servers {
		c, err := d.dial(ctx, server)
		if err != nil {
			last = fmt.Errorf("connect to ldap server %s: %w", server, err)
			continue
		}
		err = c.Bind(dn, password)
		c.Close()
		switch {
		case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
			ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultUnwillingToPerform):
			return ErrPassword
		case err == nil:
			return nil
		}
		last = fmt.Errorf("ldap server %s: %w", server, err)
	}
	return last
}

// QuoteFilter escapes a value in a filter.
func QuoteFilter(s string) string { return ldap.EscapeFilter(s) }

// QuoteDN escapes a value in a name.
func QuoteDN(s string) string { return ldap.EscapeDN(s) }

// answered tells errors of a healthy server from those of a broken one.
func answered(err error) error {
	var le *ldap.Error
	broken := []uint16{ldap.ErrorNetwork, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultServerDown, ldap.LDAPResultTimeout}
	if errors.As(err, &le) && !slices.Contains(broken, le.ResultCode) {
		return &pool.Answered{Err: err}
	}
	return err
}
