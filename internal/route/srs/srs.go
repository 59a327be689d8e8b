// Package srs rewrites the envelope sender of forwarded mail so that it passes SPF
// at the next host, and takes bounces back to the first sender: the Sender Rewriting
// Scheme of Shevek (libsrs2's "guarded" form):
//
//	SRS0=hash=day=domain=local@ours                  of local@domain
//	SRS1=hash=host==hash=day=domain=local@ours       of SRS0=hash=day=domain=local@host
//
// The hash keeps others from sending through us to whomever they like, the day ends
// the address' life. Nothing is stored but the secret.
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"packetboat/internal/mail"
)

const (
	// hashLen is the number of base32 characters of a hash: 40 bits.
	hashLen = 8
	// lifetime is how long bounces are taken back, in days: longer than any queue
	// keeps a message.
	lifetime = 21
	// days is where the count of days begins again: two base32 characters.
	days = 1024
	// maxLocal is the longest local part that is made (RFC 5321 section 4.5.3.1.1 says
	// 64, and every host of today takes more: the scheme needs it).
	maxLocal = 240
)

// The reasons why an address is not taken back.
var (
	ErrForm  = errors.New("malformed SRS address")
	ErrHash  = errors.New("SRS address was not made here")
	ErrStale = errors.New("SRS address has expired")
)

// Rewriter makes and reads addresses of one domain.
type Rewriter struct {
	Domain string // where bounces come back
	Secret []byte // nobody else's; at least 16 octets
	Now    func() time.Time
}

// letters is the alphabet of days and hashes.
const letters = "abcdefghijklmnopqrstuvwxyz234567"

func (r *Rewriter) day() int {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	return int(now().Unix()/86400) % days
}

// hash signs parts of an address. Case does not count: hosts on the way change it.
func (r *Rewriter) hash(parts ...string) string {
	m := hmac.New(sha256.New, r.Secret)
	for _, p := range parts {
		m.Write([]byte(strings.ToLower(p)))
		m.Write([]byte{0})
	}
	return base32.NewEncoding(letters).EncodeToString(m.Sum(nil))[:hashLen]
}

// Forward returns the sender that forwarded mail of a gets. Ours, the null sender
// and what would become too long stay as they are.
func (r *Rewriter) Forward(a mail.Address) mail.Address {
	local, domain := a.Split()
	if domain == "" || local == "" || strings.EqualFold(domain, r.Domain) || strings.ContainsAny(string(a), "\r\n\x00") {
		return a
	}
	var out string
	switch kind, rest := split(local); kind {
	case "SRS0": // another host has rewritten it: only that one can read it
		out = "SRS1=" + r.hash(domain, rest) + "=" + domain + "=" + rest
	case "SRS1": // a third one: the first one's part and host stay
		_, rest, _ := strings.Cut(rest, "=")
		host, inner, ok := strings.Cut(rest, "=")
		if !ok {
			return a
		}
		out = "SRS1=" + r.hash(host, inner) + "=" + host + "=" + inner
	default:
		d := r.day()
		day := letters[d>>5:d>>5+1] + letters[d&31:d&31+1]
		out = "SRS0=" + r.hash(day, domain, local) + "=" + day + "=" + domain + "=" + local
	}
	if len(out) > maxLocal {
		return a
	}
	return mail.Address(out + "@" + r.Domain)
}

// split takes "SRS0" or "SRS1" from a local part; of an SRS0 the separator stays,
// since the host that made it chose it. kind is empty for other addresses.
func split(local string) (kind, rest string) {
	if len(local) < 6 || !strings.EqualFold(local[:3], "SRS") || strings.IndexByte("=+-", local[4]) < 0 {
		return "", ""
	}
	switch local[3] {
	case '0':
		return "SRS0", local[4:]
	case '1':
		return "SRS1", local[5:]
	}
	return "", ""
}

// Mine tells whether an address is one that Reverse is for.
func (r *Rewriter) Mine(a mail.Address) bool {
	local, domain := a.Split()
	kind, _ := split(local)
	return kind != "" && strings.EqualFold(domain, r.Domain)
}

// Takes tells whether an address is one of ours that has been made and has not expired:
// mail for it is taken.
func (r *Rewriter) Takes(a mail.Address) bool {
	if !r.Mine(a) {
		return false
	}
	_, err := r.Reverse(a)
	return err == nil
}

// Reverse returns the address that an address of ours stands for.
func (r *Rewriter) Reverse(a mail.Address) (mail.Address, error) {
	kind, rest := split(a.Local())
	if kind == "SRS0" {
		return r.first(rest[1:])
	}
	hash, rest, _ := strings.Cut(rest, "=")
	host, inner, ok := strings.Cut(rest, "=")
	if kind != "SRS1" || !ok || host == "" || len(inner) < 2 {
		return "", ErrForm
	}
	if !r.signed(hash, host, inner) {
		return "", ErrHash
	}
	return mail.Address("SRS0" + inner + "@" + host), nil
}

// first reads "hash=day=domain=local".
func (r *Rewriter) first(s string) (mail.Address, error) {
	part := strings.SplitN(s, "=", 4)
	if len(part) != 4 || part[2] == "" || part[3] == "" || len(part[1]) != 2 {
		return "", ErrForm
	}
	if !r.signed(part[0], part[1], part[2], part[3]) {
		return "", ErrHash
	}
	day := strings.ToLower(part[1])
	made := strings.IndexByte(letters, day[0])<<5 | strings.IndexByte(letters, day[1])
	if age := (r.day() - made + days) % days; age > lifetime {
		return "", ErrStale
	}
	return mail.Address(part[3] + "@" + part[2]), nil
}

func (r *Rewriter) signed(hash string, parts ...string) bool {
	return hmac.Equal([]byte(strings.ToLower(hash)), []byte(r.hash(parts...)))
}
