package textsearch

import (
	"io"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	all := func(r io.Reader) string { b, _ := io.ReadAll(r); return string(b) }
	if got := all(&base64Reader{r: strings.NewReader("aGVs\r\nb G8=!d29y\nbGQ")}); got != "hellowor" && got != "helloworld" {
		t.Errorf("%q", got)
	}
	if got := all(&quotedReader{r: strings.NewReader("a=3Db=\r\nc=zz=4")}); got != "a=bc=zz=4" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("0123456789=\r\n", 2000)
	if got := all(&quotedReader{r: iotestOne{strings.NewReader(long)}}); got != strings.Repeat("0123456789", 2000) {
		t.Errorf("%d octets", len(got))
	}
}

// iotestOne reads one octet at a time.
type iotestOne struct{ r io.Reader }

func (o iotestOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestStreamHolds(t *testing.T) {
	text := strings.Repeat("lorem ipsum ", 5000) + "Der gro\u00dfe Caf\u00e9-Tisch" + strings.Repeat(" dolor", 5000)
	for _, needle := range []string{"caf\u00e9", "GRO\u00dfE", "ipsum lorem", "tisch dolor"} {
		if !new(Window).Holds(iotestOne{strings.NewReader(text)}, Fold(needle)) {
			t.Errorf("%q not found", needle)
		}
	}
	if new(Window).Holds(strings.NewReader(text), Fold("not there")) {
		t.Error("found what is not there")
	}
}
