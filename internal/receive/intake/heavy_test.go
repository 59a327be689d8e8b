package intake

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestHeavy: a megabyte of addresses, a hundred thousand fields, ten thousand
// parts inside each other or parameters of one field cost no memory beyond a field
// and the nesting that is followed, with every check switched on.
func TestHeavy(t *testing.T) {
	var nested, params strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=\"b%d\"\n\n--b%d\n", i, i)
		fmt.Fprintf(&params, "; name*%d=x", i)
	}
	o := Options{}
	o.Content.HeaderChecks, o.Content.MIMEChecks = []string{"regexp:{{/^X-Never: x/ REJECT}}"}, []string{"regexp:{{/^X-Never: y/ REJECT}}"}
	o.Content.NestedChecks, o.Content.BodyChecks = []string{"regexp:{{/^X-Never: z/ REJECT}}"}, []string{"regexp:{{/^never$/ REJECT}}"}
	o.Content.Strict8Bit, o.Content.StrictDomain = true, true
	for name, text := range map[string]string{
		"addresses":  "From: a@b.test\nTo: " + strings.Repeat("someone@somewhere.test,\n ", 45000) + "x@y.test\n\nhi\n",
		"fields":     "From: a@b.test\n" + strings.Repeat("X-Field: something\n", 100000) + "\nhi\n",
		"nested":     "From: a@b.test\n" + nested.String(),
		"parameters": "From: a@b.test\nContent-Type: text/plain" + params.String() + "\n\nhi\n",
		"comments":   "From: " + strings.Repeat("(", 500000) + "a@b.test\n\nhi\n",
		"brackets":   "To: " + strings.Repeat("<", 500000) + "\n\nhi\n",
		"one line":   "Subject: " + strings.Repeat("x", 2000000) + "\n\n" + strings.Repeat("y", 2000000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			rig := newRig(o)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := rig.submit(t, local("bob"), "", text, 4096)
			runtime.ReadMemStats(&after)
			// What has been asked for in all, garbage and the test's own queue included.
			if used := after.TotalAlloc - before.TotalAlloc; used > 128<<20 {
				t.Errorf("%d octets were asked for, for %d octets of mail (%v)", used, len(text), err)
			}
		})
	}
}
