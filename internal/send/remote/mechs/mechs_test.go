package mechs

import (
	"testing"

	"github.com/xdg-go/scram"
)

// TestScram logs in with a real SCRAM server, which proves the whole dialogue.
func TestScram(t *testing.T) {
	for name, hash := range map[string]scram.HashGeneratorFcn{"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-512": scram.SHA512} {
		c, err := hash.NewClient("user", "secret", "")
		if err != nil {
			t.Fatal(err)
		}
		stored, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"secret", "wrong"} {
			srv, _ := hash.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
			conv := srv.NewConversation()
			cl := newSCRAM(name, hash, func(string) string { return "" })("user", secret)
			_, answer, err := cl.Start()
			for err == nil && !conv.Done() {
				var challenge string
				if challenge, err = conv.Step(string(answer)); err == nil {
					answer, err = cl.Next([]byte(challenge))
				}
			}
			if good := err == nil && Proven(cl); good != (secret == "secret") {
				t.Errorf("%s with %s: %v %v", name, secret, good, err)
			}
		}
	}
}

func TestCheckSecurity(t *testing.T) {
	if CheckSecurity([]string{"noplaintext", "noanonymous"}) != nil || CheckSecurity([]string{"nopaintext"}) == nil {
		t.Error("security words")
	}
}
