// Package words has a text for each of Dovecot's settings: what it is for, and
// what this system does with it. cmd/mailadm makes the manual page
// packetboat-dovecot.conf(5) of them; the daemons do not carry them along.
package words

import (
	_ "embed" // the texts
	"strings"
)

// texts holds a line for each row of the table of settings: block ("-" for the
// root), name, text.
//
//go:embed texts.txt
var texts string

// Of returns the text of a setting, "" for one that has none. block is "" for
// the root, else passdb, service/unix_listener ...
func Of(block, name string) string {
	if block == "" {
		block = "-"
	}
	key := block + "\t" + name + "\t"
	for line := range strings.Lines(texts) {
		if text, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSuffix(text, "\n")
		}
	}
	return ""
}
