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
// no two queued messages have the same id.
const (
	usecDigits = 5
	minID      = usecDigits + 1
	maxID      = usecDigits + 16
)

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
	return len(id) > usecDigits && strings.EqualFold(id[usecDigits:], fmt.Sprintf("%X", inode))
}
