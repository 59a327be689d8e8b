// Package scheme holds passwords as databases keep them: "{SCHEME}data" with
// Dovecot's schemes, the forms of crypt(3), and the keys of CRAM-MD5 and SCRAM. It
// compares and makes them, and knows no user and no database.
package scheme

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm"
)

// Stored is a password as a database keeps it.
type Stored struct {
	Scheme string // upper case, without an encoding suffix
	Coding string // "HEX", "B64", or empty for the scheme's own
	Data   string
}

// Parse splits "{SCHEME}data" or "{SCHEME.HEX}data"; without braces the
// scheme is the database's default.
func Parse(s, scheme string) Stored {
	if strings.HasPrefix(s, "{") {
		if name, data, ok := strings.Cut(s[1:], "}"); ok {
			scheme, s = name, data
		}
	}
	scheme, coding, _ := strings.Cut(strings.ToUpper(scheme), ".")
	if coding == "BASE64" {
		coding = "B64"
	}
	return Stored{scheme, coding, s}
}

// Plain returns the password itself where the database keeps it so, for
// mechanisms that need it (CRAM-MD5, SCRAM).
func (s Stored) Plain() (string, bool) {
	switch s.Scheme {
	case "PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC":
		return s.Data, true
	}
	return "", false
}

// Match tells whether password is the one stored; user is for the schemes that
// mix the name in. All compares take the same time for every wrong password.
// The error says that the stored form is not understood.
func (s Stored) Match(user, password string) (bool, error) {
	if plain, ok := s.Plain(); ok {
		return Equal([]byte(plain), []byte(password)), nil
	}
	switch s.Scheme {
	case "CRYPT", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "ARGON2I", "ARGON2ID", "ARGON2", "SCRYPT", "YESCRYPT", "SHA1-CRYPT", "MD5", "BCRYPT":
		return matchCrypt(s.Data, password)
	case "PBKDF2":
		return matchPBKDF2(s.Data, password)
	case "CRAM-MD5", "HMAC-MD5":
		want, err := hex.DecodeString(s.Data)
		return Equal(want, CRAMContext(password)), err
	case "SCRAM-SHA-1":
		return matchSCRAM(s.Data, password, sha1.New)
	case "SCRAM-SHA-256":
		return matchSCRAM(s.Data, password, sha256.New)
	}
	return s.matchDigest(user, password)
}

// digests are the schemes of one round over password and salt.
var digests = map[string]struct {
	new    func() hash.Hash
	salted bool
	hex    bool // the scheme's own coding
}{
	"PLAIN-MD5": {md5.New, false, true}, "LDAP-MD5": {md5.New, false, false}, "SMD5": {md5.New, true, false},
	"SHA": {sha1.New, false, false}, "SHA1": {sha1.New, false, false}, "SSHA": {sha1.New, true, false},
	"SHA256": {sha256.New, false, false}, "SSHA256": {sha256.New, true, false},
	"SHA512": {sha512.New, false, false}, "SSHA512": {sha512.New, true, false},
	"DIGEST-MD5": {md5.New, false, true},
}

func (s Stored) matchDigest(user, password string) (bool, error) {
	d, ok := digests[s.Scheme]
	if !ok {
		return false, fmt.Errorf("unknown password scheme %s", s.Scheme)
	}
	raw, err := s.bytes(d.hex, d.new().Size())
	if err != nil {
		return false, err
	}
	h := d.new()
	n := h.Size()
	if len(raw) < n || (!d.salted && len(raw) != n) {
		return false, fmt.Errorf("%s password of %d bytes", s.Scheme, len(raw))
	}
	if s.Scheme == "DIGEST-MD5" {
		name, realm, _ := strings.Cut(user, "@")
		password = name + ":" + realm + ":" + password
	}
	h.Write([]byte(password))
	h.Write(raw[n:])
	return Equal(raw[:n], h.Sum(nil)), nil
}

// bytes decodes the data. Without a suffix Dovecot tells hex from base64 by
// the length: a digest in hex has exactly twice its size.
func (s Stored) bytes(isHex bool, size int) ([]byte, error) {
	switch {
	case s.Coding == "HEX", s.Coding == "" && (isHex || len(s.Data) == 2*size) && len(s.Data)%2 == 0 && isHexText(s.Data):
		return hex.DecodeString(s.Data)
	}
	b, err := base64.StdEncoding.DecodeString(s.Data)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(s.Data)
	}
	return b, err
}

func isHexText(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// matchCrypt knows every "$id$" form of crypt(3) that go-crypt knows.
func matchCrypt(data, password string) (bool, error) {
	// $2b$, $2y$ and $2x$ differ only in bugs of other implementations.
	if len(data) > 4 && (strings.HasPrefix(data, "$2y$") || strings.HasPrefix(data, "$2x$")) {
		data = "$2b$" + data[4:]
	}
	if !strings.HasPrefix(data, "$") {
		return false, fmt.Errorf("traditional DES crypt passwords are not supported: set the password again with a scheme such as SHA512-CRYPT")
	}
	d, err := decodeCrypt(data)
	if err != nil {
		return false, err
	}
	return d.MatchAdvanced(password)
}

// Burn spends the time of a usual hash on a password, and forgets the result.
func Burn(password string) {
	matchCrypt("$6$packetboatburn$t3IlFvFTrM9L0yZlj5XOCQGJA8NzNwDnYWpso//iXowXT3tkoUhKUyKJj5GbeR7yETqgiBemX58XoHNETegX9/", password)
}

func decodeCrypt(data string) (algorithm.Digest, error) {
	dec, err := crypt.NewDecoderAll()
	if err != nil {
		return nil, err
	}
	return dec.Decode(data)
}

// matchPBKDF2 reads Dovecot's form "$1$salt$rounds$hex".
func matchPBKDF2(data, password string) (bool, error) {
	f := strings.Split(data, "$")
	if len(f) != 5 || f[1] != "1" {
		return matchCrypt(data, password)
	}
	rounds, err := strconv.Atoi(f[3])
	if err != nil || rounds < 1 || rounds > 10_000_000 {
		return false, fmt.Errorf("PBKDF2 password with %q rounds", f[3])
	}
	want, err := hex.DecodeString(f[4])
	if err != nil || len(want) == 0 {
		return false, fmt.Errorf("PBKDF2 password is not hex")
	}
	got, err := pbkdf2.Key(sha1.New, password, []byte(f[2]), rounds, len(want))
	return Equal(want, got), err
}

// matchSCRAM checks a password against "rounds,salt,StoredKey,ServerKey"
// (RFC 5803 without its prefix).
func matchSCRAM(data, password string, h func() hash.Hash) (bool, error) {
	k, err := ParseSCRAM(data)
	if err != nil {
		return false, err
	}
	salted, err := pbkdf2.Key(h, password, k.Salt, k.Rounds, h().Size())
	if err != nil {
		return false, err
	}
	client := HMAC(h, salted, "Client Key")
	stored := h()
	stored.Write(client)
	return Equal(k.Stored, stored.Sum(nil)), nil
}

// SCRAMKeys is a password as SCRAM keeps it.
type SCRAMKeys struct {
	Rounds               int // of PBKDF2
	Salt, Stored, Server []byte
}

// ParseSCRAM reads "rounds,salt,StoredKey,ServerKey".
func ParseSCRAM(data string) (k SCRAMKeys, err error) {
	f := strings.Split(data, ",")
	if len(f) != 4 {
		return k, fmt.Errorf("SCRAM password of %d parts", len(f))
	}
	if k.Rounds, err = strconv.Atoi(f[0]); err != nil || k.Rounds < 1 || k.Rounds > 10_000_000 {
		return k, fmt.Errorf("SCRAM password with %q rounds", f[0])
	}
	for i, dst := range []*[]byte{&k.Salt, &k.Stored, &k.Server} {
		if *dst, err = base64.StdEncoding.DecodeString(f[i+1]); err != nil {
			return k, err
		}
	}
	return k, nil
}

// HMAC is the HMAC of text with key over h.
func HMAC(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// Equal compares in a time that depends on neither content: hashes hide the
// length too.
func Equal(a, b []byte) bool {
	ha, hb := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(ha[:], hb[:]) == 1 && len(a) == len(b)
}

// CRAMContext is Dovecot's CRAM-MD5 scheme: the two MD5 states after the padded
// keys, as hex of 32 bytes.
func CRAMContext(password string) []byte {
	key := []byte(password)
	if len(key) > md5.BlockSize {
		sum := md5.Sum(key)
		key = sum[:]
	}
	var out []byte
	for _, pad := range []byte{0x5c, 0x36} {
		block := bytes.Repeat([]byte{pad}, md5.BlockSize)
		for i, c := range key {
			block[i] ^= c
		}
		out = append(out, md5State(block)...)
	}
	return out
}

// md5State returns the four words of MD5 after one block, least byte first.
func md5State(block []byte) []byte {
	h := md5.New()
	h.Write(block)
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil // not with this hash
	}
	out := make([]byte, 16)
	for i := range 4 {
		binary.LittleEndian.PutUint32(out[4*i:], binary.BigEndian.Uint32(state[4+4*i:]))
	}
	return out
}

// MD5From continues MD5 behind one block, from its state.
func MD5From(state []byte) hash.Hash {
	b := append([]byte("md5\x01"), make([]byte, 16+md5.BlockSize)...)
	for i := range 4 {
		binary.BigEndian.PutUint32(b[4+4*i:], binary.LittleEndian.Uint32(state[4*i:]))
	}
	b = binary.BigEndian.AppendUint64(b, md5.BlockSize)
	h := md5.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		return md5.New() // matches nothing
	}
	return h
}
