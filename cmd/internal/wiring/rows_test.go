package wiring

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/receive/milter"
	"packetboat/internal/send/remote"
	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
)

// client returns the options of a service smtp or lmtp with a main.cf.
func client(t *testing.T, command, text string) (remote.Options, error) {
	t.Helper()
	m := load(t, "compatibility_level = 3.6\nmyhostname = mail.test\nalias_maps =\n"+text)
	k := &Kit{Main: m, Logs: maillog.To(newTestLog(t), maillog.Options{}), Names: &dns.Resolver{}}
	var err error
	if k.Router, err = k.NewRouter(); err != nil {
		t.Fatal(err)
	}
	return k.Client(config.Service{Name: command, Type: "unix", Command: command}, m)
}

// plain writes the fields of options that can be compared: values as they are, of
// tables and functions only whether they are there.
func plain(v reflect.Value, path string, out map[string]string) map[string]string {
	for i := range v.NumField() {
		f, name := v.Field(i), path+v.Type().Field(i).Name
		switch f.Kind() {
		case reflect.Struct:
			plain(f, name+".", out)
		case reflect.Pointer:
			if out[name] = fmt.Sprint(f.IsNil()); !f.IsNil() && f.Elem().Type() == reflect.TypeFor[remote.SASL]() {
				plain(f.Elem(), name+".", out)
			}
		case reflect.Interface, reflect.Func, reflect.Map:
			out[name] = fmt.Sprint(f.IsNil())
		case reflect.Slice:
			out[name] = fmt.Sprint(f.Len(), f.Type())
			if f.Type().Elem().Kind() == reflect.String {
				out[name] = fmt.Sprintf("%q", f.Interface())
			}
		default:
			out[name] = fmt.Sprint(f)
		}
	}
	return out
}

func fields(t *testing.T, command, text string) map[string]string {
	t.Helper()
	o, err := client(t, command, text)
	if err != nil {
		t.Errorf("%s with %q: %v", command, text, err)
	}
	o.LMTP = false
	out := plain(reflect.ValueOf(o), "", map[string]string{})
	delete(out, "Program")
	return out
}

// changed are the fields in which two differ.
func changed(a, b map[string]string) map[string]string {
	out := map[string]string{}
	for name, v := range b {
		if a[name] != v {
			out[name] = a[name] + " -> " + v
		}
	}
	return out
}

// twins are the parameters of lmtp(8) that code reads, with a value that is not the
// default and the further lines that it needs to count.
func twins(t *testing.T, files map[string]string) (list []struct{ lmtp, smtp, value, more string }) {
	special := map[string]string{"tls_security_level": "encrypt", "tls_loglevel": "2", "address_preference": "ipv6", "tls_protocols": ">=TLSv1.2",
		"tls_mandatory_protocols": ">=TLSv1.3", "dns_support_level": "dnssec", "sasl_security_options": "noplaintext", "sasl_tls_security_options": "noplaintext",
		"sasl_tls_verified_security_options": "noplaintext", "bind_address": "127.0.0.9", "bind_address6": "::1", "tcp_port": "2424", "sasl_type": "cyrus",
		"tls_fingerprint_digest": "md5", "tls_eccert_file": files["pair"], "tls_eckey_file": files["pair"], "tls_exclude_ciphers": "RC4", "tls_mandatory_exclude_ciphers": "RC4", "lhlo_name": "other.test", "sasl_mechanism_filter": "plain",
		"discard_lhlo_keywords": "dsn", "tls_cert_file": files["pair"], "tls_key_file": files["pair"], "tls_chain_files": files["pair"], "tls_CAfile": files["pair"],
		"tls_CApath": files["dir"], "tls_trust_anchor_file": files["pair"], "tls_policy_maps": "static:encrypt", "tls_per_site": "static:MAY", "sasl_password_maps": "static:a:b",
		"host_lookup": "native"}
	more := map[string]string{"sasl_": "CMD_sasl_auth_enable = yes\nCMD_sasl_password_maps = static:a:b\n", "sender_dependent": "CMD_sasl_auth_enable = yes\nCMD_sasl_password_maps = static:a:b\n",
		"tls_": "CMD_tls_security_level = may\n", "tls_key_file": "CMD_tls_cert_file = " + files["cert"] + "\nCMD_tls_security_level = may\n", "tls_enforce_peername": "CMD_enforce_tls = yes\n", "tls_security_level": "\n", "tls_wrappermode": "CMD_tls_security_level = encrypt\n",
		"tls_eckey_file": "CMD_tls_eccert_file = " + files["cert"] + "\nCMD_tls_security_level = may\n"}
	for _, p := range config.Params() {
		rest, ok := strings.CutPrefix(p.Name, "lmtp_")
		smtp := "smtp_" + strings.Replace(strings.Replace(rest, "lhlo_keyword", "ehlo_keyword", 1), "lhlo", "helo", 1)
		if _, known := config.LookupParam(smtp); !ok || !known || p.State != config.StateDone {
			continue
		}
		c := struct{ lmtp, smtp, value, more string }{lmtp: p.Name, smtp: smtp, value: special[rest]}
		if c.value == "" {
			switch def, _ := load(t, "").Lookup(p.Name); p.Type {
			case config.TypeBool:
				c.value = map[bool]string{true: "no", false: "yes"}[def == "yes"]
			case config.TypeTime:
				c.value = "77s"
			case config.TypeInt, config.TypeLong:
				c.value = "3"
			default:
				c.value = "static:x"
			}
		}
		longest := ""
		for prefix, lines := range more {
			if strings.HasPrefix(rest, prefix) && len(prefix) > len(longest) {
				longest, c.more = prefix, lines
			}
		}
		if rest == "sasl_auth_enable" {
			c.more = "CMD_sasl_password_maps = static:a:b\n"
		}
		list = append(list, c)
	}
	return list
}

// unseen are twins whose values cannot be told from each other by looking at fields;
// TestLMTPTables asks what they do.
var unseen = []string{"lmtp_dns_reply_filter", "lmtp_sasl_password_maps", "lmtp_sasl_type"}

// TestLMTPTables: the twins whose effect is a table's.
func TestLMTPTables(t *testing.T) {
	o, err := client(t, "lmtp", "smtp_sasl_auth_enable = no\nlmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:s:p\nlmtp_sasl_password_maps = static:l:p\n")
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := o.SASL.Passwords.Lookup(t.Context(), "host.test"); v != "l:p" || !ok || err != nil {
		t.Errorf("the password is %q, %v", v, err)
	}
	if _, err := client(t, "lmtp", "lmtp_sasl_auth_enable = yes\nlmtp_sasl_password_maps = static:l:p\nlmtp_sasl_type = dovecot\n"); err == nil {
		t.Error("lmtp_sasl_type = dovecot is taken")
	}
	for text, filtered := range map[string]bool{"smtp_dns_reply_filter = static:x\n": false, "lmtp_dns_reply_filter = static:x\n": true} {
		m := load(t, "compatibility_level = 3.6\nalias_maps =\n"+text)
		k := &Kit{Main: m, Logs: maillog.To(newTestLog(t), maillog.Options{}), Names: &dns.Resolver{}}
		if k.Router, err = k.NewRouter(); err != nil {
			t.Fatal(err)
		}
		o, err := k.Client(config.Service{Name: "lmtp", Type: "unix", Command: "lmtp"}, m)
		if err != nil || (o.Resolver != k.Names) != filtered {
			t.Errorf("%q: %v %v", text, o.Resolver, err)
		}
	}
}

// TestLMTPTwins: each parameter of lmtp(8) does to an LMTP client what its twin does
// to an SMTP client, and the twin does nothing to it.
func TestLMTPTwins(t *testing.T) {
	dir := t.TempDir()
	pair := issue(t, dir+"/pair.pem", "client.test", true)
	b, err := os.ReadFile(pair)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "-----BEGIN CERTIFICATE")
	files := map[string]string{"pair": pair, "cert": dir + "/cert.pem", "dir": dir}
	for name, text := range map[string]string{"cert.pem": string(b[at:]), "12345678.0": string(b[at:])} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := twins(t, files)
	if len(list) < 60 {
		t.Fatalf("only %d twins", len(list))
	}
	for _, c := range list {
		if slices.Contains(unseen, c.lmtp) {
			continue
		}
		base := func(cmd string) string {
			text := strings.ReplaceAll(c.more, "CMD", cmd)
			if strings.HasSuffix(c.lmtp, "key_file") { // a certificate without its key is an error
				text = cmd + "_tls_security_level = may\n"
			}
			return text
		}
		with := func(cmd, name string) string {
			return strings.ReplaceAll(c.more, "CMD", cmd) + name + " = " + c.value + "\n"
		}
		smtp := changed(fields(t, "smtp", base("smtp")), fields(t, "smtp", with("smtp", c.smtp)))
		lmtp := changed(fields(t, "lmtp", base("lmtp")), fields(t, "lmtp", with("lmtp", c.lmtp)))
		if len(smtp) == 0 {
			t.Errorf("%s = %s changes nothing", c.smtp, c.value)
		}
		for name, v := range smtp {
			if lmtp[name] == "" {
				t.Errorf("%s = %s does not change %s (%s by %s)", c.lmtp, c.value, name, v, c.smtp)
			}
		}
		if other := changed(fields(t, "lmtp", base("lmtp")), fields(t, "lmtp", base("lmtp")+c.smtp+" = "+c.value+"\n")); len(other) != 0 {
			t.Errorf("%s = %s changes LMTP: %v", c.smtp, c.value, other)
		}
	}
}

// TestClientTLS: the older switches, authorities and certificates of smtp(8).
func TestClientTLS(t *testing.T) {
	dir := t.TempDir()
	pair := issue(t, dir+"/pair.pem", "client.test", true)
	hashed := issue(t, dir+"/0a1b2c3d.0", "hashed.test", false)
	for text, want := range map[string]string{
		"": "none 0 0 0", "smtp_use_tls = yes\n": "may 0 0 0", "smtp_enforce_tls = yes\n": "verify 0 0 0", "smtp_enforce_tls = yes\nsmtp_tls_enforce_peername = no\n": "encrypt 0 0 0",
		"smtp_use_tls = yes\nsmtp_tls_security_level = none\n":                                                         "none 0 0 0",
		"smtp_tls_security_level = may\nsmtp_tls_loglevel = 1\nsmtp_tls_CAfile = " + pair + "\n":                       "may 1 1 0",
		"smtp_tls_security_level = may\nsmtp_tls_CApath = " + dir + "\n":                                               "may 0 1 0",
		"smtp_tls_security_level = may\nsmtp_tls_CAfile = " + pair + "\nsmtp_tls_CApath = " + dir + "\n":               "may 0 2 0",
		"smtp_tls_security_level = may\nsmtp_tls_trust_anchor_file = " + hashed + "\nsmtp_tls_CAfile = " + pair + "\n": "may 0 1 0",
		"smtp_tls_security_level = may\nsmtp_tls_cert_file = " + pair + "\n":                                           "may 0 0 1",
		"smtp_tls_security_level = may\nsmtp_tls_cert_file = " + pair + "\nsmtp_tls_eccert_file = " + hashed + "\n":    "may 0 0 2",
		"smtp_tls_security_level = may\nsmtp_tls_chain_files = " + hashed + "\nsmtp_tls_cert_file = " + pair + "\n":    "may 0 0 1",
	} {
		o, err := client(t, "smtp", text)
		roots := 0
		if o.Roots != nil {
			//lint:ignore SA1019 the pool holds files, not the system's authorities
			roots = len(o.Roots.Subjects())
		}
		if got := fmt.Sprintf("%s %d %d %d", o.TLSLevel, o.TLSLog, roots, len(o.Certificates)); err != nil || got != want {
			t.Errorf("%q gives %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{"smtp_tls_security_level = may\nsmtp_tls_cert_file = /nosuch\n": "no such file",
		"smtp_sasl_auth_enable = yes\n":         "specify a password table",
		"smtp_tls_security_level = sometimes\n": "sometimes",
		"smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:a:b\nsmtp_sasl_type = dovecot\n":     "unsupported SASL client",
		"smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:a:b\nsmtp_sasl_security_options = x": "smtp_sasl",
	} {
		if _, err := client(t, "smtp", text); err == nil || !strings.Contains(err.Error()+text, want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestServerTLSOlder: the older switches of smtpd(8), the other places of its
// certificates, and what only encrypt demands.
func TestServerTLSOlder(t *testing.T) {
	dir := t.TempDir()
	one := issue(t, dir+"/one.pem", "one.test", true)
	two := issue(t, dir+"/two.pem", "two.test", false)
	b, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "-----BEGIN CERTIFICATE")
	for name, text := range map[string]string{"key.pem": string(b[:at]), "cert.pem": string(b[at:])} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"smtpd_tls_cert_file = " + one + "\n":                                                                             "",
		"smtpd_use_tls = yes\nsmtpd_tls_cert_file = " + one + "\n":                                                        "may one.test",
		"smtpd_enforce_tls = yes\nsmtpd_tls_cert_file = " + one + "\n":                                                    "encrypt one.test",
		"smtpd_use_tls = yes\nsmtpd_tls_security_level = none\nsmtpd_tls_cert_file = " + one + "\n":                       "none",
		"smtpd_use_tls = yes\nsmtpd_tls_dcert_file = " + two + "\n":                                                       "may two.test",
		"smtpd_use_tls = yes\nsmtpd_tls_dcert_file = " + dir + "/cert.pem\nsmtpd_tls_dkey_file = " + dir + "/key.pem\n":   "may two.test",
		"smtpd_use_tls = yes\nsmtpd_tls_eccert_file = " + dir + "/cert.pem\nsmtpd_tls_eckey_file = " + dir + "/key.pem\n": "may two.test",
		"smtpd_use_tls = yes\nsmtpd_tls_chain_files = " + two + "\nsmtpd_tls_cert_file = " + one + "\n":                   "may two.test",
		"smtpd_use_tls = yes\nsmtpd_tls_cert_file = none\n":                                                               "",
	} {
		conf, _, o, err := serverTLS(t, text)
		got := o.TLSLevel
		if conf != nil {
			got += " " + name(t, conf, "x.test")
		}
		if strings.Contains(text, "= none\n") && !strings.Contains(text, "level = none") {
			got = strings.TrimPrefix(got, "may") // it goes on without TLS and the log says why
		}
		if err != nil || got != want {
			t.Errorf("%q gives %q, %v; want %q", text, got, err, want)
		}
	}
	for level, want := range map[string]string{"may": "one.test", "encrypt": "error"} {
		conf, _, _, err := serverTLS(t, "smtpd_tls_cert_file = "+one+"\nsmtpd_tls_mandatory_protocols = >=TLSv1.3\nsmtpd_tls_security_level = "+level+"\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := name(t, conf, "x.test", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256); got != want {
			t.Errorf("TLS 1.2 at level %s gets %s, want %s", level, got, want)
		}
	}
	for text, want := range map[string]tls.ClientAuthType{"": tls.NoClientCert, "smtpd_tls_ask_ccert = yes\n": tls.RequestClientCert, "smtpd_tls_req_ccert = yes\n": tls.RequestClientCert} {
		issue(t, dir+"/0a1b2c3d.0", "authority.test", false)
		conf, ca, _, err := serverTLS(t, "smtpd_tls_cert_file = "+one+"\nsmtpd_tls_security_level = encrypt\nsmtpd_tls_CApath = "+dir+"\n"+text)
		if err != nil || conf.ClientAuth != want || ca != (want == tls.RequestClientCert) {
			t.Errorf("%q: %v %v %v", text, conf.ClientAuth, ca, err)
		}
	}
	if _, _, _, err := serverTLS(t, "smtpd_tls_cert_file = "+one+"\nsmtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /nosuch\n"); err == nil {
		t.Error("a smtpd_tls_CAfile that is not there is taken")
	}
}

// TestDefaultLimits: what default_* says counts for every transport that says
// nothing itself.
func TestDefaultLimits(t *testing.T) {
	services, _, err := config.ParseMaster("master.cf", "smtp unix - - n - - smtp\nown unix - - n - - smtp\nlocal unix - n n - - local\n")
	if err != nil {
		t.Fatal(err)
	}
	feed := func(s string) sched.Feedback { f, _ := sched.ParseFeedback(s); return f }
	text := "default_transport_rate_delay = 7s\ndefault_destination_concurrency_positive_feedback = 1/sqrt_concurrency\n" +
		"default_destination_concurrency_negative_feedback = 1/8\ndefault_delivery_slot_cost = 0\ndefault_destination_concurrency_limit = 9\n" +
		"default_destination_recipient_limit = 11\ninitial_destination_concurrency = 3\ndefault_destination_concurrency_failed_cohort_limit = 2\n"
	for _, s := range []string{"_transport_rate_delay = 1s", "_destination_concurrency_positive_feedback = 1", "_destination_concurrency_negative_feedback = 1/4",
		"_delivery_slot_cost = 5", "_destination_concurrency_limit = 4", "_destination_recipient_limit = 5", "_initial_destination_concurrency = 2"} {
		text += "own" + s + "\n"
	}
	all := TransportLimits(load(t, text), services)
	want := sched.Limits{InitialConcurrency: 3, ConcurrencyLimit: 9, RecipientsPerJob: 11, FailedCohorts: 2, Positive: feed("1/sqrt_concurrency"), Negative: feed("1/8"),
		TransportRateDelay: 7 * time.Second, NoPreemption: true}
	own := sched.Limits{InitialConcurrency: 2, ConcurrencyLimit: 4, RecipientsPerJob: 5, FailedCohorts: 2, Positive: feed("1"), Negative: feed("1/4"), TransportRateDelay: time.Second}
	for name, want := range map[string]sched.Limits{"smtp": want, "own": own} {
		got, w := plain(reflect.ValueOf(all[name]), "", map[string]string{}), plain(reflect.ValueOf(want), "", map[string]string{})
		for _, f := range []string{"InitialConcurrency", "ConcurrencyLimit", "RecipientsPerJob", "FailedCohorts", "TransportRateDelay", "NoPreemption"} {
			if got[f] != w[f] {
				t.Errorf("%s: %s is %s, want %s", name, f, got[f], w[f])
			}
		}
		if all[name].Positive != want.Positive || all[name].Negative != want.Negative {
			t.Errorf("%s: feedback %+v", name, all[name])
		}
	}
	if l := all["local"]; l.RecipientsPerJob != 1 || l.ConcurrencyLimit != 2 {
		t.Errorf("local: %+v", l)
	}
}

// TestDefaultStatusFilter: default_delivery_status_filter counts for smtp(8) and
// lmtp(8) that say nothing themselves.
func TestDefaultStatusFilter(t *testing.T) {
	for text, want := range map[string]bool{"": false, "default_delivery_status_filter = static:x\n": true,
		"default_delivery_status_filter = static:x\nsmtp_delivery_status_filter =\nlmtp_delivery_status_filter =\n": false} {
		for _, command := range []string{"smtp", "lmtp"} {
			o, err := client(t, command, text)
			if err != nil || (o.Statuses != nil) != want {
				t.Errorf("%s %q: %v %v", command, text, o.Statuses, err)
			}
		}
	}
}

// TestMynetworksStyle: what the style trusts where mynetworks is not set.
func TestMynetworksStyle(t *testing.T) {
	for style, wide := range map[string]bool{"host": false, "subnet": true, "class": true} {
		m := load(t, "mynetworks_style = "+style+"\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n")
		nets := config.Fields(m.Get("mynetworks"))
		if got := slices.Contains(nets, "127.0.0.0/8"); got != wide || !wide && !slices.Equal(nets, []string{"127.0.0.1/32"}) {
			t.Errorf("%s trusts %v", style, nets)
		}
	}
}

// TestMilterMaps: smtpd_milter_maps gives a client milters of its own or none; who is
// not in it has smtpd_milters, and so has everybody when the table fails.
func TestMilterMaps(t *testing.T) {
	of := func(text string) func(client string) *milter.Set {
		m := load(t, "compatibility_level = 3.6\nalias_maps =\nsmtpd_milters = inet:127.0.0.1:1\n"+text)
		out, err := (&Kit{Main: m, Logs: maillog.To(newTestLog(t), maillog.Options{})}).SMTPDMilters(m)
		if err != nil {
			t.Fatal(err)
		}
		return func(client string) *milter.Set { return out.For(netip.MustParseAddr(client)) }
	}
	get := of("smtpd_milter_maps = cidr:{{192.0.2.1 DISABLE} {192.0.2.2 inet:127.0.0.1:2} {192.0.2.3 nonsense}}\n")
	common := get("192.0.2.9")
	if common == nil || get("192.0.2.1") != nil || get("192.0.2.2") == common || get("192.0.2.2") == nil || get("192.0.2.3") != common {
		t.Errorf("common %v, disabled %v, own %v, bad %v", common, get("192.0.2.1"), get("192.0.2.2"), get("192.0.2.3"))
	}
	failing := of("smtpd_milter_maps = fail:x\n")
	if failing("192.0.2.1") == nil {
		t.Error("without an answer of the table there is no milter")
	}
}
