package queue

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"

	"pgregory.net/rapid"
)

func open(t testing.TB) *Queue {
	t.Helper()
	q, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// put commits a message and returns its id.
func put(t testing.TB, q *Queue, env *mail.Envelope, body string) string {
	t.Helper()
	w, err := q.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(env); err != nil {
		t.Fatal(err)
	}
	return w.ID()
}

func simple(rcpts ...mail.Address) *mail.Envelope {
	e := &mail.Envelope{Sender: "s@example.org", Arrived: time.UnixMicro(1795442791123456), UID: -1}
	for _, r := range rcpts {
		e.Rcpts = append(e.Rcpts, mail.Rcpt{Addr: r, State: mail.Pending})
	}
	return e
}

// text draws strings that are hard on a line format.
func text() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "\n", "\x00", " ", "%", "%0A", "a\nrcpt evil@x  0", "\nPBQ2 0000000000000000 00000001 00000000 00000000\n",
			strings.Repeat("x\n", 32<<10), "ö ü\r\n", "peer a b c", "\xff\xfe"}),
	)
}

func envelopes() *rapid.Generator[*mail.Envelope] {
	return rapid.Custom(func(t *rapid.T) *mail.Envelope {
		s := text()
		e := &mail.Envelope{
			Sender: mail.Address(s.Draw(t, "sender")), Body: mail.Body(rapid.Uint8Range(0, 3).Draw(t, "body")),
			SMTPUTF8: rapid.Bool().Draw(t, "utf8"), RequireTLS: rapid.Bool().Draw(t, "tls"), Verify: rapid.Bool().Draw(t, "v"),
			VerifyOnly: rapid.Bool().Draw(t, "bv"), Ret: s.Draw(t, "ret"), EnvID: s.Draw(t, "envid"), Filter: s.Draw(t, "filter"),
			Verp: s.Draw(t, "verp"), UID: rapid.Int().Draw(t, "uid"), MessageID: s.Draw(t, "msgid"),
			Arrived: time.UnixMicro(rapid.Int64Range(-1<<50, 1<<51).Draw(t, "arrived")),
		}
		if rapid.Bool().Draw(t, "zero time") {
			e.Arrived = time.Time{}
		}
		e.Peer = mail.Peer{
			Name: s.Draw(t, "name"), Port: rapid.Uint16().Draw(t, "port"), Helo: s.Draw(t, "helo"), Proto: s.Draw(t, "proto"),
			Service: s.Draw(t, "service"), TLS: s.Draw(t, "peertls"), SASL: s.Draw(t, "sasl"), User: s.Draw(t, "user"), SASLFrom: s.Draw(t, "from"),
			Addr: rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:1.2.3.4")}).Draw(t, "addr"),
		}
		if rapid.Bool().Draw(t, "forwarded") {
			e.Origin = mail.Origin{Name: s.Draw(t, "oname"), Addr: s.Draw(t, "oaddr"), Port: s.Draw(t, "oport"), Helo: s.Draw(t, "ohelo"),
				Proto: s.Draw(t, "oproto"), Ident: s.Draw(t, "oident"), Source: s.Draw(t, "osource")}
		}
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			e.Rcpts = append(e.Rcpts, mail.Rcpt{
				Addr: mail.Address(s.Draw(t, "rcpt")), Orig: mail.Address(s.Draw(t, "orig")), ORCPT: s.Draw(t, "orcpt"),
				Notify: mail.Notify(rapid.Uint8().Draw(t, "notify")),
				State:  rapid.SampledFrom([]mail.State{mail.Pending, mail.Done}).Draw(t, "state"),
			})
		}
		return e
	})
}

// same compares envelopes as they are after a trip to disk.
func same(a, b *mail.Envelope) bool {
	x, y := *a, *b
	if !x.Arrived.Equal(y.Arrived) {
		return false
	}
	x.Arrived, y.Arrived = time.Time{}, time.Time{}
	if len(x.Rcpts) == 0 && len(y.Rcpts) == 0 {
		x.Rcpts, y.Rcpts = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// TestRoundTrip: any envelope and any bytes come back as they were.
func TestRoundTrip(t *testing.T) {
	q := open(t)
	rapid.Check(t, func(t *rapid.T) {
		env := envelopes().Draw(t, "env")
		body := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "body")
		w, err := q.Create()
		if err != nil {
			t.Fatal(err)
		}
		w.Write(body)
		if err := w.Commit(env); err != nil {
			t.Fatal(err)
		}
		m, err := q.Load(w.ID(), Incoming)
		if err != nil {
			t.Fatal(err)
		}
		if !same(env, m.Env) || m.Size != int64(len(body)) {
			t.Fatalf("read %+v\nwrote %+v", m.Env, env)
		}
		c, err := q.OpenContent(w.ID(), Incoming)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c.Reader())
		c.Close()
		if !bytes.Equal(got, body) {
			t.Fatalf("content %q, wrote %q", got, body)
		}
		q.Remove(w.ID(), Incoming)
	})
}

// TestLarge: a message and an envelope larger than all buffers.
func TestLarge(t *testing.T) {
	q := open(t)
	env := simple()
	for i := range 5000 {
		env.Rcpts = append(env.Rcpts, mail.Rcpt{Addr: mail.Address(strings.Repeat("r", i%200) + "@example.org"), State: mail.Pending})
	}
	body := strings.Repeat("0123456789abcde\n", 40000)
	id := put(t, q, env, body)
	m, err := q.Load(id, Incoming)
	if err != nil || !same(env, m.Env) || m.Size != int64(len(body)) {
		t.Fatalf("load: %v", err)
	}
	if err := q.Mark(id, 4999, mail.Done); err != nil {
		t.Fatal(err)
	}
	m, _ = q.Load(id, Incoming)
	if m.Env.Rcpts[4999].State != mail.Done || m.Env.Rcpts[4998].State != mail.Pending {
		t.Fatal("wrong recipient marked")
	}
}

// TestID: ids are Postfix's and fit the inode.
func TestID(t *testing.T) {
	if id := makeID(time.Unix(0, 0x33FAF*1000), 0xCE); id != "33FAFCE" {
		t.Fatalf("id %s", id)
	}
	if id := makeID(time.Unix(0, 999999999), 0); id != "F423F0" || !ValidID(id) {
		t.Fatalf("id %s", id)
	}
	for _, bad := range []string{"", "12345", "../../etc/passwd", "33fafce", "33FAFCE/", "G3FAFCE", strings.Repeat("A", 22), "tmp.1.1"} {
		if ValidID(bad) {
			t.Errorf("%q is a valid id", bad)
		}
	}
	q := open(t)
	id := put(t, q, simple("a@b"), "x\n")
	st, err := disk.StatPath(q.Path(id, Incoming))
	if err != nil || !idFits(id, st.Ino) {
		t.Fatalf("%s does not fit %X", id, st.Ino)
	}
}

// TestStates walks a message through its life.
func TestStates(t *testing.T) {
	q := open(t)
	id := put(t, q, simple("a@b", "c@d"), "x\n")
	next := time.Unix(1800000000, 0)
	steps := []struct {
		name string
		do   func() error
		in   Folder
	}{
		{"active", func() error { return q.Move(id, Incoming, Active) }, Active},
		{"mark", func() error { return q.Mark(id, 1, mail.Done) }, Active},
		{"warned", func() error { return q.MarkWarned(id) }, Active},
		{"defer", func() error { return q.Defer(loaded(t, q, id), next, map[int]string{0: "no\nway ö", 7: ""}) }, Deferred},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if f, ok := q.Find(id); !ok || f != s.in {
			t.Fatalf("%s: in %v", s.name, f)
		}
	}
	m, err := q.Load(id, Deferred)
	if err != nil || !m.NextTry.Equal(next) || !m.Warned || m.Env.Rcpts[1].State != mail.Done || m.Env.Rcpts[0].State != mail.Pending {
		t.Fatalf("%+v %v", m, err)
	}
	if r := q.Reasons(id); r[0] != "no\nway ö" || len(r) != 2 {
		t.Fatalf("reasons %v", r)
	}
	if _, err := os.Stat(filepath.Join(q.Dir(), "deferred", id[:1], id)); err != nil {
		t.Fatal(err)
	}
	if ok, err := q.Expire(id); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, _ := q.Expire(id); ok {
		t.Fatal("expired twice")
	}
	if ok, err := q.Hold(id); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := q.Release(id); !ok || err != nil {
		t.Fatal(ok, err)
	}
	m, err = q.Load(id, Deferred)
	if err != nil || !m.Expire || time.Since(m.NextTry) > time.Minute {
		t.Fatalf("%+v %v", m, err)
	}
	if ok, err := q.Delete(id); !ok || err != nil || len(q.Reasons(id)) != 0 {
		t.Fatal(ok, err)
	}
	if _, err := q.Load(id, Deferred); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// errCrash stands for the end of the machine.
var errCrash = errors.New("crash")

// TestCrash stops the writer at each step of the state table in doc.go. Nothing
// that was not acknowledged may be half there afterwards, nothing that was may be
// missing.
func TestCrash(t *testing.T) {
	steps := []struct {
		step string
		left int // messages after Recover
	}{{"create", 0}, {"write", 0}, {"rename", 0}, {"fsync", 1}, {"dirsync", 1}, {"none", 1}}
	for _, s := range steps {
		t.Run(s.step, func(t *testing.T) {
			q := open(t)
			dead := false
			q.steps = func(step string) error {
				if dead || step == s.step {
					dead = true
					return errCrash // the dead clean up nothing
				}
				return nil
			}
			acked := false
			body := strings.Repeat("line of the message\n", 6000)
			if w, err := q.Create(); err == nil {
				w.WriteString(body)
				acked = w.Commit(simple("a@b")) == nil
			}
			q.steps = nil
			r, err := q.Recover()
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Ready) != s.left || acked && len(r.Ready) != 1 {
				t.Fatalf("acked %v, ready %v", acked, r.Ready)
			}
			for _, id := range r.Ready {
				if err := q.Check(id, Incoming); err != nil {
					t.Fatal(err)
				}
				m, err := q.Load(id, Incoming)
				if err != nil || m.Size != int64(len(body)) {
					t.Fatalf("half a message: %v", err)
				}
			}
			if names := list(t, filepath.Join(q.Dir(), "incoming")); len(names) != s.left {
				t.Fatalf("left behind: %v", names)
			}
		})
	}
}

// TestTorn: whatever a crash leaves of a file between its rename and its fsync,
// Recover names it as one to be checked, and Check sees that it is not whole.
func TestTorn(t *testing.T) {
	q := open(t)
	// The message holds what looks like the end of a queue file, where blocks end.
	fake := string(records(simple("root@x"))) + string([]byte{unwarned, byte(mail.Pending)})
	end := string(appendTrailer(nil, tail{off: 4096 - int64(trailerLen+len(fake)), rcpts: 1, sum: sum(records(simple("root@x")))}))
	body := strings.Repeat("x", 4096-len(fake)-len(end)) + fake + end + strings.Repeat("line of the message\n", 500)
	id := put(t, q, simple("a@b", "c@d"), body)
	path := q.Path(id, Incoming)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := q.Recover()
	if err != nil || len(r.Fresh) != 1 || q.Check(id, Incoming) != nil {
		t.Fatal(r, err)
	}
	torn := func(name string, b []byte) {
		os.WriteFile(path, b, 0o600)
		if _, ok := errors.AsType[*CorruptError](q.Check(id, Incoming)); !ok {
			t.Errorf("%s: unnoticed", name)
		}
	}
	for n := 0; n < len(whole); n += 512 {
		torn("cut", whole[:n])
		hole := bytes.Clone(whole)
		clear(hole[n:min(n+512, len(hole))])
		torn("hole", hole)
	}
	torn("nothing but zeros", make([]byte, len(whole)))
}

// TestCrashAfter stops the scheduler's part after each of its steps.
func TestCrashAfter(t *testing.T) {
	life := []func(q *Queue, id string) error{
		func(q *Queue, id string) error { return q.Move(id, Incoming, Active) },
		func(q *Queue, id string) error { return q.Mark(id, 0, mail.Done) },
		func(q *Queue, id string) error { return os.Chtimes(q.Path(id, Active), time.Time{}, time.Now()) },
		func(q *Queue, id string) error { return q.note(loaded(t, q, id), map[int]string{1: "x"}) },
		func(q *Queue, id string) error { return q.Move(id, Active, Deferred) },
	}
	for n := range len(life) + 1 {
		q := open(t)
		id := put(t, q, simple("a@b", "c@d"), "x\n")
		for _, step := range life[:n] {
			if err := step(q, id); err != nil {
				t.Fatal(err)
			}
		}
		r, err := q.Recover()
		if err != nil {
			t.Fatal(err)
		}
		where, folder := len(r.Ready), Incoming
		if n == len(life) {
			where, folder = len(r.Waiting), Deferred
		}
		m, err := q.Load(id, folder)
		if where != 1 || err != nil {
			t.Fatalf("after %d steps: %+v %v", n, r, err)
		}
		if done := m.Env.Rcpts[0].State == mail.Done; done != (n >= 2) {
			t.Fatalf("after %d steps: done %v", n, done)
		}
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// TestDiskFull: a failure at any step is a temporary status, and leaves nothing.
func TestDiskFull(t *testing.T) {
	for _, step := range []string{"create", "write", "fsync", "rename", "dirsync"} {
		q := open(t)
		q.steps = func(s string) error {
			if s == step {
				return errors.New("no space left on device")
			}
			return nil
		}
		w, err := q.Create()
		if err == nil {
			w.WriteString(strings.Repeat("x", bufSize+1))
			err = w.Commit(simple("a@b"))
		}
		s, ok := errors.AsType[*mail.Status](err)
		if !ok || !s.Temporary() || s.Code != "4.3.1" || s.Reply != 452 || !strings.Contains(err.Error(), "no space") {
			t.Errorf("%s: %v", step, err)
		}
		if names := list(t, filepath.Join(q.Dir(), "incoming")); len(names) != 0 {
			t.Errorf("%s left %v", step, names)
		}
	}
}

// TestLinks: what an enemy put into a folder is not opened.
func TestLinks(t *testing.T) {
	q := open(t)
	id := put(t, q, simple("a@b"), "x\n")
	victim := filepath.Join(q.Dir(), "victim")
	if err := os.Rename(q.Path(id, Incoming), victim); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, q.Path(id, Incoming)); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Load(id, Incoming); err == nil {
		t.Fatal("followed a symbolic link")
	}
	os.Remove(q.Path(id, Incoming))
	if err := os.Link(victim, q.Path(id, Incoming)); err != nil {
		t.Fatal(err)
	}
	if _, err := q.OpenContent(id, Incoming); err == nil {
		t.Fatal("followed a hard link")
	}
	for _, bad := range []string{"../victim", "", "victim"} {
		if _, err := q.Load(bad, Incoming); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(bad, err)
		}
		if q.Remove(bad, Incoming) == nil || q.Move(bad, Incoming, Hold) == nil {
			t.Fatal(bad)
		}
	}
}

// TestCorrupt: each damaged byte behind the message is noticed, none panics.
func TestCorrupt(t *testing.T) {
	q := open(t)
	id := put(t, q, simple("a@b", "c@d"), "x\n")
	path := q.Path(id, Incoming)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; i < len(whole); i++ {
		b := bytes.Clone(whole)
		b[i] ^= 0x15
		os.WriteFile(path, b, 0o600)
		if _, err := q.Load(id, Incoming); err == nil {
			t.Errorf("byte %d of %q changed unnoticed", i, b)
		} else if _, ok := errors.AsType[*CorruptError](err); !ok {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for n := range whole {
		os.WriteFile(path, whole[:n], 0o600)
		if _, err := q.Load(id, Incoming); err == nil {
			t.Errorf("cut at %d unnoticed", n)
		}
	}
	if err := q.SetAside(id, Incoming); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(q.Dir(), "corrupt", id)); err != nil {
		t.Fatal(err)
	}
}

// TestRename: a queue that was copied gets names of its own inodes.
func TestRename(t *testing.T) {
	q := open(t)
	id := put(t, q, simple("a@b"), "x\n")
	q.Move(id, Incoming, Active)
	q.Defer(loaded(t, q, id), time.Now(), map[int]string{0: "why"})
	b, _ := os.ReadFile(q.Path(id, Deferred))
	other := "0000" + "1" + "FFFFFFF"
	os.MkdirAll(filepath.Join(q.Dir(), "deferred", "0"), 0o700)
	if err := os.WriteFile(q.Path(other, Deferred), b, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := q.Recover()
	if err != nil || len(r.Renamed) != 1 || len(r.Waiting) != 2 {
		t.Fatalf("%+v %v", r, err)
	}
	if _, err := q.Load(r.Renamed[0][1], Deferred); err != nil {
		t.Fatal(err)
	}
	if q.Reasons(id)[0] != "why" {
		t.Fatal("reasons of the other message are gone")
	}
}

// TestConcurrent: many writers at once, each message whole, no id twice.
func TestConcurrent(t *testing.T) {
	q := open(t)
	var mu sync.Mutex
	ids := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 25 {
				id := put(t, q, simple("a@b"), "body\n")
				mu.Lock()
				ids[id] = true
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	n := 0
	q.Scan(Incoming, func(id string, _ Info) error { n++; return nil })
	if len(ids) != 200 || n != 200 {
		t.Fatalf("%d ids, %d files", len(ids), n)
	}
}

// FuzzRead: the reader takes any file without a panic, and what it takes it can
// write again.
func FuzzRead(f *testing.F) {
	q := open(f)
	for _, env := range []*mail.Envelope{simple("a@b"), simple(), simple("x y@z", "")} {
		id := put(f, q, env, "x\n")
		b, _ := os.ReadFile(q.Path(id, Incoming))
		f.Add(b)
	}
	f.Add([]byte("\nPBQ2 0000000000000000 7fffffff 00000000 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		env, tl, _, err := readEnvelope(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if len(env.Rcpts) != tl.rcpts {
			t.Fatal("recipients")
		}
		again, err := parseRecords(records(env), tail{rcpts: len(env.Rcpts), sum: sum(records(env))})
		if err != nil {
			t.Fatal(err)
		}
		for i := range again.Rcpts {
			again.Rcpts[i].State = env.Rcpts[i].State
		}
		if !same(env, again) {
			t.Fatalf("%+v\n%+v", env, again)
		}
	})
}
