package maildir

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/storetest"
)

// TestFaults: see storetest.Faults.
func TestFaults(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	storetest.Faults(t, true, func(dir string) (store.Store, error) {
		return Open(Options{Root: filepath.Join(dir, "Maildir"), LockTimeout: time.Second})
	}, func(args, env []string) error {
		cmd := exec.Command(strace, append(args[1:], os.Args[0], "-test.run=^TestFaults$")...)
		cmd.Env = append(os.Environ(), env...)
		return cmd.Run()
	})
}
