package alias

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// maxIncludeLine is the longest line of an :include: file in bytes; a line is a
// list of addresses.
const maxIncludeLine = 64 << 10

// include follows the addresses of an :include: file.
func (r *run) include(s state, path string) {
	if !r.once(fmt.Sprintf("include %d %s", s.uid, path)) {
		return
	}
	s.from, s.via = s.local, "include"
	if r.Trace != nil {
		r.Trace(Step{Addr: s.addr, Name: s.local, File: path})
	}
	f, status := r.openInclude(s, path)
	if status != nil {
		r.fail(s, status)
		return
	}
	defer f.Close()
	if status := r.includeRights(&s, f, path); status != nil {
		r.fail(s, status)
		return
	}
	if s.owner == "" {
		s.owner = string(s.addr)
	}
	if !contains(r.Propagate, "include") {
		s.unmatched = ""
	}
	r.list(s, f, path)
}

// errConfig is what the sender hears of a mistake in the administrator's files.
func errConfig() *mail.Status { return mail.Bounce("5.3.5", "mail system configuration error") }

// openInclude opens an :include: file after local(8)'s checks.
func (r *run) openInclude(s state, path string) (*os.File, *mail.Status) {
	if !strings.HasPrefix(path, "/") {
		r.warn(":include:%s uses a relative path", path)
		return nil, errConfig()
	}
	f, err := r.open(s, path)
	var odd *disk.UntrustedError
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.warn("unable to lookup :include: file %s: No such file or directory", path)
		return nil, errConfig()
	case errors.As(err, &odd):
		r.warn(":include: file %s is %s", path, odd.Why)
		return nil, errConfig()
	case err != nil:
		r.warn("cannot open include file %s: %v", path, err)
		return nil, mail.Defer("4.3.5", "mail system configuration error")
	}
	if fi, err := f.Stat(); err != nil || fi.Mode().Perm()&0o002 != 0 {
		f.Close()
		r.warn(":include: file %s is world writable", path)
		return nil, errConfig()
	}
	return f, nil
}

// open opens an :include: file with the rights that count here.
func (r *run) open(s state, path string) (*os.File, error) {
	switch {
	case s.listed.User != "" && r.OpenListed != nil:
		return r.OpenListed(path, s.listed)
	case r.Open != nil:
		return r.Open(path, s.account)
	}
	return openFile(path, s.account)
}

// openFile opens a regular file behind links, without waiting on a pipe.
func openFile(path, _ string) (*os.File, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	return disk.OpenTrusted(real, os.O_RDONLY, -1)
}

// includeRights lets the owner of a file that root's alias includes answer for
// what it lists; inside a user's own alias the user's rights stay.
func (r *run) includeRights(s *state, f *os.File, path string) *mail.Status {
	if s.uid != 0 {
		return nil
	}
	uid, err := disk.Owner(f)
	var u *proc.User
	if err == nil && uid != 0 {
		u, err = r.lookupUID(uid)
	}
	if err != nil {
		r.warn("%s: cannot find :include: file owner username", path)
		return mail.Defer("4.3.5", "mail system configuration error")
	}
	if u != nil {
		s.account, s.uid = u.Name, uid
	}
	return nil
}
