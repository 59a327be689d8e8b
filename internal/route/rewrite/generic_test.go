package rewrite

import (
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
)

// What the table of generic(5) makes of addresses; Postfix 3.7 did the same to
// header and envelope.
func TestGeneric(t *testing.T) {
	r, err := New(Options{Hostname: "mail.example.org", Origin: "mail.example.org", Domain: "example.org", Destinations: []string{"mail.example.org"},
		Interfaces: []string{"127.0.0.1"}, Delimiter: "+", Propagate: []string{"canonical", "virtual"}, AppendOrigin: true})
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.Generic("smtp_generic_maps", []string{"inline:{ {alice@mail.example.org = alice.public@example.com} {@hidden.example.org = @example.net} {bob=robert@example.com} {carl=carl} }"}, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[mail.Address]mail.Address{
		"": "", "x@far.example": "x@far.example", "alice@mail.example.org": "alice.public@example.com",
		"alice+tag@mail.example.org": "alice.public@example.com", "carl+ext@hidden.example.org": "carl+ext@example.net",
		"bob@mail.example.org": "robert@example.com", "bob@other.example": "bob@other.example", "carl@mail.example.org": "carl@mail.example.org",
	} {
		if got, err := g(in); got != want || err != nil {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
	r.o.Propagate = []string{"generic"}
	if got, _ := g("alice+tag@mail.example.org"); got != "alice.public+tag@example.com" {
		t.Errorf("the extension is lost: %s", got)
	}
	if g, err := r.Generic("smtp_generic_maps", nil, table.Options{}); g != nil || err != nil {
		t.Error("no tables map something")
	}
	f, err := r.Generic("smtp_generic_maps", []string{"fail:x"}, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f("a@b"); err == nil || !mail.AsStatus(err).Temporary() {
		t.Error("a failing table maps:", err)
	}
}
