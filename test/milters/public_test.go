package milters

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// public are the public configurations whose access lists are held against
// Postfix, by a part of their names in ../shared/corpus.
var public = []string{"FeministWiki+FeministWiki", "GrapheneOS+mail", "Nothing4You+config", "mailcow+mailcow", "shednoc+ansible", "ARF20NET+mail-conf", "tknarr+email-management__etc",
	"b1n0anb+pgbr", "anthon-os+anthonos", "EdouardVanbelle+docker-mailer", "robbertkl+docker-mail", "Haran+Mail.CONF"}

// ofAccess are the parameters that decide what a client is told. What leads to
// other machines, and where things are, is the test's own.
var ofAccess = regexp.MustCompile(`^(smtpd_(client|helo|sender|recipient|relay|data|end_of_data|etrn)_restrictions|smtpd_helo_required|smtpd_delay_reject|disable_vrfy_command|strict_rfc821_envelopes|` +
	`\w+_reject_code|smtpd_reject_unlisted_\w+|allow_untrusted_routing|smtpd_reject_footer|smtpd_recipient_limit|recipient_delimiter|address_verify_\w+_code|` +
	`swap_bangpath|allow_percent_hack|resolve_dequoted_address|show_user_unknown_table_name|smtpd_log_access_permit_actions|soft_bounce|smtputf8_enable|allow_min_user|smtpd_\w+_error_limit) = `)

// elsewhere are words of access lists that ask another machine, with what they ask;
// no client here has a name.
var elsewhere = regexp.MustCompile(`(check_policy_service|reject_rbl_client|reject_rhsbl_\w+|permit_dnswl_client|permit_rhswl_client)\s+(\{[^}]*\}|[^\s,]+)[ \t,]*|(permit_tls_\w+|reject_unverified_\w+|reject_unknown_(reverse_)?client(_hostname)?|permit_auth_destination|permit_mx_backup)[ \t,]*`)

// aTable is a table of a public configuration, whose content is not public.
var aTable = regexp.MustCompile(`(proxy:)?(hash|btree|cdb|lmdb|texthash|mysql|pgsql|ldap|sqlite|cidr|pcre|regexp|tcp|memcache|socketmap):[^\s,}]+`)

// tableText stands for all tables.
const tableText = "bad@sender.test REJECT not you\nsender.test DUNNO\n.evil.test REJECT\nevil.test 554 5.7.1 go away\n127.0.0.4 REJECT blocked\n127.0.0.5 OK\nhelo.bad REJECT no such helo\n" +
	"postmaster@ OK\nwarn@sender.test WARN look\nbob@x.test DEFER later\nhold@x.test HOLD\nalice@x.test OK\n"

// accessOf makes main.cf of a public one.
func accessOf(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := "local_recipient_maps = texthash:DIR/etc/users\nsmtpd_error_sleep_time = 0\n"
	for l := range strings.Lines(string(b)) {
		if !ofAccess.MatchString(l) || strings.Contains(l, "$smtpd_") {
			continue
		}
		l = elsewhere.ReplaceAllString(l, "")
		out += aTable.ReplaceAllString(l, "texthash:DIR/etc/table")
	}
	if !strings.Contains(out, "smtpd_relay_restrictions") && !strings.Contains(out, "reject_unauth_destination") {
		out += "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n"
	}
	return out
}

// converse holds dialogue number n and returns the replies.
func (s *system) converse(t *testing.T, n int) (replies []string) {
	t.Helper()
	pick := func(k int, list ...string) string { return list[(n*n+31*n+17*k+n/7)%len(list)] }
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(pick(0, "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.9"))}}
	c, err := d.Dial("tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	r := bufio.NewReader(c)
	say := []string{"", pick(1, "EHLO client.b.test", "HELO helo.bad", "EHLO bare", "HELO [127.0.0.3]", "EHLO 1.2.3.4", "NOOP", "HELO under_score.test"),
		"MAIL FROM:<" + pick(2, "a@b.test", "bad@sender.test", "", "nodomain", "x@sub.evil.test", "warn@sender.test", "alice@x.test") + ">",
		"RCPT TO:<" + pick(3, "alice@x.test", "nobody@x.test", "x@far.test", "bob@x.test", "postmaster", "alice+ext@x.test", "x%far.test@x.test", "@a.test:alice@x.test", "hold@x.test") + ">",
		"RCPT TO:<" + pick(4, "far", "alice@x.test", "y@[127.0.0.1]", "z@evil.test") + ">", "VRFY alice@x.test", "DATA", "QUIT"}
	for _, line := range say {
		if line != "" {
			io.WriteString(c, line+"\r\n")
		}
		reply := read(r)
		if strings.HasPrefix(line, "EHLO") {
			reply = reply[:min(3, len(reply))] // we offer more
		}
		replies = append(replies, line+" -> "+reply)
		if line == "DATA" && strings.HasPrefix(reply, "354") {
			io.WriteString(c, "Subject: x\r\n\r\nx\r\n.\r\n")
			replies = append(replies, queuedAs.ReplaceAllString(read(r), "queued as ID"))
		}
	}
	return replies
}

var (
	smtpdLine = regexp.MustCompile(`(?m)postfix/smtpd\[\d+\]: (.*)$`)
	queueID   = regexp.MustCompile(`\b[0-9A-F]{9,}\b`)
)

// said are smtpd's log lines, sorted: a session's last line may come late.
func (s *system) said() (out []string) {
	for _, m := range smtpdLine.FindAllStringSubmatch(s.log(), -1) {
		if !strings.Contains(m[1], "overriding earlier entry") { // main.cf is read more than once there
			out = append(out, queueID.ReplaceAllString(m[1], "ID"))
		}
	}
	slices.Sort(out)
	return out
}

// TestPublicConfigurations: with the access lists of public machines fifty clients
// hear from us what they hear from Postfix, and the log tells the same.
func TestPublicConfigurations(t *testing.T) {
	need(t)
	for _, name := range public {
		files, _ := filepath.Glob("../../../shared/corpus/expected/main.cf/" + name + "*.postconf-n")
		if len(files) == 0 {
			t.Skip("../shared/corpus is not here")
		}
		t.Run(name, func(t *testing.T) {
			both := pair(t, accessOf(t, files[0]))
			for n := range 50 {
				a, b := both[0].converse(t, n), both[1].converse(t, n)
				if fmt.Sprint(a) != fmt.Sprint(b) {
					t.Errorf("dialogue %d: postfix:\n\t%s\nours:\n\t%s", n, strings.Join(a, "\n\t"), strings.Join(b, "\n\t"))
				}
			}
			var a, b []string
			if !oracle.Await(func() bool {
				a, b = both[0].said(), both[1].said()
				return slices.Equal(a, b)
			}) {
				t.Errorf("the logs differ: %s", difference(a, b))
			}
		})
	}
}

// difference names what only one of two sorted lists has.
func difference(a, b []string) string {
	var out []string
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			out, a = append(out, "postfix: "+a[0]), a[1:]
		case len(a) == 0 || b[0] < a[0]:
			out, b = append(out, "ours: "+b[0]), b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return "\n" + strings.Join(out[:min(len(out), 30)], "\n")
}
