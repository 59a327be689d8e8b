package policy

import "packetboat/internal/receive/policy/hosts"

// argKind says what follows a restriction's name.
type argKind uint8

const (
	noArg      argKind = iota
	tableArg           // a table, opened at the start
	certArg            // a table, or { table, { search_order = ... } }
	zoneArg            // a DNS list: zone or zone=addresses
	serverArg          // a policy server
	secondsArg         // a number
)

// entry is one restriction.
type entry struct {
	name string // today's name
	run  check
	arg  argKind
}

// entries is the table of all restrictions. To add one, write its check and
// give it a line here.
func entries() map[string]entry {
	m := map[string]entry{}
	for _, group := range [][]entry{generalEntries(), clientEntries(), addressEntries()} {
		for _, e := range group {
			m[e.name] = e
		}
	}
	// Names of Postfix 1 and 2 that configurations still use (postconf(5)).
	for old, now := range map[string]string{
		"reject_unknown_client":    "reject_unknown_client_hostname",
		"reject_invalid_hostname":  "reject_invalid_helo_hostname",
		"reject_non_fqdn_hostname": "reject_non_fqdn_helo_hostname",
		"reject_unknown_hostname":  "reject_unknown_helo_hostname",
		"reject_unknown_address":   "reject_unknown_sender_domain",
		"check_recipient_maps":     "reject_unlisted_recipient",
		"reject_rbl":               "reject_rbl_client",
	} {
		m[old] = m[now]
	}
	return m
}

func generalEntries() []entry {
	return []entry{
		{"permit", checkPermit, noArg},
		{"reject", checkReject, noArg},
		{"defer", checkDefer, noArg},
		{"defer_if_permit", checkDeferIfPermit, noArg},
		{"defer_if_reject", checkDeferIfReject, noArg},
		{"sleep", checkSleep, secondsArg},
		{"reject_unauth_pipelining", checkPipelining, noArg},
		{"reject_plaintext_session", checkPlaintext, noArg},
		{"check_policy_service", checkService, serverArg},
		{"check_etrn_access", checkEtrnAccess, tableArg},
	}
}

func clientEntries() []entry {
	return []entry{
		{"permit_mynetworks", checkMyNetworks, noArg},
		{"permit_inet_interfaces", checkInetInterfaces, noArg},
		{"permit_sasl_authenticated", checkSASL, noArg},
		{"permit_tls_clientcerts", checkClientCerts, noArg},
		{"permit_tls_all_clientcerts", checkAllClientCerts, noArg},
		{"permit_dnswl_client", checkDNSWL, zoneArg},
		{"permit_rhswl_client", checkRHSWL, zoneArg},
		{"permit_naked_ip_address", checkNakedAddr, noArg},
		{"reject_unknown_client_hostname", checkUnknownClient, noArg},
		{"reject_unknown_reverse_client_hostname", checkUnknownReverse, noArg},
		{"reject_rbl_client", checkRBLClient, zoneArg},
		{"reject_maps_rbl", checkMapsRBL, noArg},
		{"reject_rhsbl_client", checkRHSBLClient, zoneArg},
		{"reject_rhsbl_reverse_client", checkRHSBLReverse, zoneArg},
		{"reject_rhsbl_helo", checkRHSBLHelo, zoneArg},
		{"reject_invalid_helo_hostname", checkInvalidHelo, noArg},
		{"reject_non_fqdn_helo_hostname", checkNonFQDNHelo, noArg},
		{"reject_unknown_helo_hostname", checkUnknownHelo, noArg},
		{"check_client_access", checkClientAccess, tableArg},
		{"check_client_a_access", checkClientServers(hosts.A), tableArg},
		{"check_client_mx_access", checkClientServers(hosts.MX), tableArg},
		{"check_client_ns_access", checkClientServers(hosts.NS), tableArg},
		{"check_reverse_client_hostname_access", checkReverseAccess, tableArg},
		{"check_reverse_client_hostname_a_access", checkReverseServers(hosts.A), tableArg},
		{"check_reverse_client_hostname_mx_access", checkReverseServers(hosts.MX), tableArg},
		{"check_reverse_client_hostname_ns_access", checkReverseServers(hosts.NS), tableArg},
		{"check_helo_access", checkHeloAccess, tableArg},
		{"check_helo_a_access", checkHeloServers(hosts.A), tableArg},
		{"check_helo_mx_access", checkHeloServers(hosts.MX), tableArg},
		{"check_helo_ns_access", checkHeloServers(hosts.NS), tableArg},
		{"check_sasl_access", checkSASLAccess, tableArg},
		{"check_ccert_access", checkCertAccess, certArg},
	}
}

func addressEntries() []entry {
	return []entry{
		{"permit_auth_destination", checkPermitAuthDest, noArg},
		{"permit_mx_backup", checkMXBackup, noArg},
		{"check_relay_domains", checkRelayDomains, noArg},
		{"reject_unauth_destination", checkRejectUnauthDest, noArg},
		{"defer_unauth_destination", checkDeferUnauthDest, noArg},
		{"reject_unlisted_recipient", checkUnlistedRcpt, noArg},
		{"reject_unlisted_sender", checkUnlistedSender, noArg},
		{"reject_unverified_recipient", checkUnverifiedRcpt, noArg},
		{"reject_unverified_sender", checkUnverifiedSender, noArg},
		{"reject_multi_recipient_bounce", checkMultiBounce, noArg},
		{"reject_non_fqdn_sender", checkNonFQDNSender, noArg},
		{"reject_non_fqdn_recipient", checkNonFQDNRcpt, noArg},
		{"reject_unknown_sender_domain", checkUnknownSender, noArg},
		{"reject_unknown_recipient_domain", checkUnknownRcpt, noArg},
		{"reject_rhsbl_sender", checkRHSBLSender, zoneArg},
		{"reject_rhsbl_recipient", checkRHSBLRcpt, zoneArg},
		{"reject_sender_login_mismatch", checkLoginMismatch, noArg},
		{"reject_known_sender_login_mismatch", checkKnownMismatch, noArg},
		{"reject_authenticated_sender_login_mismatch", checkAuthMismatch, noArg},
		{"reject_unauthenticated_sender_login_mismatch", checkUnauthMismatch, noArg},
		{"check_sender_access", checkSenderAccess, tableArg},
		{"check_sender_a_access", checkSenderServers(hosts.A), tableArg},
		{"check_sender_mx_access", checkSenderServers(hosts.MX), tableArg},
		{"check_sender_ns_access", checkSenderServers(hosts.NS), tableArg},
		{"check_recipient_access", checkRcptAccess, tableArg},
		{"check_recipient_a_access", checkRcptServers(hosts.A), tableArg},
		{"check_recipient_mx_access", checkRcptServers(hosts.MX), tableArg},
		{"check_recipient_ns_access", checkRcptServers(hosts.NS), tableArg},
	}
}
