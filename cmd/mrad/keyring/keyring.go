// Package keyring holds the certificates and keys of a login process of mrad: the
// process sees no file, the parent sends it what the files hold.
package keyring

import (
	"io/fs"
	"strings"
	"sync"

	"packetboat/internal/sys/cert"
)

// Keys are all certificates and keys: those for everybody, and those for names.
type Keys struct {
	Cert, Key []byte
	Names     []Named
}

// Named are the certificate and key for clients that ask for a name in the TLS
// handshake: local_name NAME { ssl_cert = ...; ssl_key = ... }. A "*" at the
// beginning stands for one label; several names stand with spaces between them.
type Named struct {
	Name      string
	Cert, Key []byte
}

// fits tells whether a client's server name, in lower case, is meant.
func (n Named) fits(name string) bool {
	for mask := range strings.FieldsSeq(strings.ToLower(n.Name)) {
		if mask == name {
			return true
		}
		parent, star := strings.CutPrefix(mask, "*.")
		if _, rest, ok := strings.Cut(name, "."); star && ok && rest == parent {
			return true
		}
	}
	return false
}

// Ring is what a login process holds of them, for cert.Stores: the parent changes
// it. Its zero value is empty.
type Ring struct {
	mu    sync.Mutex
	files map[string][]byte
}

// Set changes the keys; stores that are open read them when they are reloaded.
func (p *Ring) Set(u Keys) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files = map[string][]byte{"certificate": u.Cert, "key": u.Key}
	for _, n := range u.Names {
		p.files["certificate of "+n.Name], p.files["key of "+n.Name] = n.Cert, n.Key
	}
}

// read is a cert.Read.
func (p *Ring) read(name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.files[name]; b != nil {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// Open makes the store of all certificates of u, and returns those below it, too:
// each is to be reloaded when the parent sends renewed ones.
func (p *Ring) Open(u Keys) (*cert.Store, []*cert.Store, error) {
	p.Set(u)
	store, err := cert.OpenWith(p.read, "certificate", "key")
	if err != nil {
		return nil, nil, err
	}
	all := []*cert.Store{store}
	for _, n := range u.Names {
		other, err := cert.OpenWith(p.read, "certificate of "+n.Name, "key of "+n.Name)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, other)
	}
	store.SetSNI(func(name string) *cert.Store {
		for i, n := range u.Names {
			if n.fits(name) {
				return all[i+1]
			}
		}
		return nil
	})
	return store, all, nil
}
