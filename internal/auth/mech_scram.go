package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"hash"

	"github.com/xdg-go/scram"

	"packetboat/internal/auth/scheme"
)

// scramDialogue is SCRAM-SHA-1 (RFC 5802) and SCRAM-SHA-256 (RFC 7677), without
// channel binding.
type scramDialogue struct {
	a      *Auth
	q      *Query
	scheme string
	hash   scram.HashGeneratorFcn
	new    func() hash.Hash
	ctx    context.Context // of the running step, for the look-up inside
	conv   *scram.ServerConversation
	acc    *account
	block  *block
	res    result
	asked  bool
}

func newSCRAMSHA1(a *Auth, q *Query) dialogue {
	return &scramDialogue{a: a, q: q, scheme: "SCRAM-SHA-1", hash: scram.SHA1, new: sha1.New}
}

func newSCRAMSHA256(a *Auth, q *Query) dialogue {
	return &scramDialogue{a: a, q: q, scheme: "SCRAM-SHA-256", hash: scram.SHA256, new: sha256.New}
}

func (s *scramDialogue) next(ctx context.Context, response []byte) outcome {
	if response == nil && !s.asked {
		s.asked = true
		return outcome{more: true}
	}
	s.ctx = ctx
	if s.conv == nil {
		server, err := s.hash.NewServer(s.credentials)
		if err != nil {
			return outcome{result: result{temp: true}}
		}
		s.conv = server.NewConversation()
	}
	if s.conv.Valid() && s.acc != nil { // the client acknowledged the server's proof
		return outcome{result: s.a.admit(s.block, s.q, s.acc.fields)}
	}
	reply, err := s.conv.Step(string(response))
	if err != nil || (s.conv.Done() && !s.conv.Valid()) {
		s.a.info("scram", s.q, "%v", errMismatch)
		return outcome{result: s.res, try: string(response)}
	}
	return outcome{more: true, challenge: []byte(reply)}
}

// credentials looks the user up for package scram.
func (s *scramDialogue) credentials(user string) (scram.StoredCredentials, error) {
	var none scram.StoredCredentials
	if err := s.a.setUser(s.q, user); err != nil {
		return none, err
	}
	s.acc, s.block, s.res = s.a.lookup(s.ctx, s.q)
	if s.acc == nil && !s.res.temp {
		return s.decoy(), nil
	}
	if s.acc == nil {
		return none, errUnknown
	}
	if s.acc.stored.Scheme == s.scheme {
		k, err := scheme.ParseSCRAM(s.acc.stored.Data)
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Rounds},
			StoredKey: k.Stored, ServerKey: k.Server}, err
	}
	password, ok := s.acc.stored.Plain()
	if !ok || password == "" {
		return none, errMismatch
	}
	client, err := s.hash.NewClient(user, password, "")
	if err != nil {
		return none, err
	}
	return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: salt(), Iters: scheme.Rounds})
}

// decoy makes keys that no password fits: an unknown user must not be told from
// a wrong password by the step at which the dialogue ends. The salt of a name
// stays the same while the process lives.
func (s *scramDialogue) decoy() scram.StoredCredentials {
	key := scheme.HMAC(s.new, s.a.secret[:], s.q.User)
	return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(key[:16]), Iters: scheme.Rounds},
		StoredKey: key, ServerKey: key}
}

// salt returns 16 fresh random bytes.
func salt() string {
	var b [16]byte
	rand.Read(b[:])
	return string(b[:])
}
