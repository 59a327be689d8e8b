package smtpd

import (
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"packetboat/test/oracle"
)

// realPostfix is a private Postfix on ports of 127.0.0.1.
type realPostfix struct {
	*oracle.Postfix
	addrs map[string]string // by service
}

// postfixServices are the options that make Postfix's services those of
// services().
var postfixServices = map[string][]string{
	"plain":  {},
	"quick":  {"smtpd_timeout=2s"},
	"limits": {"smtpd_helo_required=yes", "smtpd_hard_error_limit=5", "smtpd_soft_error_limit=3", "smtpd_recipient_limit=3", "smtpd_data_restrictions=reject_unauth_pipelining"},
	"strict": {"strict_rfc821_envelopes=yes", "disable_vrfy_command=yes"},
	"now":    {"smtpd_delay_reject=no", "smtpd_helo_restrictions=reject_invalid_helo_hostname,reject_non_fqdn_helo_hostname", "smtpd_sender_restrictions=reject_non_fqdn_sender"},
	"closed": {"smtpd_delay_reject=no", "smtpd_client_restrictions=permit_mynetworks,reject"},
	"lists": {"smtpd_sender_restrictions=warn_if_reject,reject_non_fqdn_sender",
		"smtpd_recipient_restrictions=reject_non_fqdn_recipient,reject_multi_recipient_bounce,permit_mynetworks,defer_if_permit,reject_unauth_destination",
		"smtpd_relay_restrictions=permit_mynetworks,reject_unauth_destination"},
	"xclient": {"smtpd_authorized_xclient_hosts=127.0.0.3, !127.0.0.5, 127.0.0.4/31", "smtpd_authorized_xforward_hosts=127.0.0.3",
		"smtpd_sasl_auth_enable=yes", "smtpd_sasl_type=dovecot", "smtpd_sasl_path=../auth.sock"},
	"haproxy": {"smtpd_upstream_proxy_protocol=haproxy", "smtpd_upstream_proxy_timeout=5s"},
	"rates":   {"smtpd_client_message_rate_limit=2", "smtpd_client_recipient_rate_limit=3", "smtpd_client_event_limit_exceptions=127.0.0.9"},
	"conns":   {"smtpd_client_connection_rate_limit=2", "smtpd_client_event_limit_exceptions="},
	"cmds": {"smtpd_command_filter=pcre:DIR/etc/filter", "smtpd_noop_commands=FROB, XYZZY", "smtpd_forbidden_commands=CONNECT GET POST pcre:DIR/etc/bad",
		"smtpd_discard_ehlo_keywords=silent-discard, dsn, etrn", "smtpd_discard_ehlo_keyword_address_maps=inline:{127.0.0.4=chunking}"},
	"bare":      {"smtpd_forbid_bare_newline=reject", "smtpd_forbid_bare_newline_exclusions=127.0.0.9"},
	"through":   {"smtpd_proxy_filter=SINK"},
	"pipeproxy": {"smtpd_forbid_unauth_pipelining=yes", "smtpd_upstream_proxy_protocol=haproxy"},
	"pipe":      {"smtpd_forbid_unauth_pipelining=yes"},
	"etrn":      {"fast_flush_domains=relay.test"},
	"ports": {"smtpd_client_port_logging=yes", "smtpd_authorized_xclient_hosts=127.0.0.3", "smtpd_authorized_xforward_hosts=127.0.0.3", "smtpd_delay_reject=no",
		"smtpd_client_restrictions=permit_mynetworks, check_client_access inline:{{127.0.0.66 = REJECT}, {192.0.2.66 = REJECT}}", "smtpd_discard_ehlo_keyword_address_maps=inline:{{127.0.0.4 = verp chunking xclient smtputf8 auth nonsense starttls dsn}}",
		`smtpd_reject_footer=\c; told to $client`},
	"except": {"smtpd_sasl_auth_enable=yes", "smtpd_sasl_type=dovecot", "smtpd_sasl_path=../auth.sock",
		"smtpd_sasl_exceptions_networks=127.0.0.4", "broken_sasl_auth_clients=yes", "smtpd_sasl_mechanism_filter=plain"},
	"arate": {"smtpd_sasl_auth_enable=yes", "smtpd_sasl_type=dovecot", "smtpd_sasl_path=../auth.sock", "smtpd_client_auth_rate_limit=2"},
	"auth":  {"smtpd_sasl_auth_enable=yes", "smtpd_sasl_type=dovecot", "smtpd_sasl_path=../auth.sock"},
}

const postfixMain = `myhostname = mail.example.org
mydomain = example.org
myorigin = mail.example.org
mydestination = mail.example.org, localhost
mynetworks = 127.0.0.1/32
inet_protocols = all
smtpd_banner = $myhostname ESMTP Postfix (Debian/GNU)
message_size_limit = 200000
smtpd_error_sleep_time = 0
smtpd_timeout = 90s
anvil_rate_time_unit = 1h
smtpd_client_connection_count_limit = 0
smtpd_forbid_bare_newline = normalize
smtpd_forbid_bare_newline_exclusions =
virtual_alias_domains = va.test
virtual_alias_maps = inline:{ info@va.test=alice }
virtual_mailbox_domains = vm.test
virtual_mailbox_maps = inline:{ bob@vm.test=bob }
relay_domains = relay.test
relay_recipient_maps = inline:{ ok@relay.test=x }
local_recipient_maps = inline:{ alice=x bob=x postmaster=x root=x }
recipient_delimiter = +
smtpd_tls_cert_file = DIR/etc/cert.pem
smtpd_tls_key_file = DIR/etc/cert.pem
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
defer_transports = smtp relay local virtual
`

// startPostfix starts it, or skips the test where that is not possible.
func startPostfix(t *testing.T) *realPostfix {
	t.Helper()
	p := &realPostfix{oracle.NewPostfix(t, "3."), map[string]string{}}
	master := ""
	_, sink := startSink(t)
	for name, opts := range postfixServices {
		p.addrs[name] = oracle.Address(t)
		var own []string
		for _, o := range opts {
			k, v, _ := strings.Cut(strings.ReplaceAll(o, "SINK", sink), "=")
			own = append(own, k+" = "+v)
		}
		master += oracle.Service(p.addrs[name]+" inet n - n - - smtpd", own...)
	}
	writeTables(t, p.Dir+"/etc")
	p.Lay(postfixMain, master)
	startAuth(t, p.Dir+"/auth.sock")
	p.Start()
	return p
}

// writeTables makes the tables of the services cmds.
func writeTables(t *testing.T, dir string) {
	t.Helper()
	write(t, dir+"/filter", "/^helo(.*)/ EHLO$1\n/^EVIL/ NOOP\n/^(MAIL FROM:<.*>) NOTIFY=\\S+/ $1\n")
	write(t, dir+"/bad", "/^BAD/ no\n")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

var smtpdLine = regexp.MustCompile(`postfix/smtpd\[\d+\]: (.*)`)

// log returns the texts of smtpd's lines.
func (p *realPostfix) log() (out []string) {
	for _, m := range smtpdLine.FindAllStringSubmatch(p.Log(), -1) {
		out = append(out, m[1])
	}
	return out
}

// body returns the message that a "queued as" reply names, without Received.
func (p *realPostfix) body(id string) string {
	b, _ := p.Command("postcat", "-h", "-b", "-q", id).Output()
	text := string(b)
	for range 3 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

// TestPostfixAgrees runs the dialogues against a real Postfix: so the files
// tell the truth about it, and our server has to follow. Sessions run side by
// side, because some wait for time-outs.
func TestPostfixAgrees(t *testing.T) {
	p := startPostfix(t)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 6)
	for _, d := range readDialogues(t) {
		if p.addrs[d.service] == "" {
			continue // of ours only
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			conn := dialFrom(t, d.from, p.addrs[d.service])
			defer conn.Close()
			d.run(t, &peer{who: "postfix", conn: conn, log: p.log, body: p.body})
		})
	}
	wg.Wait()
}
