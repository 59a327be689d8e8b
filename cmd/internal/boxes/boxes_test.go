package boxes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// rig is a Keeper whose process is a goroutine.
type rig struct {
	t      *testing.T
	k      *Keeper
	ch     *proc.Channel // the process's end
	ended  chan struct{} // Serve has returned
	starts int
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t}
	r.k = NewKeeper(r.start, func(b Box) (*os.File, error) { return disk.OpenMailboxAs(b.Path, os.Getuid(), os.Getgid(), -1) })
	t.Cleanup(func() {
		r.k.Close()
		<-r.ended
	})
	return r
}

func (r *rig) start(far *os.File) error {
	ch, err := proc.FromFile(far)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	r.ch, r.ended = ch, ended
	r.starts++
	go func() {
		defer close(ended)
		defer ch.Close()
		Serve(ch, talk)
	}()
	return nil
}

// talk appends every line to the mailbox and answers with the user's name.
func talk(conn net.Conn, b Box, open func() (*os.File, error)) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		f, err := open()
		if err != nil {
			fmt.Fprintf(conn, "no %v\n", err)
			continue
		}
		st, _ := disk.StatFile(f)
		f.WriteAt([]byte(line), st.Size)
		fmt.Fprintf(conn, "%s %s\n", b.User, filepath.Base(f.Name()))
	}
}

// hand begins a conversation about the mailbox at path.
func (r *rig) hand(user, path string) (ask func(line string) string, hangUp func()) {
	r.t.Helper()
	ours, theirs, err := proc.SocketPair()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.k.Hand(Box{User: user, UID: os.Getuid(), Path: path}, theirs); err != nil {
		r.t.Fatal(err)
	}
	theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	in := bufio.NewReader(conn)
	return func(line string) string {
		r.t.Helper()
		fmt.Fprintln(conn, line)
		answer, err := in.ReadString('\n')
		if err != nil {
			r.t.Fatal(err)
		}
		return strings.TrimSpace(answer)
	}, func() { conn.Close() }
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each conversation writes its own mailbox, and the one that has its name now.
func TestConversations(t *testing.T) {
	r, dir := newRig(t), t.TempDir()
	alice, bob := filepath.Join(dir, "alice"), filepath.Join(dir, "bob")
	askAlice, _ := r.hand("alice", alice)
	askBob, _ := r.hand("bob", bob)
	if a, b := askAlice("one"), askBob("two"); a != "alice alice" || b != "bob bob" {
		t.Errorf("answers %q and %q", a, b)
	}
	if content(t, alice) != "one\n" || content(t, bob) != "two\n" || r.starts != 1 {
		t.Errorf("mailboxes %q and %q, %d processes", content(t, alice), content(t, bob), r.starts)
	}
	if err := os.Rename(alice, alice+".old"); err != nil {
		t.Fatal(err)
	}
	if a := askAlice("three"); a != "alice alice" || content(t, alice) != "three\n" || content(t, alice+".old") != "one\n" {
		t.Errorf("a mailbox that was replaced: %q", a)
	}
	// What is put in its place must be a mailbox.
	if err := errors.Join(os.Remove(alice), os.Symlink(bob, alice)); err != nil {
		t.Fatal(err)
	}
	if a := askAlice("four"); !strings.HasPrefix(a, "no ") || content(t, bob) != "two\n" {
		t.Errorf("a link in its place: %q, bob has %q", a, content(t, bob))
	}
}

// The parent opens nothing that it has not given, nor what is done with.
func TestNotGiven(t *testing.T) {
	r, dir := newRig(t), t.TempDir()
	_, hangUp := r.hand("alice", filepath.Join(dir, "alice"))
	hangUp()
	for given := 1; given > 0; time.Sleep(time.Millisecond) {
		r.k.mu.Lock()
		given = len(r.k.given)
		r.k.mu.Unlock()
	}
	near, far, err := proc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	other, err := proc.FromFile(far)
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer other.Close()
	for _, id := range []uint64{1, 2, 1 << 60} {
		r.k.grant(near, wish{ID: id})
		var o order
		files, err := other.Recv(&o)
		if err != nil || len(files) > 0 || o.ID != id || o.Err == "" {
			t.Errorf("mailbox %d: %+v with %d files, %v", id, o, len(files), err)
		}
	}
}

// A process that ended is started again, and a mailbox that cannot be opened is told.
func TestRestart(t *testing.T) {
	r, dir := newRig(t), t.TempDir()
	ask, hangUp := r.hand("alice", filepath.Join(dir, "alice"))
	ask("one")
	hangUp()
	r.ch.Close()
	<-r.ended
	for gone := false; !gone; time.Sleep(time.Millisecond) {
		r.k.mu.Lock()
		gone = r.k.ch == nil
		r.k.mu.Unlock()
	}
	again, _ := r.hand("alice", filepath.Join(dir, "alice"))
	if again("two"); r.starts != 2 || content(t, filepath.Join(dir, "alice")) != "one\ntwo\n" {
		t.Errorf("%d processes, mailbox %q", r.starts, content(t, filepath.Join(dir, "alice")))
	}
	_, theirs, err := proc.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if r.k.Hand(Box{User: "x", Path: filepath.Join(dir, "no", "such")}, theirs) == nil {
		t.Error("a mailbox in no folder was handed over")
	}
}

// Whatever comes over the channel, Serve goes on.
func TestOddOrders(t *testing.T) {
	r, dir := newRig(t), t.TempDir()
	ask, _ := r.hand("alice", filepath.Join(dir, "alice"))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, o := range []order{{}, {ID: 7}, {ID: 1, Err: "no"}, {ID: 9, Box: &Box{}}} {
		for n := range 3 {
			if err := r.k.tell(r.k.ch, o, []*os.File{null, null, null}[:n]...); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
	}
	if a := ask("still"); a != "alice alice" {
		t.Errorf("%q", a)
	}
}
