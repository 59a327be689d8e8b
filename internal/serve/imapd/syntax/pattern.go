package syntax

import (
	"strings"

	"packetboat/internal/store/names"
)

// maxPattern is the longest pattern of LIST; no name is as long.
const maxPattern = 2000

// NewMatcher returns a function that compares names with a pattern: "*" stands
// for anything, "%" for anything within one level, which sep ends. It takes time in proportion
// to pattern and name, however many wildcards there are.
func NewMatcher(pattern string, sep byte) func(name string) bool {
	if text, ok := names.Decode(pattern); ok {
		pattern = text
	}
	if len(pattern) > maxPattern {
		return func(string) bool { return false }
	}
	if first, _, _ := strings.Cut(pattern, string(sep)); strings.EqualFold(first, "INBOX") {
		pattern = "INBOX" + pattern[len(first):]
	}
	return func(name string) bool { return glob(pattern, name, sep) }
}

// glob walks the name once and keeps the set of places in the pattern that the
// text so far can have reached.
func glob(pattern, name string, sep byte) bool {
	here := make([]bool, len(pattern)+1)
	next := make([]bool, len(pattern)+1)
	here[0] = true
	skipStars(pattern, here)
	for i := 0; i < len(name); i++ {
		clear(next)
		for k := range len(pattern) {
			if !here[k] {
				continue
			}
			switch p := pattern[k]; {
			case p == '*', p == '%' && name[i] != sep:
				next[k] = true
			case p == name[i] && p != '%':
				next[k+1] = true
			}
		}
		skipStars(pattern, next)
		here, next = next, here
	}
	return here[len(pattern)]
}

// skipStars lets every wildcard stand for nothing.
func skipStars(pattern string, here []bool) {
	for k := range len(pattern) {
		if here[k] && (pattern[k] == '*' || pattern[k] == '%') {
			here[k+1] = true
		}
	}
}
