package doveconf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// probes returns the configurations of testdata/probes.txt; one that begins with
// ESC: has \r, \n, \t and \x escapes.
func probes(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/probes.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n====\n")
	for i, p := range list {
		if esc, ok := strings.CutPrefix(p, "ESC:"); ok {
			list[i], err = strconv.Unquote(`"` + strings.ReplaceAll(esc, `"`, `\"`) + `"`)
			if err != nil {
				t.Fatalf("%q: %v", p, err)
			}
			continue
		}
		list[i] = p + "\n"
	}
	return list
}

// original finds Dovecot 2.3's doveconf, or skips.
func original(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("doveconf")
	if err != nil {
		t.Skip("Dovecot's doveconf is not installed")
	}
	out, _ := exec.Command(path, "-n", "-c", "/dev/null").Output()
	if !bytes.HasPrefix(out, []byte("# 2.3.")) || bytes.Contains(out, []byte("(packetboat)")) {
		t.Skip("the installed doveconf is not that of Dovecot 2.3")
	}
	return path
}

// ofMachine are the lines that name the machine, or depend on what is installed.
var ofMachine = regexp.MustCompile(`(?m)^(# 2\.3|# Pigeonhole|# OS|# Hostname|managesieve_|doveconf: Hint).*\n`)

// unresolved is what a name gives that is none: which of the two texts depends on
// whether the machine's name servers can be asked.
var unresolved = regexp.MustCompile(`(gethostbyname\(\S+\) failed: )(?:Name or service not known|Temporary failure in name resolution)`)

// answer is what a doveconf says: exit code, settings, and the first line of
// its messages. The original stops at the first error.
func answer(code int, stdout, stderr []byte) string {
	first, _, _ := strings.Cut(ofMachine.ReplaceAllString(string(stderr), ""), "\n")
	first = unresolved.ReplaceAllString(first, "${1}no such name")
	return strconv.Itoa(code) + "\n" + ofMachine.ReplaceAllString(string(stdout), "") + "\n" + first
}

// TestProbes holds odd configurations against the original: quotes, comments,
// continued lines, includes, $names, sections, obsolete names, and the checks of
// settings together.
func TestProbes(t *testing.T) {
	path := original(t)
	dir := t.TempDir()
	var wait sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i, text := range probes(t) {
		conf := filepath.Join(dir, strconv.Itoa(i), "probe.conf")
		os.Mkdir(filepath.Dir(conf), 0o755)
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			compare(t, path, text, "-n", "-c", conf)
		})
	}
	wait.Wait()
}

func compare(t *testing.T, path, what string, args ...string) {
	var out, errs bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run()
	want := answer(cmd.ProcessState.ExitCode(), out.Bytes(), errs.Bytes())
	out.Reset()
	errs.Reset()
	code := Run(args, &out, &errs)
	if got := answer(code, out.Bytes(), errs.Bytes()); got != want {
		t.Errorf("%s %q:\n%s", args[:len(args)-2], what, diff(got, want))
	}
}

const sample = `protocols = imap
mail_location = maildir:~/Maildir
passdb {
  driver = pam
}
userdb {
  driver = passwd
}
namespace inbox {
  inbox = yes
  mailbox "Sent Messages" {
    auto = create
  }
}
plugin {
  quota = x
  a = b
}
service auth {
  unix_listener /var/x/y {
    mode = 0666
  }
}
protocol imap {
  mail_plugins = quota
}
dict {
  a = b
}
`

// TestOptions holds the options against the original. Lists of all services
// differ with the Sieve package, so those are asked for one by one.
func TestOptions(t *testing.T) {
	path := original(t)
	conf := filepath.Join(t.TempDir(), "d.conf")
	os.WriteFile(conf, []byte(sample), 0o644)
	for _, args := range []string{"-n", "-N", "-nP", "-nx", "-n -f protocol=imap", "-n -f service=lmtp", "-h mail_location", "mail_location",
		"service/imap/executable", "-h service/imap/executable", "passdb", "namespace", "namespace/inbox/prefix", "plugin", "plugin/quota", "-m imap -n", "-m imap",
		"-m auth -S", "-m auth", "-m lmtp", "-m nosuch -n", "-S mail_location", "-S service/imap", "-S service/auth", "-S -n -m mail", "nosuch", "-hn",
		"-h -f protocol=imap mail_plugins", "-d mail_location", "-d -m pop3", "-s -m mail", "dict", "dict/a"} {
		compare(t, path, args, append(strings.Fields(args), "-c", conf)...)
	}
}
