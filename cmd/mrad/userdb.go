package main

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"strconv"

	"packetboat/internal/auth"
	"packetboat/internal/auth/wire"
	"packetboat/internal/sys/proc"
)

// serveUserdb answers a client of an auth-userdb socket: dovecot-lda and doveadm
// user are such.
func (r *authRole) serveUserdb(c net.Conn) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return
	}
	m := wire.Master{User: r.userdb, Allow: mayAsk(u)}
	if m.Allow(map[string]string{}) {
		// Root asks: doveadm -A, auth lookup, auth cache flush. Nothing is cached.
		m.Pass, m.List = r.passdb, r.auth.Users
		m.Flush = func([]string) int { return 0 }
	}
	wire.ServeMaster(c, m)
}

// mayAsk lets root, and the user that this process runs as, ask for everybody,
// others for themselves: the socket's mode is 0666 by default.
func mayAsk(c *net.UnixConn) func(map[string]string) bool {
	uid := -1
	if raw, err := c.SyscallConn(); err == nil {
		if n, err := proc.PeerUID(raw); err == nil {
			uid = n
		}
	}
	return func(fields map[string]string) bool {
		return uid == 0 || uid == os.Geteuid() || (uid > 0 && fields["uid"] == strconv.Itoa(uid))
	}
}

func (r *authRole) userdb(ctx context.Context, user, service string) (string, map[string]string, error) {
	u, err := r.auth.User(ctx, user, service, nil)
	if errors.Is(err, auth.ErrNoUser) {
		return "", nil, wire.ErrNoUser
	}
	if err != nil {
		return "", nil, err
	}
	fields := maps.Clone(map[string]string(u.Fields))
	fields["uid"], fields["gid"], fields["home"] = strconv.Itoa(u.UID), strconv.Itoa(u.GID), u.Home
	fields["mail"] = u.Mail
	return u.User, fields, nil
}

// passdb tells what the passdbs say of a user.
func (r *authRole) passdb(ctx context.Context, user, service string) (string, map[string]string, error) {
	name, fields, err := r.auth.Passdb(ctx, user, service)
	if errors.Is(err, auth.ErrNoUser) {
		return "", nil, wire.ErrNoUser
	}
	return name, fields, err
}
