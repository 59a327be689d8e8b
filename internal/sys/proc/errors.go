package proc

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// ErrText returns the text of a system error as strerror(3) writes it, which is
// what log readers know: "Connection refused", "No space left on device". A
// timeout of ours reads like the system's. Other errors keep their text.
func ErrText(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err) {
		return "Connection timed out"
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	s := errno.Error()
	if s == "" {
		return err.Error()
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// IsReset tells whether the other side ended the connection rudely.
func IsReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}
