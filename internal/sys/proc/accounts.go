package proc

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// Accounts returns all accounts of this machine in their order: /etc/passwd,
// or, when nsswitch.conf names more sources than files, what getent(1) lists.
// A directory server may refuse to list its accounts; then they are missing.
func Accounts() ([]*User, error) {
	text, err := disk.ReadFile(passwdFile)
	if moreThanFiles(nsswitchFile) {
		text, err = getentAll()
	}
	if err != nil {
		return nil, err
	}
	var list []*User
	for line := range bytes.Lines(text) {
		if u, ok := parsePasswd(strings.TrimRight(string(line), "\n")); ok {
			list = append(list, u)
		}
	}
	return list, nil
}

func getentAll() ([]byte, error) {
	cmd := exec.Command("getent", "passwd")
	cmd.WaitDelay = getentTimeout
	timer := time.AfterFunc(getentTimeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("getent passwd: %w", err)
	}
	return out, nil
}
