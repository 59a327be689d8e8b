package deb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needs skips the test where it cannot run.
func needs(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("installing a package into a system of its own takes root on Linux")
	}
	for _, c := range []string{"debootstrap", "dpkg-buildpackage", "dh", "apt-get", "unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("%s is not installed", c)
		}
	}
}

// output runs a command, d at most.
func output(d time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	b, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(b), err
}

// bare returns the folder of a bare Debian system (root) and more packages
// (debs). It is made once with the package sources that this machine is
// configured with, and kept.
func bare(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip("no folder to keep a system in:", err)
	}
	cache = filepath.Join(cache, "packetboat-test")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Skip("no folder to keep a system in:", err)
	}
	lock(t, filepath.Join(cache, "lock"))
	key := sha256.Sum256([]byte(fmt.Sprint(1, release, base, beside)))
	dir := filepath.Join(cache, fmt.Sprintf("%s-%x", release, key[:6]))
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return dir
	}
	old, _ := filepath.Glob(filepath.Join(cache, release+"-*")) // other keys, and what was left half made
	for _, d := range old {
		os.RemoveAll(d)
	}
	if out, err := fetch(dir); err != nil {
		os.RemoveAll(dir)
		t.Skipf("a bare Debian system cannot be made here: %v\n%s", err, out)
	}
	return dir
}

// lock holds a file's lock until the test ends: two tests at once would make the
// same system.
func lock(t *testing.T, path string) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
}

// fetch makes dir/root and dir/debs, and dir/complete when all is there.
func fetch(dir string) (string, error) {
	mirror, out, err := mirror()
	if err != nil {
		return out, err
	}
	root, debs := filepath.Join(dir, "root"), filepath.Join(dir, "debs")
	if err := os.MkdirAll(filepath.Join(debs, "partial"), 0o755); err != nil {
		return "", err
	}
	out, err = output(6*time.Minute, "debootstrap", "--variant=minbase", "--include="+strings.Join(base, ","), release, root, mirror)
	if err != nil {
		return tail(out), err
	}
	// This machine's apt fetches for that one: its sources, the other's state.
	out, err = output(3*time.Minute, "apt-get", append([]string{
		"-o", "Dir::State::status=" + filepath.Join(root, "var/lib/dpkg/status"), "-o", "Dir::Cache::archives=" + debs,
		"-o", "Debug::NoLocking=1", "-o", "APT::Install-Recommends=no", "-y", "--download-only", "install"}, beside...)...)
	if err != nil {
		return tail(out), err
	}
	kept, _ := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
	for _, f := range kept {
		os.Remove(f)
	}
	return "", os.WriteFile(filepath.Join(dir, "complete"), nil, 0o600)
}

// mirror returns where this machine's apt gets Debian from.
func mirror() (uri, out string, err error) {
	for range 2 {
		out, err = output(time.Minute, "apt-get", "indextargets", "--format", "$(REPO_URI) $(SUITE) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) == 4 && (f[1] == release || f[2] == release) && f[3] == "main" {
				return f[0], "", nil
			}
		}
		if out, err = output(2*time.Minute, "apt-get", "update"); err != nil {
			return "", tail(out), err
		}
	}
	return "", tail(out), fmt.Errorf("apt has no source of %s main", release)
}

// build makes the package of the tree it stands in and returns its path. With
// PACKETBOAT_DEB that one is tested.
func build(t *testing.T) string {
	t.Helper()
	if deb := os.Getenv("PACKETBOAT_DEB"); deb != "" {
		return deb
	}
	root := "../.."
	if out, err := output(10*time.Minute, "make", "-C", root, "deb"); err != nil {
		t.Fatalf("make deb: %v\n%s", err, out)
	}
	version, err := output(time.Minute, "dpkg-parsechangelog", "-l", filepath.Join(root, "debian/changelog"), "-S", "Version")
	if err != nil {
		t.Fatal(err, version)
	}
	arch, err := output(time.Minute, "dpkg", "--print-architecture")
	if err != nil {
		t.Fatal(err, arch)
	}
	deb := filepath.Join(root, "dist", "packetboat_"+strings.TrimSpace(version)+"_"+strings.TrimSpace(arch)+".deb")
	if _, err := os.Stat(deb); err != nil {
		t.Fatal(err)
	}
	return deb
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
