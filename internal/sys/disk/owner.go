package disk

import (
	"os"
	"syscall"
)

// Owner returns the user number that owns an open file.
func Owner(f *os.File) (int, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return int(fi.Sys().(*syscall.Stat_t).Uid), nil
}
