package disk

import "golang.org/x/sys/unix"

// Free returns how many octets an ordinary user may still write to the file
// system of path.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}
