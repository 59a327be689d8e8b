package imapd

import (
	"fmt"
	"strings"
	"testing"

	"packetboat/internal/store/memstore"
	"packetboat/internal/store/quota"
)

// quotaUser is a user with two quotas, of whom a folder lies outside of the limits.
func quotaUser(t *testing.T) User {
	t.Helper()
	c, err := quota.Parse(quota.Settings{"quota": "count:User quota", "quota_vsizes": "yes", "quota_rule": "*:storage=1:messages=5",
		"quota_rule2": "Free:ignore", "quota_exceeded_message": "Full, sorry", "quota_max_mail_size": "2k", "quota2": "count:none", "quota3": "dirsize:a*b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := quota.New(c, quota.User{Name: "alice", Root: t.TempDir()})
	return User{Name: "alice", Store: a.Add(memstore.New(), "", '/', true), Quota: a}
}

// TestQuota: the commands of RFC 2087, and what is refused for want of room. The same
// is asked of a real Dovecot by test/quota.
func TestQuota(t *testing.T) {
	p := startUser(t, quotaUser(t), Options{})
	defer p.Close()
	mail := func(n int) string { return "Subject: x\r\n\r\n" + strings.Repeat("y", n-16) + "\r\n" }
	add := func(box string, n int) string { return fmt.Sprintf("APPEND %s {%d+}\r\n%s", box, n, mail(n)) }
	for _, c := range []struct{ line, want string }{
		{"GETQUOTAROOT INBOX", "* QUOTAROOT INBOX \"User quota\" none \"a*b\"\n* QUOTA \"User quota\" (STORAGE 0 1 MESSAGE 0 5)\nOK Getquotaroot completed"},
		{add("INBOX", 600), "OK [APPENDUID "},
		{"GETQUOTA \"User quota\"", "* QUOTA \"User quota\" (STORAGE 1 1 MESSAGE 1 5)\nOK Getquota completed"},
		{"GETQUOTA none", "OK Getquota completed"},
		{"GETQUOTA \"a*b\"", "OK Getquota completed"},
		{"GETQUOTA nosuch", "NO Quota root doesn't exist"},
		{"GETQUOTA", "BAD Error in IMAP command GETQUOTA: Missing arguments"},
		{"GETQUOTA (x)", "BAD Error in IMAP command GETQUOTA: Invalid arguments"},
		{"SETQUOTA \"User quota\" (STORAGE 5)", "NO Quota can be changed only by admin"},
		{"SETQUOTA x", "BAD Error in IMAP command SETQUOTA: Invalid arguments"},
		{add("INBOX", 500), "NO [OVERQUOTA] Full, sorry"},
		{add("INBOX", 2100), "NO [LIMIT] Mail size is larger than the maximum size allowed by server configuration"},
		{"CREATE Free", "OK"},
		{add("Free", 1500), "OK [APPENDUID "},
		{"SELECT INBOX", "OK"},
		{"COPY 1 INBOX", "NO [OVERQUOTA] Full, sorry"},
		{"COPY 1 Free", "OK [COPYUID "},
		{"SELECT Free", "OK"},
		{"MOVE 1 INBOX", "NO [OVERQUOTA] Full, sorry"},
		{"MOVE 2 Free", "OK Move completed"},
	} {
		got := exchange(t, p, c.line)
		if !strings.Contains(got, c.want) {
			t.Errorf("%.40s:\n%s\nwant %s", c.line, got, c.want)
		}
	}
	if got := exchange(t, p, "CAPABILITY"); !strings.Contains(got, " QUOTA\n") {
		t.Error(got)
	}
	without := startOurs(t, memstore.New(), Options{})
	defer without.Close()
	for _, c := range []string{"GETQUOTA x", "GETQUOTAROOT x", "SETQUOTA x (STORAGE 1)"} {
		if got := exchange(t, without, c); !strings.Contains(got, "Unknown command") {
			t.Error(got)
		}
	}
}

// exchange sends one command and returns the answers to its end, without the tag.
func exchange(t *testing.T, p *peer, line string) string {
	t.Helper()
	fmt.Fprintf(p, "q %s\r\n", line)
	var out strings.Builder
	for {
		l, err := p.r.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		l = strings.TrimRight(l, "\r\n")
		if rest, ok := strings.CutPrefix(l, "q "); ok {
			return out.String() + rest
		}
		out.WriteString(l + "\n")
	}
}
