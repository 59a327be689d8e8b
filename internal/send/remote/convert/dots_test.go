package convert

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestDotWriter holds that whatever a message holds, what leaves is one
// message: no bare CR or LF, no line that is a dot, no line over the limit.
func TestDotWriter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msg := []byte(strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"a", ".", "\n", "\r", "\r\n", "..", "\n.\n", "\r.\r", "longer text", "\x00"})).Draw(t, "msg"), ""))
		var out bytes.Buffer
		bw := bufio.NewWriter(&out)
		limit := rapid.IntRange(3, 20).Draw(t, "limit")
		d := &Dots{W: bw, Limit: limit, Deadline: func() {}}
		// Cut the message into pieces: line ends may fall between two reads.
		for rest := msg; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			d.write(rest[:n])
			rest = rest[n:]
		}
		d.end()
		bw.Flush()
		s := out.String()
		if !strings.HasSuffix(s, ".\r\n") {
			t.Fatalf("no end: %q", s)
		}
		body := strings.TrimSuffix(s, ".\r\n")
		if strings.Count(body, "\r") != strings.Count(body, "\r\n") || strings.Count(body, "\n") != strings.Count(body, "\r\n") {
			t.Fatalf("stray CR or LF: %q", s)
		}
		for line := range strings.SplitSeq(body, "\r\n") {
			if line == "." || len(line) > limit+1 {
				t.Fatalf("line %q in %q", line, s)
			}
		}
	})
}
