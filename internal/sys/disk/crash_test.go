package disk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNamesFollow holds the claim of NamesFollow against the kernel: on a file
// system of its own, files are made, renamed and flushed, but never their
// folder; then the file system is stopped without another write to its journal
// (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: what a power cut leaves) and mounted anew.
func TestNamesFollow(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) { pullThePlug(t, kind) })
	}
}

// ownMounts says that this process was started in a mount namespace of its own.
// One that only a thread had would not do: /proc/self is that of the first thread.
const ownMounts = "PACKETBOAT_OWN_MOUNTS"

// pullThePlug starts the test again where its mounts are nobody else's.
func pullThePlug(t *testing.T, kind string) {
	if os.Getenv(ownMounts) == "" {
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", os.Args[0], "-test.run=^TestNamesFollow$/^"+kind+"$", "-test.v")
		cmd.Env = append(os.Environ(), ownMounts+"="+t.TempDir())
		out, err := cmd.CombinedOutput()
		switch {
		case strings.Contains(string(out), "unshare failed"):
			t.Skipf("no mount namespace: %s", out)
		case err != nil:
			t.Errorf("%v\n%s", err, out)
		case strings.Contains(string(out), "--- SKIP"):
			t.Skipf("%s", out)
		}
		return
	}
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skipf("mkfs.%s is not installed", kind)
	}
	image, at := filepath.Join(os.Getenv(ownMounts), "image"), filepath.Join(os.Getenv(ownMounts), "at")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 320<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", mkfs, err, out)
	}
	writeAndCrash(t, image, at, kind)
}

// flushed is the number of files that are written; each tenth is not flushed.
const flushed = 100

func writeAndCrash(t *testing.T, image, at, kind string) {
	t.Helper()
	mount(t, image, at, kind)
	d, err := OpenDir(at)
	if err != nil {
		t.Fatal(err)
	}
	if kind == "ext4" && !d.NamesFollow() {
		t.Error("ext4 is not known")
	}
	for i := range flushed {
		f, err := d.Create(fmt.Sprintf("tmp.%d", i), 0o600)
		if err == nil {
			_, err = fmt.Fprintf(f, "message %d", i)
		}
		if err == nil {
			err = d.Rename(fmt.Sprintf("tmp.%d", i), d, fmt.Sprint(i))
		}
		if err == nil && i < flushed-10 {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	const goingDown, noLogFlush = 0x8004587d, 2 // include/uapi/linux/fs.h
	if err := unix.IoctlSetPointerInt(d.fd, goingDown, noLogFlush); err != nil {
		t.Skip("this file system cannot be stopped: ", err)
	}
	d.Close()
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	mount(t, image, at, kind)
	defer unix.Unmount(at, 0)
	for i := range flushed {
		b, err := os.ReadFile(filepath.Join(at, fmt.Sprint(i)))
		whole := string(b) == fmt.Sprintf("message %d", i)
		if i < flushed-10 && !whole {
			t.Errorf("file %d was flushed and is lost: %q %v", i, b, err)
		}
		if i >= flushed-10 && whole {
			t.Errorf("file %d was not flushed and is there: nothing crashed", i)
		}
	}
}

// mount mounts the image with mount(8), which finds a free loop device that
// goes with the mount.
func mount(t *testing.T, image, at, kind string) {
	t.Helper()
	cmd := exec.Command("mount", "-t", kind, "-o", "loop", image, at)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v: %s", err, out)
	}
}
