// Package replies reads the lines of an SMTP reply, whatever a hostile host makes of
// them. send/remote puts them together.
package replies

import (
	"bufio"
	"errors"
	"strconv"
	"strings"
)

const (
	// MaxLine is how many octets of a line are kept (RFC 5321 section 4.5.3.1.5 asks for
	// 512).
	MaxLine = 2048

	// maxFlood is how many octets without a line end are read: an endless line would
	// keep us busy until the time is over.
	maxFlood = 64 << 10
)

// ErrFlood ends a conversation with a host that sends a line without an end.
var ErrFlood = errors.New("endless line")

// Line reads one line as it came; what is longer than MaxLine is cut.
func Line(r *bufio.Reader) ([]byte, error) {
	var out []byte
	for n := 0; ; {
		b, err := r.ReadSlice('\n')
		if n += len(b); n > maxFlood {
			return nil, ErrFlood
		}
		if room := MaxLine - len(out); room > 0 {
			out = append(out, b[:min(len(b), room)]...)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	for len(out) > 0 && (out[len(out)-1] == '\n' || out[len(out)-1] == '\r') {
		out = out[:len(out)-1]
	}
	for i, c := range out {
		if c < ' ' || c == 0x7f {
			out[i] = '?'
		}
	}
	return out, nil
}

// Parse reads "250-text", "250 text" or "250".
func Parse(b []byte) (code int, more, ok bool) {
	if len(b) < 3 {
		return 0, false, false
	}
	code, err := strconv.Atoi(string(b[:3]))
	if err != nil || code < 200 || code > 599 {
		return 0, false, false
	}
	if len(b) > 3 && b[3] != ' ' && b[3] != '-' {
		return 0, false, false
	}
	return code, len(b) > 3 && b[3] == '-', true
}

// Enhanced returns the status code x.y.z (RFC 2034) behind the reply code.
func Enhanced(line []byte) string {
	if len(line) < 9 {
		return ""
	}
	word, _, _ := strings.Cut(string(line[4:]), " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) || parts[0][0] != line[0] {
		return ""
	}
	for _, p := range parts {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 {
			return ""
		}
	}
	return word
}
