package order

import "strings"

// maxSubject is how much of a subject is looked at, in octets: taking thousands of
// marks off one by one takes long.
const maxSubject = 2000

// BaseSubject takes "Re:", "Fwd:", "[list]" and "(fwd)" off a decoded subject:
// RFC 5256 section 2.1. reply tells that something of a reply or forward went.
func BaseSubject(s string) (base string, reply bool) {
	s = strings.Join(strings.Fields(s[:min(len(s), maxSubject)]), " ")
	for {
		was := s
		for { // step 2: trailers
			t := strings.TrimSuffix(s, " ")
			if n := len(t) - len("(fwd)"); n >= 0 && strings.EqualFold(t[n:], "(fwd)") {
				t, reply = t[:n], true
			}
			if t == s {
				break
			}
			s = t
		}
		for { // steps 3 to 5: leaders
			t, re := cutLeader(s)
			reply = reply || re
			if t == s {
				break
			}
			s = t
		}
		if n := len(s); n >= 6 && strings.EqualFold(s[:5], "[fwd:") && s[n-1] == ']' { // step 6
			s, reply = s[5:n-1], true
		}
		if s == was {
			return s, reply
		}
	}
}

// cutLeader takes one "re:", "fw:" or "fwd:", with blobs around it, off the
// front, or a blob behind which something is left.
func cutLeader(s string) (rest string, reply bool) {
	s = strings.TrimLeft(s, " ")
	t := s
	for {
		after, ok := cutBlob(t)
		if !ok {
			break
		}
		t = after
	}
	if rest, ok := cutRefwd(t); ok {
		return rest, true
	}
	if after, ok := cutBlob(s); ok && after != "" {
		return after, false
	}
	return s, false
}

// cutBlob takes "[...] " off.
func cutBlob(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] == '[' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}

// cutRefwd takes "re:" and its like off, with a blob before the colon.
func cutRefwd(s string) (string, bool) {
	for _, word := range []string{"re", "fwd", "fw"} {
		if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
			continue
		}
		t := strings.TrimLeft(s[len(word):], " ")
		if after, ok := cutBlob(t); ok {
			t = after
		}
		if rest, ok := strings.CutPrefix(t, ":"); ok {
			return rest, true
		}
	}
	return s, false
}
