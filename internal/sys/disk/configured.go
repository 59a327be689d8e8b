package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// OpenConfigured opens a regular file that root's configuration names, for a
// process with fewer rights. The way to it may lead through links; but where
// somebody else than root could have laid the way, a file that not everybody may
// read must stand there itself, under its only name: whoever owns a folder could
// make us read /etc/shadow. The caller's own files are opened with its rights.
func OpenConfigured(path string) (*os.File, error) {
	f, err := OpenAs(path, os.Geteuid(), os.Getegid())
	if err != nil {
		return nil, err
	}
	if err := placed(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func placed(f *os.File, path string) error {
	st, err := StatFile(f)
	if err != nil || st.Mode.Perm()&0o004 != 0 || os.Geteuid() != 0 || rootsWay(path, maxLinks) {
		return err
	}
	real, err := RealPath(f)
	if err == nil && (real != filepath.Clean(path) || st.Links != 1) {
		err = errors.New("open " + path + ": it is reached through a link that is not root's, and not everybody may read it")
	}
	return err
}

// maxLinks is how many links one path may lead through.
const maxLinks = 40

// rootsWay tells whether every folder and link on the way to path is root's, with
// folders that nobody else may write to.
func rootsWay(path string, links int) bool {
	if !filepath.IsAbs(path) || links == 0 {
		return false
	}
	at := "/"
	for rest := strings.Trim(filepath.Clean(path), "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if !rootsOwn(at) {
			return false
		}
		at = filepath.Join(at, name)
		if target, err := os.Readlink(at); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(at), target)
			}
			return rootsWay(filepath.Join(target, rest), links-1)
		}
	}
	return true
}

// rootsOwn tells whether only root may change what stands in a folder.
func rootsOwn(dir string) bool {
	fi, err := os.Lstat(dir)
	return err == nil && fi.Sys().(*syscall.Stat_t).Uid == 0 && fi.Mode().Perm()&0o022 == 0
}
