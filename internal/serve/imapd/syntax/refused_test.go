package syntax

import (
	"bufio"
	"strings"
	"testing"
)

// TestRefusedLiterals: whatever is wrong with a command, no octet of a literal that
// the client sends unasked becomes a command.
func TestRefusedLiterals(t *testing.T) {
	const evil = "y DELETE evil\r\n"
	for _, line := range []string{"{18446744073709551616+}", "{99999999999999999999999999999999999999999+}", "{70000+}", "({70000+}",
		"{" + strings.Repeat("0", 60) + "70000+}", "BODY[HEADER.FIELDS ({9223372036854775808+}", "{10+}\r\n0123456789 {18446744073709551616+}",
		strings.Repeat("x", 70000) + " {99999+}", "({4096+}"} {
		p := &Parser{R: bufio.NewReaderSize(strings.NewReader("z "+line+"\r\n"+strings.Repeat(evil, 200)), 4096), Limit: 64 << 10}
		p.Start()
		_, err := p.Args(false)
		if err == nil {
			if _, err = p.Args(false); err == nil && !p.Ended() {
				t.Errorf("%.40q was taken", line)
			}
		}
		p.Skip()
		if tag, err := p.Start(); err == nil && string(tag) == "y" {
			word, _ := p.Word()
			t.Errorf("%.40q: %q %q was run", line, tag, word)
		}
	}
	// What announces nothing costs nothing.
	for _, line := range []string{"{5x+}", "5+}", "{+}", "{-1}", "{5}x", "{}", "\"{5+}\" )", "a{b"} {
		p := &Parser{R: bufio.NewReader(strings.NewReader("z " + line + "\r\n" + evil)), Continue: func() error { return nil }}
		p.Start()
		if _, err := p.Args(false); err == nil {
			p.Args(false)
		}
		p.Skip()
		if tag, err := p.Start(); err != nil || string(tag) != "y" {
			t.Errorf("%q swallowed the next command: %q %v", line, tag, err)
		}
	}
}
