package queue

import (
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// An id is Postfix's short queue id (enable_long_queue_ids = no): five hex
// digits of the microseconds at which the file was made, then its inode number
// in hex, upper case. No two files of one file system have the same inode, so
// no two queued messages have the same id. A long id never comes again: seconds
// in base 52 (six digits), microseconds (four), "z", the inode in base 51.
const (
	usecDigits = 5
	minID      = usecDigits + 1
	maxID      = usecDigits + 16

	longDigits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
	secLong    = 6
	usecLong   = 4
	longMark   = 'z'
	maxLong    = 32
)

// appendBase writes v in a base of longDigits, with at least n digits.
func appendBase(b []byte, v uint64, base uint64, n int) []byte {
	var d [16]byte
	i := len(d)
	for ; v > 0 || n > 0; n-- {
		i--
		d[i] = longDigits[v%base]
		v /= base
	}
	return append(b, d[i:]...)
}

// makeLong returns the long id of a file with that inode made at now.
func makeLong(now time.Time, inode uint64) string {
	b := make([]byte, 0, maxLong)
	b = appendBase(b, uint64(max(now.Unix(), 0)), 52, secLong)
	b = appendBase(b, uint64(now.Nanosecond()/1000), 52, usecLong)
	return string(appendBase(append(b, longMark), inode, 51, 1))
}

// validLong tells whether id is a long one.
func validLong(id string) bool {
	i := strings.LastIndexByte(id, longMark)
	if i < secLong+usecLong || i == len(id)-1 || len(id) > maxLong {
		return false
	}
	for k := range len(id) {
		if strings.IndexByte(longDigits, id[k]) < 0 {
			return false
		}
	}
	return true
}

// LongIDs has new messages get long ids (enable_long_queue_ids). Call it before the
// queue is used.
func (q *Queue) LongIDs(on bool) { q.long = on }

// makeID returns an id of the kind that new messages get.
func (q *Queue) makeID(now time.Time, inode uint64) string {
	if q.long {
		return makeLong(now, inode)
	}
	return makeID(now, inode)
}

// makeID returns the id of a file with that inode made at now.
func makeID(now time.Time, inode uint64) string {
	const hex = "0123456789ABCDEF"
	var b [maxID]byte
	n := len(b)
	for {
		n--
		b[n] = hex[inode&15]
		if inode >>= 4; inode == 0 {
			break
		}
	}
	usec := now.Nanosecond() / 1000
	for range usecDigits {
		n--
		b[n] = hex[usec&15]
		usec >>= 4
	}
	return string(b[n:])
}

// ValidID tells whether id can be the name of a queue file. It is checked before
// an id from outside becomes part of a path.
func ValidID(id string) bool {
	if validLong(id) {
		return true
	}
	if len(id) < minID || len(id) > maxID {
		return false
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func errBadID(id string) error { return fmt.Errorf("queue: bad queue id %q: %w", id, fs.ErrNotExist) }

// idFits tells whether id names the inode: a file that was copied from elsewhere
// may carry a name that a new message can get, too.
func idFits(id string, inode uint64) bool {
	if validLong(id) {
		return id[strings.LastIndexByte(id, longMark)+1:] == string(appendBase(nil, inode, 51, 1))
	}
	return len(id) > usecDigits && strings.EqualFold(id[usecDigits:], fmt.Sprintf("%X", inode))
}
