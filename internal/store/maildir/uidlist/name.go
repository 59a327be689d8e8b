package uidlist

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"packetboat/internal/store"
)

// A file's name is BASE:2,FLAGS. The base never changes; it is what a UID
// stands for. Behind commas it may hold S=OCTETS and W=OCTETS WITH CRLF, which
// save a look into the file (Maildir++).

// Info begins the part of a name that changes.
const Info = ":2,"

// Base returns the part of a name that never changes.
func Base(name string) string {
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return name[:i]
	}
	return name
}

// Sizes returns what the base says of the file's octets, -1 where it says nothing.
func Sizes(base string) (size, virtual int64) {
	return field(base, ",S="), field(base, ",W=")
}

func field(base, key string) int64 {
	_, rest, ok := strings.Cut(base, key)
	if !ok {
		return -1
	}
	if i := strings.IndexByte(rest, ','); i >= 0 {
		rest = rest[:i]
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// letters of the flags that every Maildir knows, in the order of the alphabet,
// which is the order that they are written in.
var letters = [...]struct {
	letter byte
	flag   store.Flag
}{{'D', store.Draft}, {'F', store.Flagged}, {'R', store.Answered}, {'S', store.Seen}, {'T', store.Deleted}}

// FlagsOf reads the flags of a name: those that we know, the keywords as a set
// of letters a to z, and all other letters, which are kept as they are (P is
// "passed").
func FlagsOf(name string) (f store.Flag, keys uint32, other string) {
	_, rest, ok := strings.Cut(name, Info)
	if !ok {
		return 0, 0, ""
	}
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		switch {
		case c >= 'a' && c <= 'z':
			keys |= 1 << (c - 'a')
		case flagOf(c) != 0:
			f |= flagOf(c)
		default:
			other += string(c)
		}
	}
	return f, keys, other
}

func flagOf(c byte) store.Flag {
	for _, l := range letters {
		if l.letter == c {
			return l.flag
		}
	}
	return 0
}

// WithFlags returns base with flags, in the order that Dovecot writes: capital
// letters by the alphabet, then keywords.
func WithFlags(base string, f store.Flag, keys uint32, other string) string {
	b := append(make([]byte, 0, len(base)+16), base...)
	b = append(b, Info...)
	first := len(b)
	for _, l := range letters {
		if f&l.flag != 0 {
			b = append(b, l.letter)
		}
	}
	if other != "" {
		for c := byte('!'); c <= '~'; c++ {
			if (c < 'a' || c > 'z') && flagOf(c) == 0 && strings.IndexByte(other, c) >= 0 {
				b = append(b, c)
			}
		}
	}
	slices.Sort(b[first:])
	for keys &= 1<<maxLetters - 1; keys != 0; keys &= keys - 1 {
		b = append(b, 'a'+byte(bits.TrailingZeros32(keys)))
	}
	return string(b)
}

// serial tells the names of one process apart.
var serial atomic.Uint64

// Unique returns a base that nobody has (maildir(5)): the second, the
// microsecond, the process, a serial number, the host.
func Unique() string {
	now := time.Now()
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	host = strings.NewReplacer("/", "\\057", ":", "\\072").Replace(host)
	return fmt.Sprintf("%d.M%dP%dQ%d.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), serial.Add(1), host)
}

// Earlier orders files that nobody has numbered yet by the time in their names;
// what has none comes last.
func Earlier(a, b string) int {
	x, y := stamp(a), stamp(b)
	for i := range x {
		if x[i] != y[i] {
			return int(min(max(x[i]-y[i], -1), 1))
		}
	}
	return strings.Compare(a, b)
}

// stamp returns second and microsecond of a name.
func stamp(name string) (t [2]int64) {
	first, rest, _ := strings.Cut(name, ".")
	sec, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return [2]int64{1 << 62}
	}
	t[0] = sec
	if i := strings.IndexByte(rest, 'M'); i >= 0 {
		for _, c := range []byte(rest[i+1:]) {
			if c < '0' || c > '9' || t[1] > 1<<50 {
				break
			}
			t[1] = t[1]*10 + int64(c-'0')
		}
	}
	return t
}
