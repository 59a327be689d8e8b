package scheme

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"crypto/pbkdf2"
	"crypto/sha1"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// Rounds is the iteration count of SCRAM for passwords that are stored plain
// (RFC 7677 section 4 asks for 4096 at least).
const Rounds = 4096

// Names returns the names of the schemes that Make knows, for doveadm pw -l.
func Names() []string {
	names := []string{"PLAIN", "CLEAR", "CLEARTEXT", "CRYPT", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT",
		"ARGON2I", "ARGON2ID", "PBKDF2", "CRAM-MD5", "HMAC-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}
	for name := range digests {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Make returns a password as a database stores it, "{SCHEME}data", with
// a fresh salt. rounds 0 is the scheme's default.
func Make(scheme, user, password string, rounds int) (string, error) {
	name, coding, _ := strings.Cut(strings.ToUpper(scheme), ".")
	data, err := makeData(name, coding, user, password, rounds)
	if err != nil {
		return "", err
	}
	return "{" + strings.ToUpper(scheme) + "}" + data, nil
}

func makeData(name, coding, user, password string, rounds int) (string, error) {
	switch name {
	case "PLAIN", "CLEAR", "CLEARTEXT":
		return password, nil
	case "CRAM-MD5", "HMAC-MD5":
		return hex.EncodeToString(CRAMContext(password)), nil
	case "SCRAM-SHA-1":
		return makeSCRAM(password, rounds, sha1.New)
	case "SCRAM-SHA-256":
		return makeSCRAM(password, rounds, sha256.New)
	case "PBKDF2":
		return makePBKDF2(password, rounds)
	}
	if _, ok := digests[name]; ok {
		return makeDigest(name, coding, user, password)
	}
	return makeCrypt(name, password, rounds)
}

// makeCrypt makes the "$id$" forms of crypt(3).
func makeCrypt(name, password string, rounds int) (string, error) {
	h, err := hasher(name, rounds)
	if err != nil {
		return "", err
	}
	d, err := h.Hash(password)
	if err != nil {
		return "", err
	}
	s := d.Encode()
	if strings.HasPrefix(s, "$2b$") {
		s = "$2y$" + s[4:] // as Dovecot writes it; the two are the same
	}
	return s, nil
}

func hasher(name string, rounds int) (algorithm.Hash, error) {
	switch name {
	case "CRYPT", "BLF-CRYPT":
		return bcrypt.New(bcrypt.WithIterations(orDefault(rounds, 10)))
	case "SHA256-CRYPT":
		return shacrypt.New(shacrypt.WithVariant(shacrypt.VariantSHA256), shacrypt.WithIterations(orDefault(rounds, 5000)))
	case "SHA512-CRYPT":
		return shacrypt.New(shacrypt.WithVariant(shacrypt.VariantSHA512), shacrypt.WithIterations(orDefault(rounds, 5000)))
	case "MD5-CRYPT":
		return md5crypt.New(md5crypt.WithVariant(md5crypt.VariantStandard))
	case "ARGON2I":
		return argon2.New(argon2.WithVariantI(), argon2.WithT(orDefault(rounds, 4)), argon2.WithP(1), argon2.WithM(32768))
	case "ARGON2ID":
		return argon2.New(argon2.WithVariantID(), argon2.WithT(orDefault(rounds, 3)), argon2.WithP(1), argon2.WithM(65536))
	}
	return nil, fmt.Errorf("unknown scheme: %s", name)
}

func orDefault(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

func makeDigest(name, coding, user, password string) (string, error) {
	d := digests[name]
	var salt []byte
	if d.salted {
		salt = random(4)
	}
	if name == "DIGEST-MD5" {
		local, realm, _ := strings.Cut(user, "@")
		password = local + ":" + realm + ":" + password
	}
	h := d.new()
	h.Write([]byte(password))
	h.Write(salt)
	raw := append(h.Sum(nil), salt...)
	if coding == "HEX" || (coding == "" && d.hex) {
		return hex.EncodeToString(raw), nil
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

func makePBKDF2(password string, rounds int) (string, error) {
	rounds = orDefault(rounds, 5000)
	salt := base64.RawStdEncoding.EncodeToString(random(12))
	key, err := pbkdf2.Key(sha1.New, password, []byte(salt), rounds, sha1.Size)
	return fmt.Sprintf("$1$%s$%d$%x", salt, rounds, key), err
}

func makeSCRAM(password string, rounds int, h func() hash.Hash) (string, error) {
	rounds = orDefault(rounds, Rounds)
	salt := random(16)
	salted, err := pbkdf2.Key(h, password, salt, rounds, h().Size())
	if err != nil {
		return "", err
	}
	stored := h()
	stored.Write(HMAC(h, salted, "Client Key"))
	parts := [][]byte{salt, stored.Sum(nil), HMAC(h, salted, "Server Key")}
	var b bytes.Buffer
	fmt.Fprint(&b, rounds)
	for _, p := range parts {
		b.WriteString("," + base64.StdEncoding.EncodeToString(p))
	}
	return b.String(), nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
