package dnslist

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// pattern is what may stand behind "zone=" (ip_match(3)): four fields, each an
// octet or a list [2;4..8] of octets and ranges.
type pattern [4][]span

type span struct{ from, to byte }

func (p *pattern) match(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	for i, b := range a.As4() {
		if !inSpans(p[i], b) {
			return false
		}
	}
	return true
}

func inSpans(list []span, b byte) bool {
	for _, s := range list {
		if b >= s.from && b <= s.to {
			return true
		}
	}
	return false
}

// parsePattern reads a pattern; brackets around all of it are taken off.
func parsePattern(text string) (*pattern, error) {
	if text == "" {
		return nil, errors.New("empty address pattern")
	}
	s := text
	if enclosed(s) {
		s = s[1 : len(s)-1]
	}
	var p pattern
	for i := range p {
		var err error
		if p[i], s, err = parseField(s); err != nil {
			return nil, fmt.Errorf("%w in %q", err, text)
		}
		last := i == len(p)-1
		if last != (s == "") {
			return nil, fmt.Errorf("need four fields in %q", text)
		}
		if !last {
			if s[0] != '.' {
				return nil, fmt.Errorf("need \".\" at %q in %q", s, text)
			}
			s = s[1:]
		}
	}
	return &p, nil
}

// enclosed tells whether the bracket that s begins with ends at the end of s.
func enclosed(s string) bool {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '[':
			depth++
		case ']':
			depth--
		}
		if depth == 0 {
			return i == len(s)-1 && i > 0
		}
	}
	return false
}

// parseField takes an octet or a list of them off the front of s.
func parseField(s string) ([]span, string, error) {
	if !strings.HasPrefix(s, "[") {
		n, rest, err := octet(s)
		return []span{{n, n}}, rest, err
	}
	var list []span
	for s = s[1:]; ; s = s[1:] {
		from, rest, err := octet(s)
		if err != nil {
			return nil, s, err
		}
		to := from
		if after, ok := strings.CutPrefix(rest, ".."); ok {
			if to, rest, err = octet(after); err != nil || to < from {
				return nil, s, errors.New("numeric range error")
			}
		}
		list = append(list, span{from, to})
		switch s = rest; {
		case strings.HasPrefix(s, "]"):
			return list, s[1:], nil
		case !strings.HasPrefix(s, ";"):
			return nil, s, errors.New("need \";\" or \"]\"")
		}
	}
}

// octet takes a decimal number 0..255 off the front of s.
func octet(s string) (byte, string, error) {
	n, i := 0, 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9' && n <= 255; i++ {
		n = n*10 + int(s[i]-'0')
	}
	if i == 0 || n > 255 {
		return 0, s, errors.New("need decimal number 0..255 or \"[\"")
	}
	return byte(n), s[i:], nil
}
