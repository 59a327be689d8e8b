package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/sys/proc"
)

// startMany builds deliver and starts deliver -z --many as mtad's parent does.
func startMany(t *testing.T, dir string) (*proc.Channel, *proc.Process) {
	t.Helper()
	bin := filepath.Join(dir, "deliver")
	build := exec.Command("go", "build", "-o", bin, "packetboat/cmd/deliver")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	near, far, err := proc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	role := proc.Role{Path: bin, Args: []string{"deliver", "-c", dir, "-z", "--many"}, Files: []*os.File{far}, Stderr: os.Stderr}
	if os.Geteuid() == 0 {
		role.User, role.Switch = &proc.User{Name: "nobody", UID: 65534, GID: 65534}, true
	}
	p, err := proc.Start(role)
	if err != nil {
		t.Fatal(err)
	}
	return near, p
}

// lmtp delivers one message over a new conversation and returns the last answer.
func lmtp(t *testing.T, ch *proc.Channel, tk lmtpd.Talk) string {
	t.Helper()
	ours, theirs, err := proc.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	err = ch.Send(tk, theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	body := "Subject: for " + tk.User + "\n\nhi\n"
	fmt.Fprintf(c, "LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<%s>\r\nBDAT %d LAST\r\n%sQUIT\r\n", tk.User, len(body), body)
	last := ""
	for sc := bufio.NewScanner(c); sc.Scan(); {
		if !strings.HasPrefix(sc.Text(), "221") {
			last = sc.Text()
		}
	}
	return last
}

// TestMany: one process writes each account's mail as that account, and only
// where the account may.
func TestMany(t *testing.T) {
	dir, spool := scratch(t, "")
	own := proc.Account{UID: os.Geteuid(), GID: os.Getegid()}
	list := []lmtpd.Talk{{Account: own, User: "own"}}
	if os.Geteuid() == 0 {
		for i := range 5 {
			list = append(list, lmtpd.Talk{Account: proc.Account{UID: 54321 + i, GID: 54400 + i}, User: fmt.Sprint("u", i)})
		}
		list = list[1:]
		for _, d := range []string{filepath.Dir(dir), dir, spool} {
			os.Chmod(d, 0o755)
		}
		os.Chmod(filepath.Join(dir, "main.cf"), 0o644)
		os.Chmod(spool, 0o1777)
	}
	ch, p := startMany(t, dir)
	for range 3 {
		for _, tk := range list {
			if answer := lmtp(t, ch, tk); !strings.HasPrefix(answer, "250 2.0.0") {
				t.Errorf("%s: %s", tk.User, answer)
			}
		}
	}
	for _, tk := range list {
		path := filepath.Join(spool, tk.User)
		b, err := os.ReadFile(path)
		if err != nil || strings.Count(string(b), "\nSubject: for "+tk.User+"\n") != 3 {
			t.Errorf("%s: %v %q", tk.User, err, b)
			continue
		}
		fi, _ := os.Stat(path)
		if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != tk.Account.UID || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s belongs to %d, mode %v", tk.User, st.Uid, fi.Mode())
		}
	}
	foreign := lmtpd.Talk{Account: proc.Account{UID: 54999, GID: 54999}, User: "x", Inbox: filepath.Join(spool, list[0].User)}
	if answer := lmtp(t, ch, foreign); !strings.HasPrefix(answer, "4") && !strings.HasPrefix(answer, "5") {
		t.Errorf("mail went into a foreign mailbox: %s", answer)
	}
	ch.Close()
	if code := p.Wait(); code != 0 {
		t.Errorf("it ends with %d", code)
	}
}
