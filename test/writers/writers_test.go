// Package writers lets eight kinds of programs write to one mbox at once: our LMTP
// service with its deliver, procmail, maildrop, mutt, Python's mailbox.mbox, a shell
// script with formail and lockfile, a real Dovecot's dovecot-lda, and our IMAP with
// APPEND and EXPUNGE. No message may be lost, doubled or torn, what was expunged stays
// away, and all readers must count the same.
package writers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// few is how many messages all writers bring together in make test; make peers sets
// PACKETBOAT_WRITERS to 10,000.
const few = 96

// owner is the account mail, which every Debian has: the mailbox is its.
const owner = 8

// hall is where it happens.
type hall struct {
	t    *testing.T
	dir  string
	box  string
	imap string // port
	lmtp string
	n    map[string]int // messages of each writer

	mu   sync.Mutex
	turn *sync.Cond         // done has changed
	done map[string]float64 // how far each writer that is at work has come, from 0 to 1
	want map[string]bool    // by id; false = it was expunged
}

// shares are the writers' parts of a thousand messages. Those whose locks wait in whole seconds
// bring less, and nobody runs far ahead of the slowest (ahead), so that all are at work
// to the end: without it the quick ones were through before mutt had its first lock.
var shares = map[string]int{"deliver": 304, "python": 304, "imap": 304, "formail": 40, "procmail": 20, "dovecot": 20, "maildrop": 4, "mutt": 4}

// ahead is by how much of its work a writer may be ahead of the slowest.
const ahead = 0.1

// wait lets the nth message of a writer go when the others have come so far.
func (h *hall) wait(kind string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done[kind] = float64(n) / float64(h.n[kind])
	h.turn.Broadcast()
	for h.done[kind] > h.slowest()+ahead {
		h.turn.Wait()
	}
}

func (h *hall) slowest() float64 {
	least := 1.0
	for _, d := range h.done {
		least = min(least, d)
	}
	return least
}

// leave takes a writer out: it has ended, well or badly.
func (h *hall) leave(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.done, kind)
	h.turn.Broadcast()
}

// files are the configurations of mrad and of dovecot-lda, and what programs read.
var files = map[string]string{
	"mrad.conf": `base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
default_login_user = nobody
mail_location = mbox:~/mail:INBOX=DIR/spool/box
lmtp_add_received_header = no
service imap-login {
  inet_listener imap {
    port = IMAP
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    port = LMTP
  }
}
passdb {
  driver = passwd-file
  args = DIR/users
}
userdb {
  driver = passwd-file
  args = DIR/users
}
`,
	"users": "u:{PLAIN}p:8:8::DIR/home\n",
	"lda.conf": `base_dir = DIR/lda
log_path = DIR/home/lda.log
stats_writer_socket_path =
mail_location = mbox:DIR/home/dmail:INBOX=DIR/spool/box:INDEX=MEMORY
first_valid_uid = 1
ssl = no
protocols =
mbox_lock_timeout = 5 secs
`,
	"filter": "LOCKSLEEP=1\nto \"DIR/spool/box\"\n",
	"muttrc": `set record=DIR/spool/box
set copy=yes
set sendmail=/bin/true
set use_from=no
set folder=DIR/home
set header_cache=""
set signature=""
set edit_headers=yes
`,
	"append": "set -e\nf=$(mktemp -p DIR/home)\nformail -f -I 'X-Passed: formail' > $f\nlockfile -1 -r 600 DIR/spool/box.lock\n" +
		"(echo \"From s@example.org $(date '+%a %b %e %H:%M:%S %Y')\"; sed 's/^>*From />&/'; echo) < $f >> DIR/spool/box\nrm -f DIR/spool/box.lock $f\n",
	"add.py": `import mailbox, sys, time
for name in iter(sys.stdin.readline, ''):
    name = name.strip()
    with open(name, 'rb') as f:
        m = f.read()
    box = mailbox.mbox(sys.argv[1])
    while True:
        try:
            box.lock()
            break
        except mailbox.ExternalClashError:
            time.sleep(0.02)
    box.add(m)
    box.flush()
    box.unlock()
    box.close()
    print(name, flush=True)
`,
	"count.py": "import mailbox, sys\nprint(len(mailbox.mbox(sys.argv[1], create=False)))\n",
}

func newHall(t *testing.T) *hall {
	h := &hall{t: t, dir: oracle.Folder(t), imap: oracle.Port(t), lmtp: oracle.Port(t), want: map[string]bool{}, n: map[string]int{}, done: map[string]float64{}}
	h.turn = sync.NewCond(&h.mu)
	h.box = h.dir + "/spool/box"
	total := few
	if v, err := strconv.Atoi(os.Getenv("PACKETBOAT_WRITERS")); err == nil {
		total = v
	}
	for kind, share := range shares {
		h.n[kind] = max(total*share/1000, 2)
	}
	for _, d := range []string{"run", "state", "spool", "home", "home/mail", "home/dmail", "lda"} {
		os.MkdirAll(filepath.Join(h.dir, d), 0o755)
		os.Chown(filepath.Join(h.dir, d), owner, owner)
	}
	fill := strings.NewReplacer("DIR", h.dir, "IMAP", h.imap, "LMTP", h.lmtp)
	for name, text := range files {
		path := filepath.Join(h.dir, name)
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chown(path, owner, owner)
	}
	os.WriteFile(h.box, h.first(), 0o600)
	os.Chown(h.box, owner, owner)
	return h
}

// first is the mailbox before anybody writes: one message that has a UID. In an empty
// one Dovecot and we would each choose a UIDVALIDITY, and whose comes into the file
// second ends the sessions of the other.
func (h *hall) first() []byte {
	h.told("first.0", true)
	head, body, _ := bytes.Cut(message("first.0", false), []byte("\n\n"))
	return fmt.Appendf(nil, "From s@example.org Mon Jan  1 00:00:00 2024\n%s\nX-IMAPbase: 1704067200 0000000001\nX-UID: 1\nStatus: O\n\n%s\n", head, body)
}

// as makes a command run as the owner of the mailbox.
func (h *hall) as(ctx context.Context, in []byte, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Stdin = h.dir+"/home", bytes.NewReader(in)
	c.Env = []string{"HOME=" + h.dir + "/home", "USER=mail", "LOGNAME=mail", "PATH=/usr/local/bin:/usr/bin:/bin", "TERM=dumb", "LANG=C.UTF-8"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner, Gid: owner}}
	return c
}

// message makes a message whose body can be known again. from lets lines of the body
// look like the begin of a message: only for writers that quote them.
func message(id string, from bool) []byte {
	r := rand.New(rand.NewPCG(uint64(len(id)), uint64(sha1.Sum([]byte(id))[0])))
	var lines []string
	for range []int{1, 3, 20, 200}[r.IntN(4)] {
		lines = append(lines, []string{"text " + id, ".", "..", "", " From indented", strings.Repeat("x", 300), "8bit ä ✓"}[r.IntN(7)])
		if from && r.IntN(3) == 0 {
			lines = append(lines, "", "From a@b Mon Jan  1 00:00:00 2024", ">From quoted", "From here to there")
		}
	}
	lines = append(lines, "end of "+id)
	return fmt.Appendf(nil, "From: a@example.org\nTo: u@example.org\nSubject: chk %s\nDate: Mon, 01 Jan 2024 00:00:00 +0000\nMessage-ID: <%s@chk>\nMIME-Version: 1.0\n"+
		"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nX-Chk-Id: %s\nX-Chk-Sum: %s\n\n%s\n", id, id, id, bodySum(lines), strings.Join(lines, "\n"))
}

// bodySum is over the lines without quotes of From_ and without empty ones at the end.
func bodySum(lines []string) string {
	var out []string
	for _, l := range lines {
		if rest := strings.TrimLeft(l, ">"); strings.HasPrefix(rest, "From ") {
			l = rest
		}
		out = append(out, strings.TrimSuffix(l, "\r"))
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return fmt.Sprintf("%x", sha1.Sum([]byte(strings.Join(out, "\n"))))
}

// told notes a message that a program said it had written.
func (h *hall) told(id string, there bool) {
	h.mu.Lock()
	h.want[id] = there
	h.mu.Unlock()
}

// patience is how long a message may be tried again: programs say that they could not
// get the lock.
const patience = 5 * time.Minute

// each runs a program for each message, again when it fails, as an MTA does.
func (h *hall) each(kind string, from bool, command func(ctx context.Context, m []byte, n int) *exec.Cmd) error {
	for n := range h.n[kind] {
		h.wait(kind, n)
		id := fmt.Sprintf("%s.%d", kind, n)
		m := message(id, from)
		var out []byte
		err := fmt.Errorf("not tried")
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			ctx, cancel := context.WithTimeout(h.t.Context(), patience)
			out, err = command(ctx, m, n).CombinedOutput()
			cancel()
			if err == nil && kind == "mutt" && !h.holds(id) {
				err = errors.New("mutt ended with success and wrote nothing") // it could not lock, and did not mind
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %v: %s", id, err, out)
		}
		h.told(id, true)
	}
	return nil
}

// holds tells whether a message is in the mailbox.
func (h *hall) holds(id string) bool {
	b, err := os.ReadFile(h.box)
	return err == nil && bytes.Contains(b, []byte("\nX-Chk-Id: "+id+"\n"))
}

// writers are the eight kinds.
func (h *hall) writers() map[string]func() error {
	return map[string]func() error{
		"deliver": h.deliver,
		"procmail": func() error {
			return h.each("procmail", true, func(ctx context.Context, m []byte, _ int) *exec.Cmd {
				return h.as(ctx, m, "procmail", "-f", "s@example.org", "DEFAULT="+h.box, "LOCKSLEEP=1", "/dev/null")
			})
		},
		"maildrop": func() error {
			return h.each("maildrop", true, func(ctx context.Context, m []byte, _ int) *exec.Cmd { return h.as(ctx, m, "maildrop", h.dir+"/filter") })
		},
		"mutt": func() error {
			return h.each("mutt", false, func(ctx context.Context, m []byte, n int) *exec.Cmd {
				draft := fmt.Sprintf("%s/home/draft%d", h.dir, n)
				os.WriteFile(draft, m, 0o644)
				return h.as(ctx, nil, "mutt", "-n", "-F", h.dir+"/muttrc", "-H", draft)
			})
		},
		"python": h.python,
		"formail": func() error {
			return h.each("formail", true, func(ctx context.Context, m []byte, _ int) *exec.Cmd { return h.as(ctx, m, "sh", h.dir+"/append") })
		},
		"dovecot": func() error {
			return h.each("dovecot", false, func(ctx context.Context, m []byte, _ int) *exec.Cmd {
				return h.as(ctx, m, "/usr/lib/dovecot/dovecot-lda", "-c", h.dir+"/lda.conf", "-f", "s@example.org")
			})
		},
		"imap": h.imapWriter,
	}
}

// deliver brings messages over LMTP to mrad, which gives them to our deliver.
func (h *hall) deliver() error {
	c, err := net.Dial("tcp4", "127.0.0.1:"+h.lmtp)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	answer := func() (string, error) {
		c.SetDeadline(time.Now().Add(10 * time.Minute))
		for {
			l, err := r.ReadString('\n')
			if err != nil || len(l) < 4 || l[3] != '-' {
				return l, err
			}
		}
	}
	answer()
	fmt.Fprint(c, "LHLO x\r\n")
	answer()
	end := time.Now().Add(patience)
	for n := 0; n < h.n["deliver"]; {
		h.wait("deliver", n)
		id := fmt.Sprintf("deliver.%d", n)
		body := bytes.ReplaceAll(message(id, true), []byte("\n"), []byte("\r\n"))
		body = bytes.ReplaceAll(body, []byte("\r\n."), []byte("\r\n.."))
		fmt.Fprintf(c, "MAIL FROM:<s@example.org>\r\nRCPT TO:<u>\r\nDATA\r\n%s.\r\n", body)
		var last string
		for range 4 {
			if last, err = answer(); err != nil {
				return err
			}
		}
		if !strings.HasPrefix(last, "250 ") {
			if time.Now().After(end) {
				return fmt.Errorf("%s: %s", id, last)
			}
			continue
		}
		h.told(id, true)
		n, end = n+1, time.Now().Add(patience)
	}
	return nil
}

// python adds all messages with one process, a lock for each: it is told a file's name
// and says it again when the message is in the mailbox.
func (h *hall) python() error {
	c := h.as(h.t.Context(), nil, "/usr/bin/python3", h.dir+"/add.py", h.box)
	c.Stdin = nil
	in, err1 := c.StdinPipe()
	out, err2 := c.StdoutPipe()
	var trouble bytes.Buffer
	c.Stderr = &trouble
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		return err
	}
	r := bufio.NewReader(out)
	for n := range h.n["python"] {
		h.wait("python", n)
		id := fmt.Sprintf("python.%d", n)
		path := fmt.Sprintf("%s/home/py%d", h.dir, n)
		os.WriteFile(path, message(id, true), 0o644)
		fmt.Fprintln(in, path)
		if l, err := r.ReadString('\n'); err != nil || strings.TrimSpace(l) != path {
			c.Wait()
			return fmt.Errorf("python: %q %v: %.500s", l, err, trouble.String())
		}
		h.told(id, true)
	}
	in.Close()
	return c.Wait()
}

// imapWriter appends messages over our IMAP and expunges every other one.
func (h *hall) imapWriter() error {
	c, err := net.Dial("tcp4", "127.0.0.1:"+h.imap)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	r.ReadString('\n')
	do := func(cmd string) (string, error) {
		c.SetDeadline(time.Now().Add(10 * time.Minute))
		fmt.Fprintf(c, "a %s\r\n", cmd)
		for {
			l, err := r.ReadString('\n')
			if err != nil || strings.HasPrefix(l, "a ") {
				return l, err
			}
		}
	}
	if l, err := do("LOGIN u p"); err != nil || !strings.HasPrefix(l, "a OK") {
		return fmt.Errorf("login: %s %v", l, err)
	}
	if l, err := do("SELECT INBOX"); err != nil || !strings.HasPrefix(l, "a OK") {
		return fmt.Errorf("select: %s %v", l, err)
	}
	end := time.Now().Add(patience)
	for n := 0; n < h.n["imap"]; {
		h.wait("imap", n)
		id := fmt.Sprintf("imap.%d", n)
		m := bytes.ReplaceAll(message(id, true), []byte("\n"), []byte("\r\n"))
		l, err := do(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(m), m))
		if err != nil {
			return err
		}
		_, code, ok := strings.Cut(l, "[APPENDUID ")
		if !ok {
			if time.Now().After(end) {
				return fmt.Errorf("%s: %s", id, l)
			}
			continue
		}
		h.told(id, true)
		n, end = n+1, time.Now().Add(patience)
		if n%2 == 0 {
			continue
		}
		uid := strings.Fields(strings.Replace(code, "]", " ", 1))[1]
		for _, cmd := range []string{"UID STORE " + uid + " +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE " + uid} {
			if l, err := do(cmd); err != nil || !strings.HasPrefix(l, "a OK") {
				return fmt.Errorf("%s of %s: %s %v", cmd, id, l, err)
			}
		}
		h.told(id, false)
	}
	_, err = do("LOGOUT")
	return err
}

// check reads the mailbox as it stands: every message once and whole.
func (h *hall) check() (count int) {
	b, err := os.ReadFile(h.box)
	if err != nil {
		h.t.Fatal(err)
	}
	seen := map[string]int{}
	for _, m := range split(string(b)) {
		head, body, ok := strings.Cut(m, "\n\n")
		id, sum := field(head, "X-Chk-Id: "), field(head, "X-Chk-Sum: ")
		if !ok || id == "" {
			h.t.Errorf("a message of nobody's: %.200q", m)
			continue
		}
		seen[id]++
		count++
		if got := bodySum(strings.Split(body, "\n")); got != sum {
			h.t.Errorf("%s is torn: %.300q", id, m)
		}
	}
	for id, there := range h.want {
		if n := seen[id]; there && n != 1 || !there && n != 0 {
			h.t.Errorf("%s is there %d times, expunged: %v", id, n, !there)
		}
		delete(seen, id)
	}
	for id := range seen {
		if _, known := h.want[id]; !known {
			h.t.Errorf("%s is there, and nobody said so", id)
		}
	}
	return count
}

// split cuts an mbox at From_ lines behind an empty line: no body here holds one.
func split(s string) []string {
	var list []string
	for s != "" {
		i := strings.Index(s, "\n\nFrom ")
		if i < 0 {
			return append(list, s)
		}
		list, s = append(list, s[:i+1]), s[i+2:]
	}
	return list
}

func field(head, name string) string {
	_, rest, ok := strings.Cut("\n"+head, "\n"+name)
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, "\n")
	return v
}

// readers counts the messages as other programs do.
func (h *hall) readers() map[string]string {
	ctx := h.t.Context()
	count := func(c *exec.Cmd) string {
		out, err := c.Output()
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(out))
	}
	raw, err := os.ReadFile(h.box)
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]string{
		"python":  count(h.as(ctx, nil, "/usr/bin/python3", h.dir+"/count.py", h.box)),
		"formail": strconv.Itoa(len(strings.Fields(count(h.as(ctx, raw, "formail", "-s", "wc", "-c"))))),
		"dovecot": count(h.as(ctx, []byte("a STATUS INBOX (MESSAGES)\r\nb LOGOUT\r\n"), "/usr/lib/dovecot/imap", "-c", h.dir+"/lda.conf")),
	}
	if _, rest, ok := strings.Cut(out["dovecot"], "(MESSAGES "); ok {
		out["dovecot"], _, _ = strings.Cut(rest, ")")
	}
	c, err := net.Dial("tcp4", "127.0.0.1:"+h.imap)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "a LOGIN u p\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n")
	all, _ := io.ReadAll(c)
	_, rest, _ := strings.Cut(string(all), "(MESSAGES ")
	out["mrad"], _, _ = strings.Cut(rest, ")")
	return out
}

// TestWriters is the whole of it.
func TestWriters(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: procmail, Dovecot and the others run as the account mail")
	}
	mrad := oracle.Built(t, "mrad")
	h := newHall(t)
	cmd := exec.Command(mrad, "-F", "-c", h.dir+"/mrad.conf")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	if !oracle.Await(func() bool { return oracle.Answers("127.0.0.1:"+h.imap, "127.0.0.1:"+h.lmtp) }) {
		b, _ := os.ReadFile(h.dir + "/log")
		t.Fatalf("mrad does not answer:\n%s", b)
	}
	programs := map[string]string{"procmail": "procmail", "maildrop": "maildrop", "mutt": "mutt", "python": "/usr/bin/python3", "formail": "formail", "dovecot": "/usr/lib/dovecot/dovecot-lda"}
	var wg sync.WaitGroup
	begun := time.Now()
	for name := range shares {
		h.done[name] = 0
	}
	for name, write := range h.writers() {
		if p := programs[name]; p != "" {
			if _, err := exec.LookPath(p); err != nil {
				t.Logf("%s is not installed: the others go on without it", p)
				h.leave(name)
				continue
			}
		}
		wg.Go(func() {
			defer h.leave(name)
			if err := write(); err != nil {
				t.Error(err)
			}
			t.Logf("%s: %d messages in %v", name, h.n[name], time.Since(begun).Round(time.Millisecond))
		})
	}
	wg.Wait()
	n := h.check()
	for name, got := range h.readers() {
		if got != strconv.Itoa(n) && !strings.Contains(got, "no such file") && !strings.Contains(got, "not found") {
			t.Errorf("%s counts %s messages, there are %d", name, got, n)
		}
	}
	h.mboxcheck(n)
	if t.Failed() {
		b, _ := os.ReadFile(h.dir + "/log")
		t.Logf("mrad's log:\n%s", b)
	}
}

// mboxcheck asks the project's own checker, where it is.
func (h *hall) mboxcheck(n int) {
	script, err := filepath.Abs("../../../shared/mboxcheck/mboxcheck.py")
	if _, serr := os.Stat(script); err != nil || serr != nil {
		h.t.Log("../shared is not here: mboxcheck.py was not asked")
		return
	}
	var there, gone strings.Builder
	for id, ok := range h.want {
		if ok {
			there.WriteString(id + "\n")
		} else {
			gone.WriteString(id + "\n")
		}
	}
	os.WriteFile(h.dir+"/there", []byte(there.String()), 0o644)
	os.WriteFile(h.dir+"/gone", []byte(gone.String()), 0o644)
	out, err := exec.Command("/usr/bin/python3", script, h.box, "--expect", h.dir+"/there", "--absent", h.dir+"/gone").CombinedOutput()
	h.t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d messages, %d ids, 0 lost, 0 duplicated", n, n)) {
		h.t.Errorf("mboxcheck: %v", err)
	}
}
