package policy

import "strings"

// oracleRelays are domains that are relayed for, with the user x.
var oracleRelays = strings.Fields("bad.test hold.test filter.test prepend.test good.test ifp.test rcptdsn.test snddsn.test discard.test badmx.test")

// oracleCases are compared with Postfix by TestAgainstPostfix.
func oracleCases() (out []oracleCase) {
	add := func(set, client string, steps ...string) {
		out = append(out, oracleCase{set, client, strings.Join(steps, "|")})
	}
	rcpt := func(list string, steps ...string) { add("rcpt: "+list, "", steps...) }
	message := func(from, to string) []string { return []string{"H c.ok.test", "M " + from, "R " + to, "D"} }

	for _, l := range []string{"permit", "reject", "defer", "defer_if_permit permit", "defer_if_permit reject", "defer_if_reject reject",
		"defer_if_reject permit", "defer_if_reject, defer_if_permit, reject", "warn_if_reject reject permit", "warn_if_reject defer_if_permit permit",
		"warn_if_reject defer_if_reject reject", "reject_plaintext_session", "permit_mynetworks reject",
		"permit_auth_destination reject", "reject_unknown_client_hostname", "reject_unauth_pipelining", "sleep 1 reject",
		"permit_naked_ip_address reject", "check_relay_domains"} {
		rcpt(l)
	}
	// The same everywhere.
	for _, at := range []string{"client", "helo", "sender", "rcpt", "data", "eod"} {
		for _, l := range []string{"reject", "defer", "defer_if_permit", "warn_if_reject reject", "reject_multi_recipient_bounce"} {
			add(at+": "+l, "")
			if l != "reject_multi_recipient_bounce" {
				if at != "client" {
					add(at+": "+l+"|smtpd_delay_reject = no", "")
				}
			}
		}
	}
	add("client: permit_mynetworks, reject|smtpd_delay_reject = no", "", "N")
	add("client: permit_mynetworks, warn_if_reject reject|smtpd_delay_reject = no", "")
	add("etrn: reject", "", "H c.ok.test", "E here.test")
	add("etrn: check_etrn_access texthash:T/access", "", "H c.ok.test", "E bad.test", "E holdt.test", "E other.test")
	add("data: reject_multi_recipient_bounce", "", "H c.ok.test", "M ", "R bob@here.test", "R alice@here.test", "D")
	add("rcpt: reject_multi_recipient_bounce", "", "H c.ok.test", "M ", "R bob@here.test", "R alice@here.test", "D")
	add("data: reject", "", "H c.ok.test", "M user@ok.test", "R bob@here.test", "R alice@here.test", "D")

	// Every action, asked for a sender and for a recipient and for names.
	for line := range strings.Lines(oracleTables["access"]) {
		key, _, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(key, ".test") || strings.ContainsAny(key, `"@`) || key == "class.test" || key == "c.ok.test" {
			continue
		}
		add("sender: check_sender_access texthash:T/access", "", message("x@"+key, "bob@here.test")...)
		if key != "hangup.test" && key != "close.test" {
			add("helo: check_helo_access texthash:T/access, reject_unknown_helo_hostname", "", "H "+key, "M user@ok.test", "R bob@here.test", "D")
		}
		add("client: check_client_access texthash:T/access", "name="+key+" rev="+key)
	}
	for _, key := range []string{"bad.test", "hold.test", "filter.test", "prepend.test", "good.test", "ifp.test", "rcptdsn.test", "snddsn.test", "discard.test", "dsn4.test", "dsn7.test"} {
		add("data: check_sender_access texthash:T/access", "", message("x@"+key, "bob@here.test")...)
		add("eod: check_sender_access texthash:T/access", "", message("x@"+key, "bob@here.test")...)
		add("rcpt: check_recipient_access texthash:T/access", "", message("user@ok.test", "x@"+key)...)
		add("rcpt: warn_if_reject check_sender_access texthash:T/access", "", message("x@"+key, "bob@here.test")...)
		add("helo: check_helo_access texthash:T/access|smtpd_delay_reject = no", "", "H "+key, "M user@ok.test", "R bob@here.test", "D")
		add("client: check_reverse_client_hostname_access texthash:T/access", "name=c.ok.test rev="+key)
	}
	add("smtpd_restriction_classes = strict, nested|strict = reject_non_fqdn_sender, permit|nested = strict, reject|sender: check_sender_access texthash:T/access", "", message("x@class.test", "bob@here.test")...)
	add("smtpd_restriction_classes = strict, nested|strict = reject_non_fqdn_sender|nested = strict, reject|rcpt: warn_if_reject nested, permit", "")
	add("smtpd_restriction_classes = strict, nested|strict = texthash:T/access|nested = strict, reject|rcpt: nested|sender: nested", "", message("x@bad.test", "bob@here.test")...)
	add("rcpt: check_sender_access texthash:T/access|sender: reject|smtpd_restriction_classes = strict|strict = reject", "", message("x@class.test", "bob@here.test")...)

	// Keys.
	for _, from := range []string{"user@full.test", "user+ext@full.test", "user+other@full.test", "local@any.test", "", "x@sub.domain.test", "x@deep.sub.domain.test",
		"x@other.domain.test", `"a b"@quoted.test`, "x@BAD.TEST", "x"} {
		add("sender: check_sender_access texthash:T/access", "", message(from, "bob@here.test")...)
		add("sender: check_sender_access texthash:T/access|parent_domain_matches_subdomains =", "", message(from, "bob@here.test")...)
	}
	add("sender: check_sender_access texthash:T/access|smtpd_null_access_lookup_key = null@nowhere", "", message("", "bob@here.test")...)
	for _, l := range []string{"regexp:T/re", "pcre:T/re"} {
		add("sender: check_sender_access "+l, "", message("joe@re.test", "bob@here.test")...)
		add("sender: check_sender_access "+l, "", message("joe@sub.test", "bob@here.test")...)
		add("client: check_client_access "+l, "addr=192.0.2.5")
	}
	for _, addr := range []string{"192.0.2.5", "192.0.2.77", "192.0.2.78", "10.1.2.3"} {
		add("client: check_client_access texthash:T/access", "name=n.test addr="+addr)
		add("client: check_client_access cidr:T/cidr, permit_mynetworks, reject", "name=n.test addr="+addr)
	}
	add("rcpt: check_sasl_access texthash:T/access", "login=alice")
	add("rcpt: check_sasl_access texthash:T/access", "login=bob")
	add("rcpt: texthash:T/access", "", message("user@ok.test", "x@bad.test")...)
	add("rcpt: check_recipient_access texthash:T/access, reject|relay: permit", "", message("user@ok.test", "x%other.test@good.test")...)
	add("sender: check_sender_access fail:now", "")
	add("sender: check_sender_access fail:now, permit|rcpt: warn_if_reject check_recipient_access fail:now", "")

	// MX, NS, A.
	for _, d := range []string{"badmx.test", "badmxaddr.test", "badns.test", "www.badns.test", "bada.test", "goodmx.test", "null.test", "nx.test", "slow.test", "nomxhost.test", "[192.0.2.66]", "bad.test"} {
		for _, k := range []string{"a", "mx", "ns"} {
			add("sender: check_sender_"+k+"_access texthash:T/mx", "", message("x@"+d, "bob@here.test")...)
		}
	}
	for _, k := range []string{"a", "mx", "ns"} {
		add("helo: check_helo_"+k+"_access texthash:T/mx", "", "H badmx.test", "M user@ok.test", "R bob@here.test")
		add("client: check_client_"+k+"_access texthash:T/mx", "name=badmx.test")
		add("client: check_reverse_client_hostname_"+k+"_access texthash:T/mx", "rev=badmx.test")
		add("client: check_client_"+k+"_access texthash:T/mx", "name=[UNAVAILABLE]")
		add("rcpt: check_recipient_"+k+"_access texthash:T/mx", "", message("user@ok.test", "x@badmx.test")...)
	}

	// Names.
	for _, h := range []string{"foo", "f!oo", "foo.", "a..b", "[192.0.2.1]", "[IPv6:::1]", "[::1]", "[x]", "192.0.2.1", "nx.test", "slow.test", "onlya.test", "null.test", "c.ok.test", "-x.test", "foo.bar."} {
		for _, r := range []string{"reject_invalid_helo_hostname", "reject_non_fqdn_helo_hostname", "reject_unknown_helo_hostname", "permit_naked_ip_address,reject"} {
			add("helo: "+r, "", "H "+h, "M user@ok.test", "R bob@here.test")
		}
	}
	for _, a := range []string{"x@foo", "x", "x@nx.test", "x@slow.test", "x@null.test", "x@onlya.test", "x@[192.0.2.1]", "x@ok.test", "x@here.test", "x@foo.test.", "", "x@relay.test"} {
		for _, r := range []string{"reject_non_fqdn_sender", "reject_unknown_sender_domain", "reject_unlisted_sender", "reject_unknown_address"} {
			add("sender: "+r, "", message(a, "bob@here.test")...)
		}
		if a != "" {
			for _, r := range []string{"reject_non_fqdn_recipient", "reject_unknown_recipient_domain"} {
				add("rcpt: "+r+",permit_mynetworks,reject_unauth_destination", "addr=10.0.0.1", "H c.ok.test", "M user@ok.test", "R "+a)
			}
		}
	}
	for _, a := range []string{"bob@here.test", "nobody@here.test", "info@va.test", "no@va.test", "bob@vm.test", "no@vm.test", "ok@relay.test", "no@relay.test", "x@closed.test",
		"x@later.test", "bob+ext@here.test", "postmaster", "postmaster@here.test", "MAILER-DAEMON@here.test", "double-bounce@here.test", "x@else.test"} {
		add("rcpt: permit_mynetworks, reject_unauth_destination", "addr=10.0.0.1", "H c.ok.test", "M user@ok.test", "R "+a, "V "+a)
		if a == "no@va.test" {
			continue // trivial-rewrite(8) says the text, and knows no -o of smtpd's
		}
		add("rcpt: reject_unlisted_recipient, reject_unauth_destination|show_user_unknown_table_name = no", "", "H c.ok.test", "M user@ok.test", "R "+a)
		add("smtpd_reject_unlisted_sender = yes", "", "H c.ok.test", "M "+a, "R bob@here.test")
		add("smtpd_reject_unlisted_recipient = no|soft_bounce = yes", "", "H c.ok.test", "M user@ok.test", "R "+a)
	}
	add("receive_override_options = no_unknown_recipient_checks|rcpt: reject_unlisted_recipient", "", "H c.ok.test", "M user@ok.test", "R nobody@here.test")
	for _, c := range []string{"name=[UNAVAILABLE] rev=[UNAVAILABLE]", "name=[TEMPUNAVAIL] rev=[TEMPUNAVAIL]", "name=[UNAVAILABLE] rev=x.test", ""} {
		add("client: reject_unknown_client_hostname", c)
		add("client: reject_unknown_reverse_client_hostname", c)
		add("client: warn_if_reject,reject_unknown_client|unknown_client_reject_code = 554", c)
	}
	add("unknown_helo_hostname_tempfail_action = defer|helo: reject_unknown_helo_hostname", "", "H slow.test", "M user@ok.test", "R bob@here.test")
	add("reject_tempfail_action = defer|sender: reject_unknown_sender_domain", "", message("x@slow.test", "bob@here.test")...)
	add("unknown_address_reject_code = 550|sender: reject_unknown_sender_domain", "", message("x@nx.test", "bob@here.test")...)
	add("access_map_reject_code = 450|access_map_defer_code = 451|sender: check_sender_access texthash:T/access", "", message("x@bad.test", "bob@here.test")...)
	add("reject_code = 550|rcpt: reject", "")
	add("defer_code = 451|rcpt: defer", "")
	add("soft_bounce = yes|rcpt: reject", "")
	add("smtpd_relay_before_recipient_restrictions = no|relay: reject|rcpt: defer", "")

	// DNS lists.
	for _, l := range []string{"bl.test", "bl.test=127.0.0.2", "bl.test=127.0.0.3", "bl.test=127.0.0.[1;2..5]", "bl.test=[127.0.0.2]", "nx.test", "slow.test", "bl2.test", "bl3.test", "bl4.test"} {
		add("client: reject_rbl_client "+l, "")
		add("client: reject_rbl_client "+l+"|rbl_reply_maps = texthash:T/rbl", "")
		add("client: permit_dnswl_client "+l+", reject", "")
		add("rcpt: permit_dnswl_client "+l+", reject|relay: permit_dnswl_client "+l+", reject", "", message("user@ok.test", "x@else.test")...)
	}
	for _, k := range []string{"client", "reverse_client", "helo", "sender", "recipient"} {
		add("rcpt: reject_rhsbl_"+k+" rhs.test", "")
		add("rcpt: reject_rhsbl_"+k+" rhs.test=127.0.0.2", "")
		add("rcpt: reject_rhsbl_"+k+" rhs.test", "name=[UNAVAILABLE] rev=[UNAVAILABLE]", "H [1.2.3.4]", "M x@[1.2.3.4]", "R bob@here.test")
	}
	add("rcpt: permit_rhswl_client rhs.test, reject", "")
	add("rcpt: permit_rhswl_client slow.test, reject", "")
	add("client: reject_maps_rbl|maps_rbl_domains = nx.test bl.test", "")
	add("client: reject_rbl bl.test", "")
	add("client: reject_rbl_client bl.test|maps_rbl_reject_code = 550|default_rbl_reply = $rbl_code $client_name $helo_name $recipient_name$(server_name)${rbl_reason:none}", "")

	// Owners of senders.
	for _, r := range []string{"reject_sender_login_mismatch", "reject_known_sender_login_mismatch", "reject_authenticated_sender_login_mismatch", "reject_unauthenticated_sender_login_mismatch"} {
		for _, login := range []string{"", "login=alice", "login=BOB", "login=carol", "login=dave"} {
			for _, from := range []string{"owned@here.test", "shared@here.test", "any@dom.test", "free@here.test", "user@here.test", "owned+x@here.test", ""} {
				add("sender: "+r, login, "H c.ok.test", "M "+from, "R bob@here.test")
			}
		}
	}
	add("sender: reject_sender_login_mismatch|smtpd_sasl_auth_enable = no", "", "H c.ok.test", "M owned@here.test", "R bob@here.test")
	add("rcpt: permit_sasl_authenticated, reject", "login=alice")

	// MX backup.
	for _, d := range []string{"backup.test", "primary.test", "notbackup.test", "backup2.test", "nx.test", "slow.test", "relay.test", "[192.0.2.1]"} {
		add("relay: permit_mx_backup, reject|rcpt: permit_mx_backup, reject", "", "H c.ok.test", "M user@ok.test", "R ok@"+d)
		add("relay: permit_mx_backup, reject|permit_mx_backup_networks = 192.0.2.10", "", "H c.ok.test", "M user@ok.test", "R ok@"+d)
		add("relay: permit_mx_backup, reject|permit_mx_backup_networks = 10.0.0.0/8", "", "H c.ok.test", "M user@ok.test", "R ok@"+d)
	}

	// What is permitted, what is added to replies, servers that are not there.
	for _, l := range []string{"permit_mynetworks", "permit", "permit_auth_destination", "check_sender_access texthash:T/access"} {
		add("smtpd_log_access_permit_actions = static:all|rcpt: "+l, "addr=10.0.0.1", message("x@good.test", "bob@here.test")...)
		add("smtpd_log_access_permit_actions = OK, permit_mynetworks|rcpt: "+l, "addr=10.0.0.1", message("x@good.test", "bob@here.test")...)
	}
	add("smtpd_reject_footer = For help call $server_name|rcpt: reject", "")
	add("smtpd_reject_footer = \\c, $client_address from $sender to $recipient_name\\nsecond line|rcpt: reject", "")
	add("smtpd_reject_footer_maps = regexp:T/footer|smtpd_reject_footer = default", "", "H c.ok.test", "M user@ok.test", "R nobody@here.test", "R x@else.test", "R no@vm.test")
	add("rcpt: check_policy_service inet:127.0.0.1:9|smtpd_policy_service_try_limit = 1", "")
	add("rcpt: check_policy_service unix:private/nothing|smtpd_policy_service_retry_delay = 1s", "")
	add("rcpt: check_policy_service {inet:127.0.0.1:9, try_limit=1, default_action=DUNNO}", "")
	add("rcpt: check_policy_service {inet:127.0.0.1:9, try_limit=1, { default_action = 450 4.7.7 not now }}", "")
	add("smtpd_policy_service_default_action = REJECT closed|rcpt: check_policy_service {inet:127.0.0.1:9, try_limit=1}", "")
	server := "check_policy_service inet:" + oracleServer
	for _, at := range []string{"client", "helo", "sender", "rcpt", "data"} {
		add(at+": "+server, "")
		add(at+": "+server, "name=[UNAVAILABLE] rev=[TEMPUNAVAIL]", "H c.ok.test", "M ", "R bob+x@here.test", "R alice@here.test", "D")
		add(at+": "+server+", reject", "", "H c.ok.test", "M dunno@ok.test", "R bob@here.test", "D")
		add(at+": warn_if_reject "+server, "")
	}
	for _, at := range []string{"helo", "sender"} {
		add(at+": "+server+"|smtpd_delay_reject = no", "", "H foo", "M user@ok.test", "R bob@here.test", "D")
	}
	add("rcpt: check_policy_service { inet:"+oracleServer+", { policy_context = some thing } }", "")
	add("etrn: "+server, "", "H c.ok.test", "E here.test")
	return out
}
