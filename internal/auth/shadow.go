package auth

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"packetboat/internal/auth/scheme"
)

// shadow is the passwords of /etc/shadow, without PAM.
type shadow struct{ path string }

func newShadow() (*shadow, error) {
	s := &shadow{"/etc/shadow"}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	return s, f.Close()
}

func (s *shadow) name() string { return "shadow" }

// lookup reads the file each time: it is small, and who changed a password
// expects it to work at once. A locked account ("!", "*") is unknown here.
func (s *shadow) lookup(_ context.Context, q *Query) (*account, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, rest, _ := strings.Cut(sc.Text(), ":")
		if name != q.User {
			continue
		}
		hash, _, _ := strings.Cut(rest, ":")
		if !strings.HasPrefix(hash, "$") {
			return nil, &refusal{text: "account has no usable password"}
		}
		return &account{stored: scheme.Stored{Scheme: "CRYPT", Data: hash}, fields: make(Fields)}, nil
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return nil, errUnknown
}
