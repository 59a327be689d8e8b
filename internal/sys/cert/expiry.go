package cert

import (
	"context"
	"time"
)

// The figures of WatchExpiry: how long before its end a certificate is told of,
// and how often.
const (
	expirySoon  = 14 * 24 * time.Hour
	expiryEvery = 24 * time.Hour
)

// WatchExpiry calls tell at once and every day for as long as one of the
// certificates ends within 14 days, until ctx ends. left is below 0 when it has
// ended.
func (s *Store) WatchExpiry(ctx context.Context, tell func(name string, left time.Duration)) {
	t := time.NewTicker(expiryEvery)
	defer t.Stop()
	for {
		s.expiring(time.Now(), tell)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (s *Store) expiring(now time.Time, tell func(string, time.Duration)) {
	for _, c := range s.state.Load().certs {
		if left := c.Leaf.NotAfter.Sub(now); left < expirySoon {
			name := c.Leaf.Subject.CommonName
			if name == "" && len(c.Leaf.DNSNames) > 0 {
				name = c.Leaf.DNSNames[0]
			}
			tell(clean(name), left)
		}
	}
}
