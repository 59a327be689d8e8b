package auth

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"packetboat/internal/auth/scheme"
)

// cram is CRAM-MD5 (RFC 2195).
type cram struct {
	a         *Auth
	q         *Query
	challenge string
}

func newCRAM(a *Auth, q *Query) dialogue { return &cram{a: a, q: q} }

func (c *cram) next(ctx context.Context, response []byte) outcome {
	if c.challenge == "" {
		var b [8]byte
		rand.Read(b[:])
		c.challenge = fmt.Sprintf("<%d.%d@%s>", binary.BigEndian.Uint64(b[:]), time.Now().Unix(), c.a.o.Host)
		return outcome{more: true, challenge: []byte(c.challenge)}
	}
	user, digest, ok := cutLast(string(response), ' ')
	if !ok {
		c.a.info("cram-md5", c.q, "missing digest")
		return outcome{}
	}
	if err := c.a.setUser(c.q, user); err != nil {
		c.a.info("cram-md5", c.q, "%v", err)
		return outcome{try: digest}
	}
	acc, b, res := c.a.lookup(ctx, c.q)
	if acc == nil {
		return outcome{try: digest, result: res}
	}
	want, ok := cramDigest(acc.stored, c.challenge)
	if !ok {
		c.a.info(b.name(), c.q, "Requested CRAM-MD5 scheme, but we have only %s", acc.stored.Scheme)
		return outcome{try: digest}
	}
	if !scheme.Equal([]byte(want), []byte(strings.ToLower(digest))) {
		c.a.info(b.name(), c.q, "Password mismatch")
		return outcome{try: digest}
	}
	return outcome{result: c.a.admit(b, c.q, acc.fields)}
}

// cutLast cuts at the last sep.
func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// cramDigest computes the response from a plain password or from the two MD5
// states of the CRAM-MD5 scheme.
func cramDigest(s scheme.Stored, challenge string) (string, bool) {
	if password, ok := s.Plain(); ok && password != "" {
		m := hmac.New(md5.New, []byte(password))
		m.Write([]byte(challenge))
		return hex.EncodeToString(m.Sum(nil)), true
	}
	if s.Scheme != "CRAM-MD5" && s.Scheme != "HMAC-MD5" {
		return "", false
	}
	states, err := hex.DecodeString(s.Data)
	if err != nil || len(states) != 32 {
		return "", false
	}
	inner := scheme.MD5From(states[16:])
	inner.Write([]byte(challenge))
	outer := scheme.MD5From(states[:16])
	outer.Write(inner.Sum(nil))
	return hex.EncodeToString(outer.Sum(nil)), true
}
