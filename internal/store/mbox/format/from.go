package format

import (
	"bytes"
	"time"
)

// MaxFrom is the longest From_ line in octets. RFC 5321 section 4.5.3.1
// limits a sender to 256; what is longer than this is no From_ line.
const MaxFrom = 4096

var fromPrefix = []byte("From ")

// ParseFrom reads a From_ line, with or without its line end:
//
//	From sender  Mon Nov 23 14:03:58 2026          Postfix, procmail, mutt
//	From sender Mon Nov 23 14:03:58 MET 2026       with a zone, by name or +0100
//	From sender Mon Nov 23 14:03 2026 +0100        without seconds; zone at the end
//	From ???@??? Mon Nov 23 14:03:58 2026          Eudora
//	From sender Mon, 23 Nov 2026 14:03:58 +0100    as in a Date header
//
// A line without such a date is no From_ line, whatever it begins with:
// "From here to there" is text of a body. The sender may hold blanks. The
// time counts as local time without a zone. sender aliases line.
func ParseFrom(line []byte) (sender []byte, date int64, ok bool) {
	if len(line) > MaxFrom || !bytes.HasPrefix(line, fromPrefix) {
		return nil, 0, false
	}
	line = bytes.TrimRight(line, "\r\n")
	for i := len(fromPrefix); i < len(line); i++ {
		if line[i-1] != ' ' || weekday(line[i:]) == 0 {
			continue
		}
		if date, ok := parseDate(line[i:]); ok {
			return bytes.TrimSpace(line[len(fromPrefix):i]), date, true
		}
	}
	return nil, 0, false
}

const (
	dayNames   = "SunMonTueWedThuFriSat"
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// name3 returns 1 + the index of the three-letter name that b begins with, in
// any case; 0 when there is none.
func name3(b []byte, names string) int {
	if len(b) < 3 {
		return 0
	}
	for i := 0; i < len(names); i += 3 {
		if b[0]|32 == names[i]|32 && b[1]|32 == names[i+1] && b[2]|32 == names[i+2] {
			return i/3 + 1
		}
	}
	return 0
}

// weekday tells whether b begins with a day's name and what ends it.
func weekday(b []byte) int {
	n := name3(b, dayNames)
	if n > 0 && (len(b) < 4 || b[3] != ' ' && b[3] != ',') {
		return 0
	}
	return n
}

// month3 returns the month's number of a word that is a month's short name.
func month3(word []byte) int {
	if len(word) != 3 {
		return 0
	}
	return name3(word, monthNames)
}

// words cuts b at blanks without allocation.
type words struct{ rest []byte }

func (w *words) next() []byte {
	w.rest = bytes.TrimLeft(w.rest, " \t,")
	i := bytes.IndexAny(w.rest, " \t,")
	if i < 0 {
		i = len(w.rest)
	}
	word := w.rest[:i]
	w.rest = w.rest[i:]
	return word
}

// parseDate reads the date of a From_ line, which begins with a weekday.
func parseDate(b []byte) (int64, bool) {
	w := words{b}
	w.next() // the weekday is not compared with the date: nobody else does
	first, second := w.next(), w.next()
	month, day := month3(first), number(second, 1, 31)
	alt := month == 0 // 23 Nov 2026 14:03:58
	year := 0
	if alt {
		month, day = month3(second), number(first, 1, 31)
		year = parseYear(w.next())
	}
	h, m, s, ok := clock(w.next())
	if month == 0 || day < 0 || !ok || (alt && year < 0) {
		return 0, false
	}
	loc := time.Local
	if !alt {
		word := w.next()
		if year = parseYear(word); year < 0 {
			loc = zone(word)
			year = parseYear(w.next())
		}
		if year < 0 {
			return 0, false
		}
	}
	if z := zone(w.next()); z != time.Local {
		loc = z
	}
	return time.Date(year, time.Month(month), day, h, m, s, 0, loc).Unix(), true
}

// number reads decimal digits; -1 when b is no number within the bounds.
func number(b []byte, low, high int) int {
	if len(b) == 0 || len(b) > 4 {
		return -1
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	if n < low || n > high {
		return -1
	}
	return n
}

func parseYear(b []byte) int {
	if len(b) != 4 {
		return -1
	}
	return number(b, 1900, 9999)
}

// clock reads hh:mm or hh:mm:ss.
func clock(b []byte) (h, m, s int, ok bool) {
	hh, rest, ok := bytes.Cut(b, []byte(":"))
	if !ok || len(hh) > 2 {
		return 0, 0, 0, false
	}
	mm, ss, seconds := bytes.Cut(rest, []byte(":"))
	h, m = number(hh, 0, 23), number(mm, 0, 59)
	if seconds {
		s = number(ss, 0, 60)
	}
	return h, m, s, h >= 0 && m >= 0 && s >= 0
}

// zone reads +hhmm or the name of universal time. Other names ("MET", "DST")
// mean different things in different places and count as local time.
func zone(b []byte) *time.Location {
	if string(b) == "UTC" || string(b) == "GMT" || string(b) == "UT" || string(b) == "Z" {
		return time.UTC
	}
	if len(b) != 5 || (b[0] != '+' && b[0] != '-') {
		return time.Local
	}
	h, m := number(b[1:3], 0, 14), number(b[3:], 0, 59)
	if h < 0 || m < 0 {
		return time.Local
	}
	off := (h*60 + m) * 60
	if b[0] == '-' {
		off = -off
	}
	return time.FixedZone("", off)
}

// AppendFrom writes a From_ line as Postfix does: two blanks before the date,
// the date in local time and asctime(3)'s form.
func AppendFrom(b []byte, sender string, at time.Time) []byte {
	b = append(b, fromPrefix...)
	b = append(b, sender...)
	b = append(b, "  "...)
	b = at.Local().AppendFormat(b, time.ANSIC)
	return append(b, '\n')
}

// EnvelopeSender returns what stands for the envelope sender in a From_ line.
// The null sender is MAILER-DAEMON (mail_copy(3)); octets that would end the
// line or the word become "_", and what is too long is cut, so that the line
// is one line and one word whatever a stranger sent.
func EnvelopeSender(s string) string {
	if s == "" {
		return "MAILER-DAEMON"
	}
	if len(s) > maxSender {
		s = s[:maxSender]
	}
	b := []byte(s)
	for i, c := range b {
		if c <= ' ' || c == 0x7f {
			b[i] = '_'
		}
	}
	return string(b)
}

// maxSender is the longest sender in a From_ line, in octets; RFC 5321
// section 4.5.3.1.3 has 256 for a path.
const maxSender = 1024
