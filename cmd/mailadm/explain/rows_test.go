package explain

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rowsMain is what the lines of TestRows are added to.
const rowsMain = `compatibility_level = 3.6
myhostname = mx.example.org
mydestination = example.org
alias_maps =
local_recipient_maps = inline:{daemon=x}
relay_domains = relay.test
relay_recipient_maps = inline:{a@relay.test=x}
virtual_alias_domains = alias.test
virtual_alias_maps = inline:{a@alias.test=daemon}
virtual_mailbox_domains = virtual.test
virtual_mailbox_maps = inline:{a@virtual.test=x}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
`

const rowsMaster = `smtp inet n - y - - smtpd
smtp unix - - n - - smtp
relay unix - - n - - smtp
other unix - - n - - smtp
virtual unix - n n - - virtual
local unix - n n - - local
error unix - - n - - error
broken unix - - n - - error
`

// TestRows: one line of main.cf each, and what it changes for a mail: without the
// line the answer is another one.
func TestRows(t *testing.T) {
	local := "--client 127.0.0.1 "
	for _, c := range []struct{ line, more, args, want string }{
		{"unknown_local_recipient_reject_code = 450", "", "nobody@example.org", "refused: 450 4.1.1"},
		{"unknown_relay_recipient_reject_code = 450", "", "nobody@relay.test", "refused: 450 4.1.1"},
		{"unknown_virtual_alias_reject_code = 450", "", "nobody@alias.test", "refused: 450 4.1.1"},
		{"unknown_virtual_mailbox_reject_code = 450", "", "nobody@virtual.test", "refused: 450 4.1.1"},
		{"relay_domains_reject_code = 454", "smtpd_relay_restrictions = reject_unauth_destination", "a@elsewhere.test", "refused: 454 "},
		{"access_map_reject_code = 550", "smtpd_client_restrictions = check_client_access inline:{192.0.2.1=REJECT}", "--client 192.0.2.1 daemon@example.org", "refused: 550 5.7.1"},
		{"reject_code = 550", "smtpd_client_restrictions = reject", "daemon@example.org", "refused: 550 5.7.1"},
		{"defer_code = 451", "smtpd_client_restrictions = defer", "daemon@example.org", "refused: 451 4.3.2"},
		{"non_fqdn_reject_code = 554", "smtpd_recipient_restrictions = reject_non_fqdn_sender", "--from a daemon@example.org", "refused: 554 5.5.2"},
		{"invalid_hostname_reject_code = 554", "smtpd_helo_restrictions = reject_invalid_helo_hostname", "--helo -x daemon@example.org", "refused: 554 5.5.2"},
		{"plaintext_reject_code = 550", "smtpd_client_restrictions = reject_plaintext_session", "daemon@example.org", "refused: 550 5.7.1"},
		{"soft_bounce = yes", "", "nobody@example.org", "refused: 450 4.1.1"},
		{"show_user_unknown_table_name = no", "", "nobody@example.org", "Recipient address rejected: User unknown\n"},
		{"smtpd_reject_unlisted_recipient = no", "", "nobody@example.org", "=> taken"},
		{"smtpd_reject_unlisted_sender = yes", "", "--from nobody@example.org daemon@example.org", "Sender address rejected"},
		{"smtpd_delay_reject = no", "smtpd_client_restrictions = reject", "daemon@example.org", "Client host rejected"},
		{"local_transport = other:[in.test]", "", "daemon@example.org", "other:[in.test]"},
		{"virtual_transport = other:[in.test]", "", "a@virtual.test", "other:[in.test]"},
		{"relay_transport = other:[in.test]", "", "a@relay.test", "other:[in.test]"},
		{"default_transport = other:[out.test]", "", local + "a@elsewhere.test", "other:[out.test]"},
		{"relayhost = [out.test]:2525", "", local + "a@elsewhere.test", "[out.test]:2525"},
		{"sender_dependent_relayhost_maps = inline:{@from.test=[by.test]}", "", local + "--from x@from.test a@elsewhere.test", "[by.test]"},
		{"sender_dependent_default_transport_maps = inline:{@from.test=other:[by.test]}", "", local + "--from x@from.test a@elsewhere.test", "other:[by.test]"},
		{"empty_address_relayhost_maps_lookup_key = null", "sender_dependent_relayhost_maps = inline:{null=[by.test]}", local + "--from <> a@elsewhere.test", "[by.test]"},
		{"empty_address_default_transport_maps_lookup_key = null", "sender_dependent_default_transport_maps = inline:{null=other:[by.test]}", local + "--from <> a@elsewhere.test", "other:[by.test]"},
		{"transport_maps = inline:{elsewhere.test=other:[by.test]}", "", local + "a@elsewhere.test", "other:[by.test]"},
		{"proxy_interfaces = 198.51.100.7", "local_recipient_maps =", local + "daemon@[198.51.100.7]", "local"},
		{"error_service_name = broken", "transport_maps = inline:{elsewhere.test=error:no}", local + "a@elsewhere.test", "error:no"},
		{"allow_percent_hack = no", "", local + "a%elsewhere.test@example.org", "unknown"},
		{"swap_bangpath = no", "", local + "elsewhere.test!a", "elsewhere.test!a@mx.example.org"},
		{"append_at_myorigin = yes\nmyorigin = alias.test", "", local + "a", "daemon"},
		{"append_dot_mydomain = yes\nmydomain = relay.test", "relay_domains = a.relay.test", local + "a@a", "relay"},
		{"recipient_delimiter = -", "", "daemon-x@example.org", "=> taken"},
		{"relocated_maps = inline:{daemon=new@place.test}", "", "daemon@example.org", "User has moved to new@place.test"},
		{"canonical_maps = inline:{b@relay.test=a@relay.test}", "", local + "b@relay.test", "a@relay.test"},
		{"recipient_canonical_maps = inline:{b@relay.test=a@relay.test}", "", local + "b@relay.test", "a@relay.test"},
		{"masquerade_domains = relay.test\nmasquerade_classes = envelope_recipient", "relay_domains = relay.test x.relay.test\nrelay_recipient_maps =", local + "a@x.relay.test", "a@relay.test"},
		{"parent_domain_matches_subdomains =", "relay_recipient_maps =", "a@sub.relay.test", "=> refused"},
		{"smtpd_helo_required = yes\nsmtpd_helo_restrictions = reject_non_fqdn_helo_hostname", "", "--helo x daemon@example.org", "Helo command rejected"},
		{"smtpd_sender_login_maps = inline:{a@example.org=other}\nsmtpd_sender_restrictions = reject_sender_login_mismatch", "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot", "--sasl ann --from a@example.org daemon@example.org", "not owned by user ann"},
		{"virtual_alias_expansion_limit = 1", "virtual_alias_maps = inline:{{a@alias.test=daemon@example.org, root@example.org}}", "a@alias.test", "unreasonable virtual_alias_maps map expansion size"},
	} {
		t.Run(strings.Fields(c.line)[0], func(t *testing.T) {
			with, without := rowsAnswer(t, c.more+"\n"+c.line, c.args), rowsAnswer(t, c.more, c.args)
			if !strings.Contains(with, c.want) {
				t.Errorf("%s\n%s: no %q in\n%s", c.line, c.args, c.want, with)
			}
			if with == without {
				t.Errorf("%s changes nothing for %s:\n%s", c.line, c.args, with)
			}
		})
	}
}

func rowsAnswer(t *testing.T, lines, args string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": rowsMain + lines + "\n", "master.cf": rowsMaster} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	Run(append([]string{"-c", dir}, strings.Fields(args)...), &out, &out)
	// What is said of the place of a line is no effect of it.
	return strings.ReplaceAll(out.String(), dir, "DIR")
}
