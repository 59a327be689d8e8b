package grants

import (
	"testing"

	"packetboat/internal/route/alias"
	"packetboat/internal/sys/proc"
)

// BenchmarkNoForward is what a look for a .forward costs that is not there: a part
// of every local delivery.
func BenchmarkNoForward(b *testing.B) {
	r := &Rules{Path: "$home/.forward${recipient_delimiter}${extension}, $home/.forward", PathChars: safeChars}
	u := &proc.User{Name: "u", UID: 65534, GID: 65534, Home: b.TempDir()}
	q := alias.ForwardQuery{User: "u", Local: "u", Delim: "+"}
	for b.Loop() {
		r.OpenForward(q, u)
	}
}
