package policy

// argKind says what follows a restriction's name.
type argKind uint8

const (
	noArg    argKind = iota
	wordArg          // a word: a zone, a class
	tableArg         // a table, opened at the start
)

// entry is one restriction.
type entry struct {
	run check
	arg argKind
}

// entries is the table of all restrictions. To add one, write its check and
// give it a line here.
func entries() map[string]entry {
	m := map[string]entry{
		"permit":                                 {run: checkPermit},
		"reject":                                 {run: checkReject},
		"defer":                                  {run: checkDefer},
		"defer_if_permit":                        {run: checkDeferIfPermit},
		"defer_if_reject":                        {run: checkDeferIfReject},
		"permit_mynetworks":                      {run: checkMyNetworks},
		"permit_inet_interfaces":                 {run: checkInetInterfaces},
		"permit_sasl_authenticated":              {run: checkSASL},
		"permit_auth_destination":                {run: checkPermitAuthDest},
		"reject_unauth_destination":              {run: checkRejectUnauthDest},
		"defer_unauth_destination":               {run: checkDeferUnauthDest},
		"reject_unlisted_recipient":              {run: checkUnlistedRcpt},
		"check_recipient_maps":                   {run: checkUnlistedRcpt},
		"reject_unlisted_sender":                 {run: checkUnlistedSender},
		"reject_unauth_pipelining":               {run: checkPipelining},
		"reject_multi_recipient_bounce":          {run: checkMultiBounce},
		"reject_plaintext_session":               {run: checkPlaintext},
		"reject_invalid_helo_hostname":           {run: checkInvalidHelo},
		"reject_non_fqdn_helo_hostname":          {run: checkNonFQDNHelo},
		"reject_unknown_helo_hostname":           {run: checkUnknownHelo},
		"reject_non_fqdn_sender":                 {run: checkNonFQDNSender},
		"reject_non_fqdn_recipient":              {run: checkNonFQDNRcpt},
		"reject_unknown_sender_domain":           {run: checkUnknownSender},
		"reject_unknown_recipient_domain":        {run: checkUnknownRcpt},
		"reject_unknown_client_hostname":         {run: checkUnknownClient},
		"reject_unknown_reverse_client_hostname": {run: checkUnknownReverse},
		"check_client_access":                    {run: checkClientAccess, arg: tableArg},
		"check_reverse_client_hostname_access":   {run: checkReverseAccess, arg: tableArg},
		"check_helo_access":                      {run: checkHeloAccess, arg: tableArg},
		"check_sender_access":                    {run: checkSenderAccess, arg: tableArg},
		"check_recipient_access":                 {run: checkRcptAccess, arg: tableArg},
		"check_etrn_access":                      {run: checkEtrnAccess, arg: tableArg},
		"check_sasl_access":                      {run: checkSASLAccess, arg: tableArg},
		"reject_rbl_client":                      {run: checkRBLClient, arg: wordArg},
	}
	// Names of Postfix 1 and 2 that configurations still use (postconf(5)).
	for old, now := range map[string]string{
		"reject_unknown_client":    "reject_unknown_client_hostname",
		"reject_invalid_hostname":  "reject_invalid_helo_hostname",
		"reject_non_fqdn_hostname": "reject_non_fqdn_helo_hostname",
		"reject_unknown_hostname":  "reject_unknown_helo_hostname",
		"reject_unknown_address":   "reject_unknown_sender_domain",
	} {
		m[old] = m[now]
	}
	return m
}
