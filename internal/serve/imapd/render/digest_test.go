package render

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// FuzzDigest: what a digest answers to HEADER.FIELDS is what the message answers,
// and nothing in a file makes the readers of digests fail.
func FuzzDigest(f *testing.F) {
	f.Add([]byte("Subject: a\r\n b\r\nFROM : x@y\r\nX-Odd: 1\r\nno field\r\n more\r\n\r\nSubject: body\r\n"))
	f.Add([]byte(" Subject: a\r\nTo: b"))
	f.Add([]byte("\r\nTo: b\r\n"))
	f.Add([]byte("To: \x00\r\n\r\n"))
	names := []string{"Subject", "from", "TO"}
	set, ok := ListedFields(names)
	if !ok {
		f.Fatal("fields are missing in digests")
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		PickListed(nil, header, set)
		EachListed(header, func(int, []byte) bool { return true })
		digest, ok := Digest(nil, header)
		if !ok {
			return
		}
		var want bytes.Buffer
		if err := Fields(bufio.NewReader(bytes.NewReader(bytes.Clone(header))), &imap.FetchItemBodySection{HeaderFields: names}, &want); err != nil {
			t.Fatal(err)
		}
		if got := PickListed(nil, digest, set); !bytes.Equal(got, want.Bytes()) || PickedSize(digest, set) != len(got) {
			t.Errorf("%q:\ngot  %q\nwant %q", header, got, want.Bytes())
		}
	})
}

func TestListed(t *testing.T) {
	if len(listed) > 64 {
		t.Fatalf("%d fields do not fit into a set", len(listed))
	}
	for i, n := range listed {
		if ListedField(strings.ToUpper(n)) != i || listedBytes([]byte(strings.ToUpper(n))) != i {
			t.Errorf("%s is not field %d", n, i)
		}
	}
}
