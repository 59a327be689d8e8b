package query

import (
	"strconv"
	"strings"
	"time"
)

// span is a range of numbers, both ends included; 0 stands for "*".
type span struct{ from, to uint32 }

// parseSet reads "1,3:5,*". Dovecot takes an empty part at the end.
func parseSet(s string) (set []span, ok bool) {
	for i, part := range strings.Split(s, ",") {
		if part == "" && i > 0 {
			continue
		}
		a, b, ranged := strings.Cut(part, ":")
		from, ok1 := setNumber(a)
		to := from
		ok2 := true
		if ranged {
			to, ok2 = setNumber(b)
		}
		if !ok1 || !ok2 {
			return nil, false
		}
		set = append(set, span{from, to})
	}
	return set, true
}

func setNumber(s string) (uint32, bool) {
	if s == "*" {
		return 0, true
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n > 0
}

// holds tells whether n is in the set of message numbers; "*" is last.
func holds(set []span, n, last uint32) bool {
	for _, r := range set {
		from, to := r.from, r.to
		if from == 0 {
			from = last
		}
		if to == 0 {
			to = last
		}
		if from > to {
			from, to = to, from
		}
		if n >= from && n <= to {
			return true
		}
	}
	return false
}

// holdsUID is holds for UIDs, where "9:*" does not reach back to the last message and
// "*" alone is the highest number there could be: as in Dovecot, and nothing
// is expunged that was not meant.
func holdsUID(set []span, n uint32) bool {
	for _, r := range set {
		switch {
		case r.from == 0 && r.to == 0:
		case r.to == 0 || r.from == 0:
			if n >= max(r.from, r.to) {
				return true
			}
		case n >= min(r.from, r.to) && n <= max(r.from, r.to):
			return true
		}
	}
	return false
}

// parseDate reads a date specification: 2007-04-13, 13-Apr-2007, a time stamp, or
// an interval before now. A day counts as its midnight in UTC; exact says that it is
// a moment.
func parseDate(s string, now time.Time) (sec int64, exact, ok bool) {
	if y, m, d, ok := isoDay(s); ok {
		return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC).Unix(), false, true
	}
	for _, layout := range []string{"2-Jan-2006", "02-Jan-2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Unix(), false, true
		}
	}
	if n, err := strconv.ParseInt(s, 10, 63); err == nil && s[0] != '+' && s[0] != '-' {
		return n, true, true
	}
	if n, ok := parseInterval(s); ok {
		return now.Unix() - n, true, true
	}
	return 0, false, false
}

// isoDay reads four digits, two and two; a month or day that there is not counts
// on into the next ones, as mktime(3) does.
func isoDay(s string) (y, m, d int, ok bool) {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return 0, 0, 0, false
	}
	y, err1 := strconv.Atoi(s[:4])
	m, err2 := strconv.Atoi(s[5:7])
	d, err3 := strconv.Atoi(s[8:])
	return y, m, d, err1 == nil && err2 == nil && err3 == nil && y >= 0 && m >= 0 && d >= 0
}

// parseInterval reads "1w", "2hours", "5 mins" in seconds; a unit may be cut short.
func parseInterval(s string) (int64, bool) {
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if i <= 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(s[:i], 10, 32)
	unit := strings.ToLower(strings.TrimLeft(s[i:], " "))
	if err != nil || unit == "" {
		return 0, false
	}
	for _, u := range []struct {
		name string
		sec  int64
	}{{"secs", 1}, {"seconds", 1}, {"mins", 60}, {"minutes", 60}, {"hours", 3600}, {"days", 86400}, {"weeks", 7 * 86400}} {
		if strings.HasPrefix(u.name, unit) {
			return n * u.sec, true
		}
	}
	return 0, false
}

// parseSize reads octets, or "50k", "1M", "2G", "1T" and the like with a B behind.
func parseSize(s string) (int64, bool) {
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	}
	n, err := strconv.ParseInt(s[:i], 10, 64)
	if err != nil {
		return 0, false
	}
	shift, ok := map[string]uint{"b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20,
		"g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40}[strings.ToLower(strings.TrimLeft(s[i:], " "))]
	if !ok || n > 1<<62>>shift {
		return 0, false
	}
	return n << shift, true
}

// MatchMailbox tells whether a mailbox's name matches a mask: "*" is any text, "%"
// any text without the separator; INBOX is written in any case.
func MatchMailbox(mask, name string) bool {
	if name == "INBOX" && strings.EqualFold(mask, name) {
		return true
	}
	return wild(mask, name)
}

// wild matches by remembering where the last wildcards may begin anew, so no mask
// takes more than the product of the lengths.
func wild(mask, name string) bool {
	row := make([]bool, len(name)+1)
	row[0] = true
	for i := range len(mask) {
		c := mask[i]
		next := make([]bool, len(name)+1)
		next[0] = row[0] && (c == '*' || c == '%')
		for j := range len(name) {
			switch {
			case c == '*', c == '%' && name[j] != '/':
				next[j+1] = row[j+1] || next[j]
			case c == '%':
				next[j+1] = row[j+1]
			default:
				next[j+1] = row[j] && c == name[j]
			}
		}
		row = next
	}
	return row[len(name)]
}
