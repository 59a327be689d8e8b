package syntax

import (
	"sort"

	"github.com/emersion/go-imap/v2"
)

// Set is a sequence-set (RFC 3501 section 9). In what ParseSet returns, 0
// stands for "*".
type Set []imap.SeqRange

// ParseSet reads a sequence-set. A set takes no more memory than four times
// its text.
func ParseSet(text []byte) (Set, bool) {
	var set Set
	for {
		a, rest, ok := number(text)
		if !ok {
			return nil, false
		}
		b := a
		if len(rest) > 0 && rest[0] == ':' {
			if b, rest, ok = number(rest[1:]); !ok {
				return nil, false
			}
		}
		set = append(set, imap.SeqRange{Start: a, Stop: b})
		if len(rest) == 0 {
			return set, true
		}
		if rest[0] != ',' {
			return nil, false
		}
		if text = rest[1:]; len(text) == 0 {
			return set, true // Dovecot lets a comma stand at the end
		}
	}
}

// number reads an nz-number or "*".
func number(text []byte) (n uint32, rest []byte, ok bool) {
	if len(text) > 0 && text[0] == '*' {
		return 0, text[1:], true
	}
	i, v := 0, uint64(0)
	for ; i < len(text) && text[i] >= '0' && text[i] <= '9'; i++ {
		if v = v*10 + uint64(text[i]-'0'); v > 1<<32-1 {
			return 0, nil, false
		}
	}
	return uint32(v), text[i:], i > 0 && v > 0
}

// Resolve replaces "*" by last, puts every range the right way round, and
// returns them in rising order without overlap. last 0 means that there is
// no message: then "*" stands for nothing (RFC 3501 leaves it open).
func (s Set) Resolve(last uint32) Set {
	out := make(Set, 0, len(s))
	for _, r := range s {
		if r.Start == 0 {
			r.Start = last
		}
		if r.Stop == 0 {
			r.Stop = last
		}
		if r.Start > r.Stop {
			r.Start, r.Stop = r.Stop, r.Start
		}
		out = append(out, r)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Start < out[j].Start })
	return merge(out)
}

func merge(in Set) Set {
	out := in[:0]
	for _, r := range in {
		if n := len(out); n > 0 && uint64(r.Start) <= uint64(out[n-1].Stop)+1 {
			out[n-1].Stop = max(out[n-1].Stop, r.Stop)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Contains tells whether a resolved set holds n.
func (s Set) Contains(n uint32) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Stop >= n })
	return i < len(s) && s[i].Start <= n
}

// Add puts n, which is above all others, at the end of a resolved set.
func (s *Set) Add(n uint32) {
	if k := len(*s); k > 0 && (*s)[k-1].Stop+1 == n {
		(*s)[k-1].Stop = n
		return
	}
	*s = append(*s, imap.SeqRange{Start: n, Stop: n})
}

// Append writes the set as text.
func (s Set) Append(dst []byte) []byte {
	for i, r := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendNum(dst, r.Start)
		if r.Stop != r.Start {
			dst = appendNum(append(dst, ':'), r.Stop)
		}
	}
	return dst
}
