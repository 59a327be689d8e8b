package doveadm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// TestOriginal runs commands through Dovecot's doveadm and through ours, each on
// mail of its own that began alike, and holds output and exit codes against each
// other. Both ask the same Dovecot, which listens to no port, for their users.
func TestOriginal(t *testing.T) {
	dovecot, err := exec.LookPath("dovecot")
	real, err2 := exec.LookPath("doveadm")
	if err != nil || err2 != nil {
		t.Skip("Dovecot is not installed")
	}
	if os.Geteuid() != 0 {
		t.Skip("Dovecot is started by root")
	}
	if out, err := exec.Command(dovecot, "--version").Output(); err != nil || !strings.HasPrefix(string(out), "2.3.") {
		t.Skipf("the Dovecot here is none of 2.3: %s", out)
	}
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	conf := filepath.Join(dir, "dovecot.conf")
	os.WriteFile(conf, []byte("base_dir = "+dir+"/run\nstate_dir = "+dir+"/state\nlog_path = "+dir+"/log\nprotocols =\nssl = no\n"+
		"mail_location = mbox:~/mail:INBOX=~/inbox\nfirst_valid_uid = 5000\nfirst_valid_gid = 0\nmail_privileged_group =\n"+
		"namespace inbox {\n  inbox = yes\n  separator = /\n}\n"+
		"passdb {\n  driver = passwd-file\n  args = "+dir+"/users\n}\nuserdb {\n  driver = passwd-file\n  args = "+dir+"/users\n}\n"), 0o644)
	users := ""
	for _, u := range []string{"anna1", "anna2"} {
		home := filepath.Join(dir, u)
		users += u + ":{PLAIN}secret:5001:5001::" + home + "::\n"
		os.MkdirAll(home+"/mail/Lists", 0o700)
		for _, f := range []string{"inbox", "mail/Sent", "mail/Lists/dev"} {
			os.WriteFile(filepath.Join(home, f), []byte(twoMails), 0o600)
		}
		if err := exec.Command("chown", "-R", "5001:5001", home).Run(); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(dir+"/users", []byte(users), 0o644)
	startDovecot(t, dovecot, conf, dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(sameCommands), "\n") {
		words := strings.Fields(strings.ReplaceAll(line, "USER", "anna1"))
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "+", " ")
		}
		want := runProgram(real, "doveadm", append([]string{"-c", conf}, words...))
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "anna1", "anna2")
		}
		got := runProgram(self, "doveadm", append([]string{"-c", conf}, words...))
		got = strings.ReplaceAll(got, "anna2", "anna1")
		if plain(got) != plain(want) {
			t.Errorf("%s\n--- Dovecot\n%s--- ours\n%s", line, want, got)
		}
	}
}

// sameCommands are the commands; "+" stands for a space in an argument.
// The users' names are in no mail, so that they are the only difference.
const sameCommands = `
user -u USER
user -f home USER
user nobody-there
user
auth test USER secret
auth test USER wrong
auth lookup USER
search -u USER mailbox INBOX all
-f table search -u USER mailbox INBOX all
-f json search -u USER mailbox INBOX all
-f tab search -u USER mailbox INBOX uid 9
-f nope search -u USER all
fetch -u USER user+mailbox+seq+uid+date.received+date.sent+date.sent.unixtime+size.physical+size.virtual mailbox INBOX all
fetch -u USER imap.envelope+imap.body+imap.bodystructure+body.snippet+pop3.uidl mailbox INBOX uid 2
-f json fetch -u USER text mailbox INBOX all
-f flow fetch -u USER uid+hdr+body mailbox INBOX uid 1
-f table fetch -u USER uid+date.sent+hdr.subject mailbox INBOX all
fetch -u USER text.utf8 mailbox INBOX all
fetch -u USER body.1+body.2+binary.1+body.1.mime+body.header+body.text+body.9 mailbox INBOX uid 2
fetch -u USER hdr.subject+hdr.subject.utf8+hdr.to.address+hdr.to.address_name+hdr.nope mailbox INBOX uid 1
fetch -u USER nosuch all
fetch -u USER uid nosuchkey
fetch -u USER uid ( all
fetch -u nobody-there uid all
-f flow fetch -u USER uid mailbox INBOX since 2026-11-24
-f flow fetch -u USER uid mailbox INBOX sentbefore 24-Nov-2026
-f flow fetch -u USER uid mailbox INBOX larger 300
-f flow fetch -u USER uid mailbox INBOX ( seen or flagged )
-f flow fetch -u USER uid mailbox INBOX body café
-f flow fetch -u USER uid or seen flagged
mailbox list -u USER
mailbox status -u USER messages+unseen+uidnext+vsize *
-f table mailbox status -u USER messages+vsize *
mailbox status -t -u USER messages+vsize *
mailbox status -u USER nope INBOX
mailbox status -u USER messages nope
mailbox path -u USER -t mailbox Sent
flags add -u USER \Answered mailbox INBOX uid 1
search -u USER mailbox INBOX answered
flags add -u USER \Bogus mailbox INBOX all
flags add -u USER \Seen mailbox Nope all
copy -u USER Sent mailbox INBOX uid 1
copy -u USER Nope mailbox INBOX uid 1
move -u USER Lists/dev mailbox INBOX uid 2
mailbox status -u USER messages+uidnext *
fetch -u USER uid+text mailbox Sent all
expunge -u USER all
expunge -u USER mailbox INBOX
expunge -u USER mailbox Nope all
expunge -u USER mailbox Sent uid 1
deduplicate -u USER mailbox Sent all
mailbox status -u USER messages+uidnext *
mailbox create -u USER New/Sub Sent
mailbox rename -u USER Nope X
mailbox delete -u USER Lists
mailbox delete -u USER -e Sent
mailbox delete -u USER -r New
mailbox mutf7 Grüße
force-resync -u USER *
index -u USER -n x INBOX
kick
log find
reload x
pw -p x -s PLAIN
`

// plain leaves out what no two mailboxes have alike.
func plain(s string) string { return guids.ReplaceAllString(s, "GUID") }

// runProgram runs a program under a name and returns what it said, and how it ended.
func runProgram(path, name string, args []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), oracle.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = append([]string{name}, args...)
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil {
		text += "[" + err.Error() + "]"
	}
	return text + "\n"
}

// startDovecot runs Dovecot until the test ends.
func startDovecot(t *testing.T, path, conf, dir string) {
	t.Helper()
	cmd := exec.Command(path, "-F", "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Skip("Dovecot does not start here:", err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	for end := time.Now().Add(oracle.Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(dir + "/run/auth-userdb"); err == nil {
			return
		}
	}
	log, _ := os.ReadFile(dir + "/log")
	t.Skipf("Dovecot does not start here: %s", log)
}
