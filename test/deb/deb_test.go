// Package deb builds the Debian package and uses it as its users will: on a bare
// machine, with answers prepared for Debian's postfix, and in the place of a
// Postfix and a Dovecot that have mail.
package deb

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// installs is the package put on a machine by apt, with no other source than files.
const installs = "apt-get install -y --no-install-recommends /tmp/packetboat.deb "

// ours lists the running programs of the package, nothing when none runs.
const ours = `for p in /proc/[0-9]*; do
	case $(readlink $p/exe) in /usr/lib/packetboat/*) echo $p $(tr '\0' ' ' < $p/cmdline);; esac
done`

// imap is a session: LOGIN of $1 with $2, then INBOX.
const imap = `imap() { exec 4<>/dev/tcp/127.0.0.1/143
printf 'a login %s %s\r\nb select inbox\r\nc fetch 1:* (uid body.peek[header.fields (subject)])\r\nd logout\r\n' "$1" "$2" >&4
timeout 20 cat <&4; exec 4>&-; }
`

// answers fails unless the port greets as a mail server.
const answers = `answers() { exec 3<>/dev/tcp/127.0.0.1/$1 && read -r -t 10 line <&3 && exec 3>&- && echo "$line"; }
`

func TestPackage(t *testing.T) {
	needs(t)
	if testing.Short() {
		t.Skip("this takes a minute or two")
	}
	pkg := build(t)
	cache := bare(t)
	start := func(name string, test func(*testing.T, *machine)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := boot(t, cache, name)
			m.put(pkg, "/tmp/packetboat.deb")
			test(t, m)
		})
	}
	start("fresh", fresh)
	start("answered", answered)
	start("instead", instead)
	t.Run("lintian", func(t *testing.T) {
		t.Parallel()
		if _, err := exec.LookPath("lintian"); err != nil {
			t.Skip("lintian is not installed")
		}
		// It leaves files of its own behind.
		out, err := output(10*time.Minute, "env", "TMPDIR="+t.TempDir(), "lintian", "--fail-on", "error", pkg)
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// fresh is a machine without any mail system.
func fresh(t *testing.T, m *machine) {
	before := m.run(t, "find / -xdev -perm /6000 -type f | sort")
	m.run(t, installs+"/debs/bsd-mailx_* /debs/libbsd0_* /debs/liblockfile*")
	m.run(t, `useradd -m -s /bin/bash alice && useradd -m -s /bin/bash bob && printf 'alice:sesame 1\nbob:x\n' | chpasswd`)
	m.run(t, `echo '* * * * * echo hello from cron' | crontab - && service cron start`)

	t.Run("ports", func(t *testing.T) {
		want(t, m.run(t, answers+"answers 25"), "220 fresh ESMTP")
		want(t, m.run(t, answers+"answers 143"), "* OK ")
		want(t, m.run(t, answers+"answers 110"), "+OK ")
		want(t, m.run(t, "/etc/init.d/postfix status; /etc/init.d/dovecot status"), "postfix (Packetboat) is running", "dovecot (Packetboat) is running")
	})
	t.Run("modes", func(t *testing.T) { modes(t, m, before) })
	t.Run("mail", func(t *testing.T) { mail(t, m) })
	t.Run("readers", func(t *testing.T) { readers(t, m) })
	t.Run("services", func(t *testing.T) { services(t, m) })
	t.Run("cron", func(t *testing.T) {
		m.until(t, "grep -q '^hello from cron' /var/mail/root")
		want(t, m.run(t, "crontab -r; cat /var/mail/root"), "\nSubject: Cron <root@fresh> echo hello from cron\n", "\nFrom: root@fresh (Cron Daemon)\n", "\nX-Cron-Env: ")
		want(t, m.run(t, `script -qec "mutt -n -R -f /var/mail/root -e 'set folder=/var/mail' -e 'push <quit>'" /dev/null < /dev/null`), "Cron <root@fresh>")
	})
	t.Run("reinstall", func(t *testing.T) { reinstall(t, m) })
	t.Run("remove", func(t *testing.T) { remove(t, m) })
}

// modes: postdrop is the one set-id program that came, and nothing that it writes
// to can be read by users.
func modes(t *testing.T, m *machine, before string) {
	after := m.run(t, "find / -xdev -perm /6000 -type f | sort")
	for _, line := range strings.Fields(after) {
		if !strings.Contains(before, line+"\n") && line != "/usr/sbin/postdrop" && line != "/usr/bin/dotlockfile" { // of bsd-mailx's library
			t.Errorf("%s came set-id", line)
		}
	}
	got := m.run(t, `stat -c '%a %U:%G %n' /usr/sbin/postdrop /var/spool/postfix/maildrop /var/spool/postfix/active /etc/postfix/main.cf /etc/aliases
for f in /usr/lib/sendmail /usr/bin/mailq /usr/bin/newaliases /usr/sbin/rmail /usr/sbin/postconf /usr/bin/doveadm; do test -x $f || echo no $f; done
getent passwd postfix dovecot dovenull; getent group postdrop; getent passwd vmail; cat /etc/mailname /etc/aliases; dpkg --audit; dpkg --verify packetboat`)
	want(t, got, "2555 root:postdrop /usr/sbin/postdrop\n", "1730 postfix:postdrop /var/spool/postfix/maildrop\n", "700 postfix:root /var/spool/postfix/active\n",
		"644 root:root /etc/postfix/main.cf\n644 root:root /etc/aliases\npostfix:x:", "postdrop:x:", "\nfresh\n", "postmaster:    root\n")
	if strings.Contains(got, "vmail") {
		t.Error(got)
	}
	m.run(t, "setpriv --reuid=alice --regid=alice --init-groups sh -c '! ls /var/spool/postfix/maildrop && ! touch /var/spool/postfix/maildrop/x' 2>&1")
}

// mail goes from users to users in the ways that Debian's programs send it.
func mail(t *testing.T, m *machine) {
	m.run(t, `cd / && su alice -c 'echo from alice | mail -s "over mailx" bob'`)
	m.run(t, `cd / && printf 'Subject: over anacron\n\nx\n' > /tmp/job && sendmail -FAnacron -odi root < /tmp/job`)
	m.run(t, `cd / && printf 'Subject: over at\nTo: alice\n\nx\n.\ny\n' > /tmp/job && setpriv --reuid=alice --regid=daemon --clear-groups env LOGNAME=root sendmail -i alice < /tmp/job`)
	m.run(t, `printf 'From carol Mon Nov 23 12:00:00 2026 remote from far\nSubject: over rmail\n\nx\n' | rmail bob`)
	m.run(t, `exec 3<>/dev/tcp/127.0.0.1/25; printf 'EHLO x\r\nMAIL FROM:<carol@example.org>\r\nRCPT TO:<alice+list@localhost>\r\nDATA\r\nSubject: over port 25\r\n\r\nx\r\n.\r\nQUIT\r\n' >&3; timeout 20 cat <&3 | grep '^250 2.0.0 Ok: queued'`)
	got := m.until(t, `grep -q 'over mailx' /var/mail/bob && grep -q 'over rmail' /var/mail/bob && grep -q 'over anacron' /var/mail/root &&
grep -q 'over at' /var/mail/alice && grep -q 'over port 25' /var/mail/alice && stat -c '%a %U:%G' /var/mail/* && cat /var/mail/* && mailq`)
	want(t, got, "600 alice:mail\n600 bob:mail\n600 root:mail\n", "From: Anacron <root@fresh>\n", "\nx\n.\ny\n", "From carol@far ", "Mail queue is empty")
	want(t, m.run(t, "grep -m1 ^Return-Path: /var/mail/alice"), "Return-Path: <alice@fresh>\n")
	want(t, m.log(), "to=<bob@fresh>, orig_to=<bob>, relay=local,", "status=sent (delivered to mailbox)")
	// Local only: nothing leaves, and the sender is told.
	m.run(t, `printf 'Subject: away\n\nx\n' | sendmail -f bob someone@example.org`)
	m.until(t, "grep -q 'Undelivered Mail Returned to Sender' /var/mail/bob")
}

// readers: a user of the machine logs in with the machine's password.
func readers(t *testing.T, m *machine) {
	want(t, m.run(t, imap+`imap alice '"sesame 1"'`), "a OK ", "* 2 EXISTS\r\n", "Subject: over at\r\n", "Subject: over port 25\r\n", "d OK ")
	got := m.run(t, imap+"imap alice wrong")
	if want(t, got, "a NO [AUTHENTICATIONFAILED]"); strings.Contains(got, "EXISTS") {
		t.Errorf("a wrong password let somebody in:\n%s", got)
	}
	got = m.run(t, `exec 4<>/dev/tcp/127.0.0.1/110; printf 'USER bob\r\nPASS x\r\nSTAT\r\nTOP 1 1\r\nQUIT\r\n' >&4; timeout 20 cat <&4`)
	want(t, got, "Subject: over mailx\r\n", "from alice\r\n")
}

// services: the scripts do what they did for the incumbents, and let go of
// whoever called them (machine.try would wait for ever).
func services(t *testing.T, m *machine) {
	m.run(t, "service postfix restart && service dovecot restart && service postfix reload && service dovecot reload && service postfix start && service dovecot start")
	want(t, m.run(t, answers+"answers 25; answers 143"), "220 ", "* OK ")
	m.run(t, "IFACE=eth0 /etc/network/if-up.d/postfix && IFACE=lo /etc/network/if-up.d/postfix && PPP_IFACE=ppp0 /etc/ppp/ip-up.d/postfix && newaliases && postfix status && postfix check")
	m.run(t, "service postfix stop && service postfix stop && ! service postfix status")
	m.run(t, "echo 'Subject: while down' | sendmail alice && IFACE=eth0 /etc/network/if-up.d/postfix && service postfix start")
	m.until(t, "grep -q 'while down' /var/mail/alice")
	// What cannot be started says why, and the package does not break of it.
	m.run(t, "cp /etc/postfix/main.cf /tmp/ && echo 'smtpd_recipient_restrictions = no_such_thing' >> /etc/postfix/main.cf")
	out, err := m.try("service postfix restart")
	if err == nil {
		t.Error("a restriction that does not exist was taken")
	}
	want(t, out, "no_such_thing")
	want(t, m.run(t, "dpkg-reconfigure packetboat 2>&1; dpkg --audit"), "postfix was not started")
	m.run(t, "cp /tmp/main.cf /etc/postfix/ && service postfix start")
}

// digest tells the state of everything that the package must not touch.
const digest = `find /etc/postfix /etc/dovecot /etc/aliases /etc/mailname /var/mail -type f ! -name '*.db' | sort | xargs sha256sum; find /etc/postfix /etc/dovecot /etc/aliases /var/mail -type f -printf '%p %m %u:%g\n' | sort`

// reinstall: what the administrator changed stays, byte for byte, and the
// services come back by themselves.
func reinstall(t *testing.T, m *machine) {
	m.run(t, `printf '\n# by hand\n' | tee -a /etc/postfix/main.cf /etc/postfix/master.cf /etc/aliases >> /etc/dovecot/dovecot.conf; echo other.example > /etc/mailname`)
	before := m.run(t, digest)
	m.run(t, "dpkg -i /tmp/packetboat.deb")
	if after := m.run(t, digest); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	want(t, m.run(t, answers+"answers 25; answers 143; dpkg --audit; stat -c '%a %G' /usr/sbin/postdrop"), "220 ", "* OK ", "2555 postdrop")
}

// remove: nothing runs any more, mail and configuration stay; purge takes what
// the package had made and nobody had changed.
func remove(t *testing.T, m *machine) {
	m.run(t, "echo 'Subject: left in the queue' > /tmp/x; service postfix stop; sendmail alice < /tmp/x; service postfix start")
	m.until(t, "grep -q '^Subject: left in the queue' /var/mail/alice && mailq | grep -q 'queue is empty'")
	before := m.run(t, digest)
	m.run(t, "apt-get remove -y packetboat")
	if out := m.run(t, ours); out != "" {
		t.Errorf("still running:\n%s", out)
	}
	if after := m.run(t, digest); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	m.run(t, "! (exec 3<>/dev/tcp/127.0.0.1/25) 2>/dev/null && ! test -e /usr/sbin/sendmail && ! test -e /run/dovecot/auth-client")
	m.run(t, "rm /etc/postfix/master.cf; apt-get purge -y packetboat")
	want(t, m.run(t, "dpkg --audit; dpkg-statoverride --list; ls -d /etc/postfix/main.cf /etc/aliases /var/mail/alice"), "/etc/postfix/main.cf\n", "/var/mail/alice\n")
	left := m.run(t, "find / -xdev ! -path '/proc/*' ! -path '/home/*' \\( -path '*packetboat*' -o -path '/var/spool/postfix*' -o -path '/etc/init.d/postfix' -o -path '/etc/pam.d/dovecot' \\) ! -path /tmp/packetboat.deb")
	if left != "" || strings.Contains(m.run(t, "dpkg-statoverride --list"), "postdrop") {
		t.Errorf("left behind:\n%s", left)
	}
}

// prepared are answers as preseed files for Debian's postfix give them.
const prepared = `debconf-set-selections <<END
postfix postfix/main_mailer_type select Internet with smarthost
postfix postfix/mailname string mail.example.test
postfix postfix/relayhost string [smtp.example.test]:587
postfix postfix/root_address string alice
postfix postfix/mynetworks string 127.0.0.0/8 10.0.0.0/8
postfix postfix/mailbox_limit string 51200000
postfix postfix/recipient_delim string -
postfix postfix/protocols select ipv4
postfix postfix/procmail boolean false
END
`

// answered: answers prepared for Debian's postfix lead to the configuration that
// Debian's postfix makes of them.
func answered(t *testing.T, m *machine) {
	m.run(t, prepared+"useradd -m alice; "+installs)
	got := m.run(t, "postconf -n")
	want(t, m.run(t, "cat /etc/aliases /etc/mailname"), "root:          alice\n", "mail.example.test\n")
	m.run(t, "echo 'Subject: hello' | sendmail root")
	m.until(t, "grep -q hello /var/mail/alice")
	m.run(t, "apt-get purge -y packetboat && ! test -e /etc/postfix && ! test -e /etc/dovecot && rm /etc/aliases /etc/mailname")
	m.run(t, prepared+"ls /debs/*.deb | grep -v -e bsd-mailx -e dovecot | grep -v -e libbsd -e liblockfile | xargs apt-get install -y --no-install-recommends")
	if theirs := m.run(t, "postconf -n"); got != theirs {
		t.Errorf("Debian's postfix makes\n%s\nours\n%s", theirs, got)
	}
}

// sessions is what of an IMAP session must be the same before and after.
const sessions = "imap alice sesame | grep -aE 'UIDVALIDITY|UIDNEXT|FETCH'"

// instead: a machine with Postfix and Dovecot, mail in a mailbox, and changes of
// its administrator; then the way back.
func instead(t *testing.T, m *machine) {
	incumbents := "ls /debs/*.deb | grep -v bsd-mailx | grep -v -e libbsd -e liblockfile | xargs apt-get install -y --no-install-recommends"
	m.run(t, "printf 'postfix postfix/main_mailer_type select Internet Site\npostfix postfix/mailname string mail.example.test\n' | debconf-set-selections; useradd -m alice; echo alice:sesame | chpasswd; "+incumbents)
	m.run(t, `printf '\n# by hand\nmessage_size_limit = 20480000\n' >> /etc/postfix/main.cf; printf '\nlist: alice, root\n' >> /etc/aliases; newaliases; service postfix reload
for i in 1 2 3; do printf "Subject: old $i\n\nx\nFrom the past\n" | sendmail alice; done`)
	m.until(t, "test $(grep -c '^Subject: old' /var/mail/alice) = 3")
	theirs := m.run(t, imap+sessions)
	before := m.run(t, digest)
	m.run(t, installs)
	if after := m.run(t, digest); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	want(t, m.run(t, "dpkg --audit; dpkg -l postfix dovecot-core packetboat | tail -n 3; "+answers+"answers 25; answers 143"), "rc  postfix ", "rc  dovecot-core ", "ii  packetboat ", "220 ", "* OK ")
	if now := m.run(t, imap+sessions); now != theirs {
		t.Errorf("Dovecot said\n%s\nours says\n%s", theirs, now)
	}
	m.run(t, "printf 'Subject: new\n\nx\n' | sendmail list")
	m.until(t, "grep -q '^Subject: new' /var/mail/alice && grep -q '^Subject: new' /var/mail/root")

	m.run(t, incumbents+" && newaliases && service postfix restart")
	if out := m.run(t, ours); out != "" {
		t.Errorf("still running:\n%s", out)
	}
	m.run(t, "dpkg --purge packetboat; dpkg --audit; printf 'Subject: back\n\nx\n' | sendmail list")
	m.until(t, "test $(grep -c '^Subject: ' /var/mail/alice) = 5")
	validity := theirs[strings.Index(theirs, "[UIDVALIDITY"):strings.Index(theirs, "] UIDs")]
	want(t, m.run(t, imap+"imap alice sesame"), "* 5 EXISTS", "Subject: new\r\n", validity)
}
