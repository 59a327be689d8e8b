// Package ldaptable asks directories: ldap_table(5). Keys are escaped in filters
// (RFC 4515) and names (RFC 4514); a directory that does not answer is an error,
// never "not found". No error holds a password.
package ldaptable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/dbtls"
	"packetboat/internal/sys/pool"
)

// Table is one table of a directory.
type Table struct {
	env    query.Env
	rules  *query.Rules
	pool   *pool.Pool[*conn]
	base   string
	filter string
	scope  int
	deref  int
	// attributes are asked for in this order: terminal, leaf, ordinary, special.
	attributes               []string
	terminal, leaf, ordinary int // where the three end
	size, recursion          int // size_limit, recursion_limit
	chase                    bool
	bind                     bindHow
	startTLS                 bool
	tls                      dbtls.TLS
	timeout                  time.Duration
}

// bindHow says how a connection identifies itself.
type bindHow struct {
	method string // none, simple, EXTERNAL or DIGEST-MD5
	dn, pw string
}

// Open reads the settings; no connection is made yet.
func Open(env query.Env) (*Table, error) {
	p := env.Params
	t := &Table{env: env, rules: env.Rules(p.Str("result_format", p.Str("result_filter", "%s")))}
	t.base, t.filter = p.Str("search_base", ""), p.Str("query_filter", "(mailacceptinggeneralid=%s)")
	for name, template := range map[string]string{"search_base": t.base, "query_filter": t.filter} {
		if _, err := t.rules.Add(template, false); err != nil {
			p.Fail(fmt.Errorf("%s: %w", name, err))
		}
	}
	if !strings.HasPrefix(t.filter, "(") {
		t.filter = "(" + t.filter + ")" // as libldap reads it
	}
	scopes := map[string]int{"sub": ldap.ScopeWholeSubtree, "one": ldap.ScopeSingleLevel, "base": ldap.ScopeBaseObject}
	var known bool
	if t.scope, known = scopes[strings.ToLower(p.Str("scope", "sub"))]; !known {
		t.scope = ldap.ScopeWholeSubtree // with a warning in Postfix
	}
	t.size, t.recursion = p.Int("size_limit", t.rules.Limit, 0), p.Int("recursion_limit", 1000, 1)
	t.chase, t.timeout = p.Bool("chase_referrals", false), p.Seconds("timeout", 10, 0)
	if t.deref = p.Int("dereference", 0, 0); t.deref > ldap.DerefAlways {
		t.deref = ldap.NeverDerefAliases
	}
	t.readAttributes()
	t.readSecurity()
	t.pool = pool.New(t.servers(), pool.Options{Retry: time.Second, Ordered: true, Timeout: time.Minute}, t.connect)
	return t, p.Err()
}

// readAttributes reads the four kinds of result attributes.
func (t *Table) readAttributes() {
	p := t.env.Params
	add := func(name, def string) int {
		t.attributes = append(t.attributes, p.List(name, def)...)
		return len(t.attributes)
	}
	t.terminal = add("terminal_result_attribute", "")
	t.leaf = add("leaf_result_attribute", "")
	t.ordinary = add("result_attribute", "maildrop")
	add("special_result_attribute", "")
}

// readSecurity reads how connections are encrypted and identify themselves.
func (t *Table) readSecurity() {
	p := t.env.Params
	t.startTLS = p.Bool("start_tls", false)
	demand := p.Bool("tls_require_cert", false)
	t.tls = dbtls.TLS{CAFile: p.Str("tls_ca_cert_file", ""), CADir: p.Str("tls_ca_cert_dir", ""),
		Cert: p.Str("tls_cert", ""), Key: p.Str("tls_key", ""), Verify: demand, Names: demand}
	t.bind = bindHow{dn: p.Str("bind_dn", ""), pw: p.Str("bind_pw", "")}
	switch how := strings.ToLower(p.Str("bind", "yes")); how {
	case "yes", "simple":
		t.bind.method = "simple"
	case "no", "none":
		t.bind.method = "none"
	case "sasl":
		for _, mech := range p.List("sasl_mechs", "") {
			if mech = strings.ToUpper(mech); mech == "EXTERNAL" || mech == "DIGEST-MD5" {
				t.bind.method = mech
				return
			}
		}
		p.Fail(errors.New("sasl_mechs: only EXTERNAL and DIGEST-MD5 are built"))
	default:
		p.Fail(fmt.Errorf("bind = %s: need yes, no, none, simple or sasl", how))
	}
}

// servers returns the URLs of server_host.
func (t *Table) servers() []string {
	port := strconv.Itoa(t.env.Params.Int("server_port", ldapPort, 1))
	var urls []string
	for _, h := range t.env.Params.List("server_host", "localhost") {
		if !strings.Contains(h, "://") {
			if host, own, err := net.SplitHostPort(h); err == nil {
				h = "ldap://" + net.JoinHostPort(host, own)
			} else {
				h = "ldap://" + net.JoinHostPort(strings.Trim(h, "[]"), port)
			}
		}
		urls = append(urls, h)
	}
	if len(urls) == 0 {
		urls = []string{"ldap://localhost:" + port}
	}
	return urls
}

const ldapPort = 389

// Lookup asks the directory for key.
func (t *Table) Lookup(ctx context.Context, key string) (string, bool, error) {
	key, ok := t.env.Key(key)
	if !ok {
		return "", false, nil
	}
	if ok, err := t.rules.Wanted(ctx, key); err != nil || !ok {
		return "", false, err
	}
	base, filter := []byte(nil), []byte(nil)
	if t.base != "" {
		if base, ok = t.rules.Query(nil, t.base, key, quoteDN); !ok {
			return "", false, nil
		}
	}
	if filter, ok = t.rules.Query(nil, t.filter, key, quoteFilter); !ok {
		return "", false, nil
	}
	var result *query.Result
	err := t.pool.Do(ctx, func(ctx context.Context, c *conn) error {
		result = t.rules.Result(key)
		x := &walk{t: t, c: c, ctx: ctx, result: result}
		err := x.search(search{string(base), t.scope, string(filter), t.attributes}, 1)
		// A base made of the key that is not there is no answer. One that never
		// changes should be there: the directory is not what it was.
		if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) && strings.Contains(t.base, "%") {
			return nil
		}
		return answered(err)
	})
	if err != nil {
		return "", false, err
	}
	v, found := result.Text()
	return v, found, nil
}

// quoteFilter escapes a value in a filter (RFC 4515 section 3).
func quoteFilter(dst []byte, s string) []byte { return append(dst, ldap.EscapeFilter(s)...) }

// quoteDN escapes a value in a name (RFC 4514 section 2.4).
func quoteDN(dst []byte, s string) []byte { return append(dst, ldap.EscapeDN(s)...) }

// answered tells errors of a healthy server from those of a broken one.
func answered(err error) error {
	var le *ldap.Error
	broken := []uint16{ldap.ErrorNetwork, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultServerDown, ldap.LDAPResultTimeout}
	if err == nil || errors.As(err, &le) && slices.Contains(broken, le.ResultCode) || !errors.As(err, &le) && !errors.Is(err, errWalk) {
		return err
	}
	return &pool.Answered{Err: err}
}

// errWalk is below every error that our own limits give.
var errWalk = errors.New("directory search")

// Close ends the connections.
func (t *Table) Close() { t.pool.Close() }
