package proc

import (
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
)

// Confine takes from the whole process the right to touch files outside the
// given paths, for ever (Landlock). Paths that do not exist are left out. On a
// kernel without Landlock nothing changes and the error is nil: it is a second
// wall, not the only one.
func Confine(readOnly, readWrite []string) error {
	return landlock.V5.BestEffort().RestrictPaths(
		landlock.ROFiles(files(readOnly)...), landlock.RODirs(folders(readOnly)...),
		landlock.RWFiles(files(readWrite)...), landlock.RWDirs(folders(readWrite)...).WithRefer(),
	)
}

// files keeps the paths that are no folders.
func files(paths []string) (out []string) {
	for _, p := range paths {
		if fi, err := os.Stat(p); err == nil && !fi.IsDir() {
			out = append(out, p)
		}
	}
	return out
}

// folders keeps the paths that are folders.
func folders(paths []string) (out []string) {
	for _, p := range paths {
		if fi, err := os.Stat(p); err == nil && fi.IsDir() {
			out = append(out, p)
		}
	}
	return out
}
