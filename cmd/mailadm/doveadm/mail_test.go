package doveadm

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"packetboat/internal/auth/wire"
)

// TestMain makes the test program doveadm itself: for several users it starts a
// process each.
func TestMain(m *testing.M) {
	if os.Args[0] == "doveadm" {
		os.Exit(Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

const twoMails = `From bob@example.org  Mon Nov 23 14:03:58 2026
From: Bob Builder <bob@example.org>
To: alice@example.com, "Carol, X" <carol@example.net>
Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from Bob
Date: Mon, 23 Nov 2026 15:03:50 +0100
Message-ID: <one@example.org>
Status: RO

hello world
line two

From carol@example.net  Tue Nov 24 01:02:03 2026
From: carol@example.net
To: alice@example.com
Subject: multi
Date: Tue, 24 Nov 2026 00:00:00 -0500
Message-ID: <two@example.net>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b1"
Status: O
X-Status: F

preamble
--b1
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Caf=E9 plain

--b1
Content-Type: text/html

<html><body><p>Caf&eacute; <b>html</b></p></body></html>
--b1--

`

// mailFixture lays down the mail of alice and bob, who are both the caller, and
// a userdb; it returns the folder and a function that runs doveadm.
func mailFixture(t *testing.T) (dir string, run func(in string, args ...string) (int, string)) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root's mail is not touched: run as an ordinary user; TestOriginal runs as root")
	}
	dir = t.TempDir()
	for _, d := range []string{"alice/mail/Lists", "bob/mail", "inbox"} {
		os.MkdirAll(filepath.Join(dir, d), 0o700)
	}
	for _, f := range []string{"inbox/alice", "inbox/bob", "alice/mail/Sent", "alice/mail/Lists/dev"} {
		os.WriteFile(filepath.Join(dir, f), []byte(twoMails), 0o600)
	}
	conf := filepath.Join(dir, "dovecot.conf")
	os.WriteFile(conf, []byte("base_dir = "+dir+"\nmail_location = mbox:~/mail:INBOX="+dir+"/inbox/%u\nmail_privileged_group =\n"), 0o600)
	user := func(_ context.Context, user, _ string) (string, map[string]string, error) {
		if user != "alice" && user != "bob" {
			return "", nil, wire.ErrNoUser
		}
		return user, map[string]string{"uid": strconv.Itoa(os.Geteuid()), "gid": strconv.Itoa(os.Getegid()), "home": filepath.Join(dir, user)}, nil
	}
	listen(t, dir+"/auth-userdb", func(c net.Conn) {
		wire.ServeMaster(c, wire.Master{User: user, Allow: func(map[string]string) bool { return true },
			List: func(_ context.Context, _ string, each func(string)) error { each("alice"); each("bob"); return nil }})
	})
	return dir, func(in string, args ...string) (int, string) {
		var out bytes.Buffer
		code := Run(append([]string{"-c", conf}, args...), strings.NewReader(in), &out, &out)
		return code, guids.ReplaceAllString(strings.ReplaceAll(out.String(), dir, "DIR"), "GUID")
	}
}

var guids = regexp.MustCompile(`\b[0-9a-f]{32}\b`)

// TestMail holds the mail commands against what doveadm 2.3.19 prints.
func TestMail(t *testing.T) {
	_, run := mailFixture(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{w("search -u alice mailbox INBOX ALL"), 0, "GUID 1\nGUID 2\n"},
		{w("-f tab search -u alice mailbox INBOX uid 2"), 0, "mailbox-guid\tuid\nGUID\t2\n"},
		{w("-f json search -u alice mailbox INBOX uid 7"), 0, "[]"},
		{w("-f pager search -u alice mailbox INBOX seen"), 0, "GUID\n1\n"},
		{w("search -A mailbox INBOX uid 1"), 0, "alice GUID 1\nbob GUID 1\n"},
		{w("-f table mailbox status -A messages INBOX"), 0, "Username mailbox messages" + sp(27) + "\nalice    INBOX   2       " + sp(27) + "\nbob      INBOX   2       " + sp(27) + "\n"},
		{append(w("fetch -u alice"), "uid date.sent size.virtual body.snippet", "mailbox", "INBOX", "all"), 0,
			"uid: 1\ndate.sent: 2026-11-23 14:03:50 (+0100)\nsize.virtual: 234\nbody.snippet: hello world line two\n\f\nuid: 2\ndate.sent: 2026-11-24 05:00:00 (-0500)\nsize.virtual: 431\nbody.snippet: Café plain\n"},
		{w("fetch -u alice hdr.to.address_name mailbox INBOX uid 1"), 0, "hdr.to.address_name: \nCarol, X\n"},
		{w("fetch -u alice binary.1 mailbox INBOX uid 2"), 0, "binary.1:\nCaf\xe9 plain\r\n"},
		{w("-f table fetch -u alice body mailbox INBOX uid 2"), 75, "doveadm(alice): Fatal: table formatter doesn't support multi-line values\n"},
		{w("fetch -u alice uid mailbox INBOX nosuch"), 75, "Fatal: Unknown argument NOSUCH\n"},
		{w("fetch -u zed uid all"), 67, "doveadm(zed): Error: User doesn't exist\n"},
		{w("mailbox list -u alice"), 0, "Lists\nLists/dev\nSent\nINBOX\n"},
		{w("mailbox status -u alice messages Nope"), 68, "doveadm(alice): Error: Mailbox Nope: Failed to lookup mailbox status: Mailbox doesn't exist: Nope\n"},
		{w("expunge -u alice all"), 64, "Fatal: expunge: To avoid accidents, search query must contain MAILBOX in all search branches\n"},
		{w("expunge -u alice mailbox INBOX"), 64, "Fatal: expunge: To avoid accidents, each branch in search query must contain something else besides MAILBOX (e.g. just add \"all\" if you want everything)\n"},
		{w("expunge -u alice mailbox INBOX savedbefore 1d"), 75, "doveadm(alice): Error: Mailbox INBOX: Searching failed: this mailbox does not keep the time when mail was saved\n"},
		{w(`flags add -u alice \Answered mailbox Sent uid 2`), 0, ""},
		{w("search -u alice mailbox Sent answered"), 0, "GUID 2\n"},
		{w("copy -u alice Sent mailbox INBOX all"), 0, ""},
		{w("copy -u alice Sent mailbox Sent uid 1"), 0, ""},
		{w("move -u alice Lists/dev mailbox INBOX uid 1"), 0, ""},
		{w("mailbox status -u alice messages *"), 0, "Lists/dev messages=3\nSent messages=5\nINBOX messages=1\n"},
		{w("deduplicate -u alice mailbox Sent all"), 0, ""},
		{w("deduplicate -u alice -m mailbox Lists/dev all"), 0, ""},
		{w("mailbox status -u alice -t messages *"), 0, "messages=5\n"},
		{w("save -u alice -m Nope"), 68, "doveadm(alice): Error: Failed to open mailbox Nope: Mailbox doesn't exist: Nope\n"},
		{w("expunge -u alice mailbox Sent uid 2"), 0, ""},
		{w("mailbox delete -u alice -e Sent"), 65, "doveadm(alice): Error: Can't delete mailbox Sent: Mailbox isn't empty\n"},
		{w("mailbox create -u alice New/Sub Sent"), 65, "doveadm(alice): Error: Can't create mailbox Sent: Mailbox already exists\n"},
		{w("mailbox rename -u alice New/Sub Other"), 0, ""},
		{w("mailbox path -u alice -t control Lists/dev"), 0, "DIR/alice/mail/Lists/.imap/dev\n"},
		{w("altmove -u alice all"), 75, "error: doveadm altmove is not built\nhint: there is no ALT= storage here; doveadm move moves mail to another mailbox\n"},
		{w("quota get -u alice"), 0, ""},
		{w("quota recalc -u alice"), 0, ""},
	} {
		if code, got := run("Subject: x\n\nbody\n", c.args...); code != c.code || got != c.want {
			t.Errorf("%q: %d %q, want %d %q", c.args, code, got, c.code, c.want)
		}
	}
	if code, got := run("From a@b Mon Nov 23 14:03:58 2026\nSubject: x\n\nbody", w("save -u bob")...); code != 0 || got != "" {
		t.Error(code, got)
	}
	if _, got := run("", w("fetch -u bob text mailbox INBOX subject x")...); got != "text:\nSubject: x\n\nbody\n" {
		t.Errorf("%q", got)
	}
}

func w(s string) []string { return strings.Fields(s) }

func sp(n int) string { return fmt.Sprintf("%*s", n, "") }
