package ldaptable

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// connectTime is how long a connection may take to be made.
const connectTime = 10 * time.Second

// conn is a connection to a directory.
type conn struct{ *ldap.Conn }

// connect dials a server, encrypts and binds.
func (t *Table) connect(ctx context.Context, server string) (*conn, error) {
	c, err := t.dial(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("connect to ldap server %s: %w", server, err)
	}
	if err := t.identify(c, server); err != nil {
		c.Close()
		return nil, fmt.Errorf("bind to ldap server %s as %q: %w", server, t.bind.dn, err)
	}
	return &conn{c}, nil
}

// dial makes a connection, encrypted where the settings say so.
func (t *Table) dial(ctx context.Context, server string) (*ldap.Conn, error) {
	scheme, host := parts(server)
	d := &net.Dialer{Timeout: connectTime}
	if end, ok := ctx.Deadline(); ok {
		d.Deadline = end
	}
	var tc *tls.Config
	if t.startTLS || scheme == "ldaps" {
		var err error
		if tc, err = t.tls.Config(t.env.File, host); err != nil {
			return nil, err
		}
	}
	c, err := ldap.DialURL(server, ldap.DialWithDialer(d), ldap.DialWithTLSConfig(tc))
	if err != nil {
		return nil, err
	}
	if t.timeout > 0 {
		c.SetTimeout(t.timeout)
	}
	if t.startTLS && scheme != "ldaps" {
		if err := c.StartTLS(tc); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// parts returns the scheme and the host's name of a URL of server_host.
func parts(server string) (scheme, host string) {
	scheme, host, _ = strings.Cut(server, "://")
	host, _, _ = strings.Cut(host, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(scheme), host
}

// identify binds as the settings say.
func (t *Table) identify(c *ldap.Conn, server string) error {
	switch t.bind.method {
	case "none":
		return nil
	case "EXTERNAL":
		return c.ExternalBind()
	case "DIGEST-MD5":
		_, host := parts(server)
		return c.MD5Bind(host, t.bind.dn, t.bind.pw)
	}
	if t.bind.pw == "" {
		return c.UnauthenticatedBind(t.bind.dn)
	}
	return c.Bind(t.bind.dn, t.bind.pw)
}
