package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
)

// TestQshape compares with the original, over the same queue given back to Postfix.
func TestQshape(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "spool")
	q, err := queue.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	// Ages in the middle of the columns, so that the time between the two runs is nothing.
	now := time.Now().Add(-150 * time.Second)
	for i := range 60 {
		w, err := q.Create()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "Subject: %d\n\nx\n", i)
		env := &mail.Envelope{Sender: mail.Address([]string{"", "a@one.example", "B@Two.EXAMPLE"}[i%3]), Arrived: now.Add(-time.Duration(i*i) * 5 * time.Minute), UID: -1}
		for k := range 1 + i%3 {
			domain := []string{"a.lists.example.org", "example.net", "host" + fmt.Sprint(i%7) + ".big.example.com", "averyveryverylongdomainnameindeed.example.info"}[(i+k)%4]
			env.Rcpts = append(env.Rcpts, mail.Rcpt{Addr: mail.Address(fmt.Sprintf("u%d@%s", k, domain))})
		}
		if i%5 == 0 {
			env.Rcpts = append(env.Rcpts, mail.Rcpt{Addr: "done@done.example", State: mail.Done})
		}
		if err := w.Commit(env); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			q.Move(w.ID(), queue.Incoming, queue.Active)
			q.Defer(&queue.Message{ID: w.ID(), Env: env}, time.Now(), pendingOf(env))
		}
	}
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\nqueue_directory = "+root+"\n"), 0o644)
	cases := [][]string{{"incoming"}, {"deferred"}, {"-s", "deferred", "incoming"}, {"-l", "deferred"}, {"-b", "4", "-t", "60", "deferred"},
		{"-p", "deferred", "incoming"}, {"-p", "-m", "2", "incoming", "deferred"}, {"-w", "120", "deferred"}, {"-b", "12", "deferred"}, {"hold"}}
	ours := make([]string, len(cases))
	for i, args := range cases {
		var out, errs bytes.Buffer
		if code := runQshape(append([]string{"-c", dir}, args...), nil, &out, &errs); code != 0 || errs.Len() > 0 {
			t.Fatalf("%v: %d %s", args, code, errs.String())
		}
		ours[i] = out.String()
	}
	if !strings.Contains(ours[0], "TOTAL") {
		t.Fatal(ours[0])
	}
	for _, name := range []string{"qshape", "postconf", "postcat"} { // it asks the others
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("Postfix's %s is not installed", name)
		}
	}
	if err := q.Export(func(id string, err error) {
		if err != nil {
			t.Error(id, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i, args := range cases {
		args = slices.Clone(args)
		for k, a := range args {
			if len(a) > 4 {
				args[k] = filepath.Join(root, a)
			}
		}
		out, err := exec.Command("qshape", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if a, b := sorted(ours[i]), sorted(string(out)); a != b {
			t.Errorf("%v: ours\n%s\nthe original\n%s", args, ours[i], out)
		}
	}
}

// pendingOf are the recipients that are left.
func pendingOf(env *mail.Envelope) map[int]string {
	out := map[int]string{}
	for i, r := range env.Rcpts {
		if r.State != mail.Done {
			out[i] = "later"
		}
	}
	return out
}

// sorted puts lines in an order: that of equal counts is chance in the original.
func sorted(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

func TestQshapeWrong(t *testing.T) {
	var out, errs bytes.Buffer
	if code := runQshape([]string{"-x"}, nil, &out, &errs); code != exPerl || !strings.Contains(errs.String(), "Usage: qshape") {
		t.Error(code, errs.String())
	}
}
