package config

import (
	"strings"

	"packetboat/internal/sys/config/base"
)

// restrictionNames are the restrictions of smtpd_*_restrictions that Postfix 3.7
// knows (postconf(5)), old names included; those that a further word belongs to
// end in "=". What this system does with each is receive/policy's business: here
// they serve to find what no system knows.
const restrictionNames = `check_ccert_access= check_client_a_access= check_client_access= check_client_mx_access=
check_client_ns_access= check_etrn_access= check_helo_a_access= check_helo_access= check_helo_mx_access=
check_helo_ns_access= check_policy_service= check_recipient_a_access= check_recipient_access=
check_recipient_maps check_recipient_mx_access= check_recipient_ns_access= check_relay_domains
check_reverse_client_hostname_a_access= check_reverse_client_hostname_access=
check_reverse_client_hostname_mx_access= check_reverse_client_hostname_ns_access= check_sasl_access=
check_sender_a_access= check_sender_access= check_sender_mx_access= check_sender_ns_access= defer
defer_if_permit defer_if_reject defer_unauth_destination permit permit_auth_destination
permit_dnswl_client= permit_inet_interfaces permit_mx_backup permit_mynetworks permit_naked_ip_address
permit_rhswl_client= permit_sasl_authenticated permit_tls_all_clientcerts permit_tls_clientcerts
reject reject_authenticated_sender_login_mismatch reject_invalid_helo_hostname reject_invalid_hostname
reject_known_sender_login_mismatch reject_maps_rbl reject_multi_recipient_bounce
reject_non_fqdn_helo_hostname reject_non_fqdn_hostname reject_non_fqdn_recipient reject_non_fqdn_sender
reject_plaintext_session reject_rbl_client= reject_rhsbl_client= reject_rhsbl_helo=
reject_rhsbl_recipient= reject_rhsbl_reverse_client= reject_rhsbl_sender=
reject_sender_login_mismatch reject_unauth_destination reject_unauth_pipelining
reject_unauthenticated_sender_login_mismatch reject_unknown_address reject_unknown_client
reject_unknown_client_hostname reject_unknown_helo_hostname reject_unknown_hostname
reject_unknown_recipient_domain reject_unknown_reverse_client_hostname reject_unknown_sender_domain
reject_unlisted_recipient reject_unlisted_sender reject_unverified_recipient
reject_unverified_sender sleep= warn_if_reject `

// restrictionLists are the parameters whose values are lists of restrictions.
var restrictionLists = [...]string{"smtpd_client_restrictions", "smtpd_data_restrictions", "smtpd_end_of_data_restrictions",
	"smtpd_etrn_restrictions", "smtpd_helo_restrictions", "smtpd_recipient_restrictions", "smtpd_relay_restrictions", "smtpd_sender_restrictions"}

// isRestriction tells whether name is a restriction, and whether a word follows.
func isRestriction(name string) (known, word bool) {
	name = strings.ToLower(name)
	for n := range strings.FieldsSeq(restrictionNames) {
		if bare := strings.TrimSuffix(n, "="); bare == name {
			return true, bare != n
		}
	}
	return false, false
}

// suggestRestriction returns the known restriction that is closest to a name.
func suggestRestriction(name string, classes map[string]bool) string {
	var names []string
	for n := range strings.FieldsSeq(restrictionNames) {
		names = append(names, strings.TrimSuffix(n, "="))
	}
	for c := range classes {
		names = append(names, c)
	}
	name = strings.ToLower(name)
	if best := closest(name, names); best != "" {
		return best
	}
	// Half a name: reject_unknown_sender for reject_unknown_sender_domain.
	for _, n := range names {
		if len(name) > len("reject_") && strings.HasPrefix(n, name) {
			return n
		}
	}
	return ""
}

// closest returns the name that is fewest steps away, "" when none is near.
func closest(name string, names []string) string {
	best, distance := "", min(5, len(name)/3+1)
	for _, n := range names {
		d := base.Distance(name, n)
		if d < distance || d == distance && best != "" && n < best {
			best, distance = n, d
		}
	}
	return best
}
