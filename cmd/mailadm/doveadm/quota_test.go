package doveadm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// quotaConf are the quotas of TestQuotaOriginal: one of each kind, with and without a
// limit.
const quotaConf = `mail_plugins = quota
mail_location = maildir:~/Maildir
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=10k:messages=20
  quota2 = count:Second
  quota2_rule = *:messages=7
  quota3 = count:Free
  quota4 = dict:D::file:%h/dq
  quota4_rule = *:storage=1M
  quota_vsizes = no
}
`

// TestQuotaOriginal holds doveadm quota against Dovecot's: the same users, mail and
// configuration, one command after the other.
func TestQuotaOriginal(t *testing.T) {
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
	users := ""
	for _, u := range []string{"anna", "bert"} {
		home := filepath.Join(dir, u)
		users += u + ":{PLAIN}secret:5001:5001::" + home + "::"
		if u == "bert" {
			users += "userdb_quota_rule=*:storage=0 userdb_quota2_rule=*:storage=1"
		}
		users += "\n"
		for _, d := range []string{"cur", "new", "tmp", ".Sent/cur", ".Sent/new", ".Sent/tmp"} {
			os.MkdirAll(filepath.Join(home, "Maildir", d), 0o700)
		}
		os.WriteFile(home+"/Maildir/new/1.a.h,S=2000,W=2040", []byte(strings.Repeat("x: "+strings.Repeat("y", 46)+"\n", 40)), 0o600)
		os.WriteFile(home+"/Maildir/.Sent/cur/2.b.h,S=50,W=51:2,S", []byte("x: "+strings.Repeat("y", 46)+"\n"), 0o600)
		os.WriteFile(home+"/Maildir/maildirsize", []byte("10240S,20C\n7 7\n"), 0o600)
		if err := exec.Command("chown", "-R", "5001:5001", home).Run(); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(dir+"/users", []byte(users), 0o644)
	conf := filepath.Join(dir, "dovecot.conf")
	for _, vsizes := range []string{"yes", "no"} { // quota = count wants yes, quota = maildir here no
		text := strings.Replace(quotaConf, "vsizes = no", "vsizes = "+vsizes, 1)
		if vsizes == "yes" {
			text = strings.Replace(text, "maildir:User", "count:User", 1)
		} else {
			text = strings.NewReplacer("count:Second", "dict:Second::file:%h/dq2", "count:Free", "dict:Free::file:%h/dq3").Replace(text)
		}
		os.WriteFile(conf, []byte("base_dir = "+dir+"/run\nstate_dir = "+dir+"/state\nlog_path = "+dir+"/log\nprotocols =\nssl = no\n"+
			"first_valid_uid = 5000\nfirst_valid_gid = 0\nmail_privileged_group =\nnamespace inbox {\n  inbox = yes\n}\n"+
			"passdb {\n  driver = passwd-file\n  args = "+dir+"/users\n}\nuserdb {\n  driver = passwd-file\n  args = "+dir+"/users\n}\n"+text), 0o644)
		if vsizes == "yes" {
			startDovecot(t, dovecot, conf, dir)
		}
		quotaCommands(t, real, conf, vsizes)
	}
}

// quotaCommands runs each command through both; what one keeps in files the other
// reads. recalc goes first, for the sizes of a mailbox that nobody has opened yet.
func quotaCommands(t *testing.T, real, conf, round string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"quota recalc -u anna", "quota get -u anna", "-f tab quota get -u anna", "-f json quota get -u bert", "-f flow quota get -u anna", "-f pager quota get -u bert", "quota get -A",
		"quota get -u nobody-there", "quota get -u anna extra", "quota recalc -A", "-f table quota get -u bert", "quota recalc -u nobody-there"} {
		words := append([]string{"-c", conf}, strings.Fields(line)...)
		want := runProgram(real, "doveadm", words)
		if got := runProgram(self, "doveadm", words); got != want {
			t.Errorf("%s (vsizes %s):\n got %s\nwant %s", line, round, got, want)
		}
	}
}
