package local

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/srs"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// forwards gives users .forward files with this text.
func forwards(t *testing.T, files map[string]string) func(*Options) {
	dir := t.TempDir()
	return func(o *Options) {
		o.Expander.Forward = func(_ context.Context, q alias.ForwardQuery) (*alias.ForwardFile, error) {
			text, ok := files[q.User]
			switch {
			case strings.HasPrefix(q.User, "no"):
				return nil, proc.ErrNoUser
			case q.User == "odd":
				return nil, &disk.UntrustedError{Path: "/home/odd/.forward", Why: "is world writable"}
			case q.User == "homeless":
				return nil, mail.Defer("4.3.0", "cannot access home directory /x: gone")
			case q.User == "slow":
				return nil, os.ErrDeadlineExceeded
			case !ok:
				return nil, fs.ErrNotExist
			}
			path := filepath.Join(dir, q.User)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Error(err)
			}
			f, err := os.Open(path)
			return &alias.ForwardFile{File: f, Path: "/home/" + q.User + "/.forward", UID: 1000}, err
		}
	}
}

func TestDotForward(t *testing.T) {
	w := newWorld(t, map[string]string{"al": "cmd"}, forwards(t, map[string]string{"cmd": "\"|/bin/prog\"\n", "file": "~/box\n",
		"empty": "# \n", "self": "self\n", "abroad": "x@far.test, y@far.test\n", "bad": "~else/box\n"}))
	for to, want := range map[string]string{
		"cmd": "delivered to command: /bin/prog", "al": "delivered to command: /bin/prog", "file": "delivered to file: /home/file/box",
		"empty": "delivered to mailbox", "self": "delivered to mailbox", "plain": "delivered to mailbox", "odd": "delivered to mailbox",
		"homeless": "cannot access home directory /x: gone", "slow": "user lookup error", "nobody": `unknown user: "nobody"`,
		"bad": "mail system configuration error",
	} {
		job, res := w.job(to + "@localhost")
		w.l.Deliver(context.Background(), job)
		if res[0].Status.Text != want {
			t.Errorf("%s: %s, want %s", to, res[0].Status.Text, want)
		}
	}
	for _, c := range w.s.commands {
		if c.Via != ViaForward || c.Query.User != "cmd" || w.s.cmdWho.User != "cmd" {
			t.Errorf("%+v as %+v", c, w.s.cmdWho)
		}
	}
	if !strings.Contains(w.log.String(), "file /home/odd/.forward is world writable") {
		t.Error(w.log.String())
	}
}

// TestMailboxCommand: it takes the place of the mailbox, as the user.
func TestMailboxCommand(t *testing.T) {
	w := newWorld(t, nil, func(o *Options) {
		o.MailboxCommand, o.CommandMaps = "/bin/lda -a", []string{"inline:{carol=/bin/special}"}
	})
	for user, argv := range map[string]string{"alice": "/bin/lda -a", "carol": "/bin/special"} {
		w.deliver(user + "@localhost")
		c := w.s.commands[len(w.s.commands)-1]
		if c.Via != ViaMailbox || w.s.cmdWho.User != user || strings.Join(c.Argv, " ") != argv {
			t.Errorf("%s: %+v", user, c)
		}
	}
	if s := w.deliver("nosuch@localhost"); !strings.Contains(s, "unknown user") {
		t.Error(s)
	}
}

// TestSRS: what leaves has a sender of ours, whose bounces find back.
func TestSRS(t *testing.T) {
	r := &srs.Rewriter{Domain: "localhost", Secret: []byte("0123456789abcdef"), Now: time.Now}
	w := newWorld(t, map[string]string{"out": "x@far.test", "in": "alice, x@far.test"}, func(o *Options) { o.SRS = r })
	job, _ := w.job("out@localhost")
	job.Env.Sender = "stranger@else.test"
	w.l.Deliver(context.Background(), job)
	env := w.envs[w.queued[0]]
	if !r.Mine(env.Sender) {
		t.Fatalf("sender %s", env.Sender)
	}
	if s := w.deliver(string(env.Sender)); !strings.Contains(s, "forwarded as") {
		t.Fatal(s)
	}
	if back := w.envs[w.queued[1]].Rcpts[0].Addr; back != "stranger@else.test" {
		t.Errorf("back to %s", back)
	}
	if s := w.deliver("SRS0=aaaaaaaa=aa=else.test=victim@localhost"); !strings.Contains(s, "5.1.1") || len(w.queued) != 2 {
		t.Error(s)
	}
	for _, sender := range []mail.Address{"", "alice@localhost"} {
		job, _ := w.job("out@localhost")
		job.Env.Sender = sender
		w.l.Deliver(context.Background(), job)
		if got := w.envs[w.queued[len(w.queued)-1]].Sender; got != sender {
			t.Errorf("%q became %q", sender, got)
		}
	}
}

func TestStatusFilter(t *testing.T) {
	for spec, want := range map[string]string{
		"static:2.7.7 fine":  "local dsn=2.7.7, status=sent (fine)",
		"static:5.0.0 never": "local dsn=2.0.0, status=sent (delivered to mailbox)", // a success stays one
		"static:nonsense":    "local dsn=2.0.0, status=sent (delivered to mailbox)",
	} {
		w := newWorld(t, nil, func(o *Options) { o.StatusFilter = []string{spec} })
		if got := w.deliver("alice@localhost"); got != want {
			t.Errorf("%s: %s", spec, got)
		}
	}
	w := newWorld(t, nil, func(o *Options) { o.StatusFilter = []string{"static:4.2.1 not yet"} })
	if got := w.deliver("nosuch@localhost"); got != "local dsn=4.2.1, status=deferred (not yet)" {
		t.Error(got)
	}
}
