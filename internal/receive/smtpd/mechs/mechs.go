// Package mechs says which SASL mechanisms a SMTP service offers. It is part of
// receive/smtpd.
package mechs

import (
	"strings"

	"packetboat/internal/auth/wire"
)

// Allowed applies smtpd_sasl_security_options; the default is noanonymous.
func Allowed(p wire.Prop, rules []string) bool {
	if len(rules) == 0 {
		return p&wire.Anonymous == 0
	}
	for _, r := range rules {
		switch {
		case r == "noanonymous" && p&wire.Anonymous != 0,
			r == "noplaintext" && p&wire.Plaintext != 0,
			r == "nodictionary" && p&wire.Dictionary != 0,
			r == "noactive" && p&wire.Active != 0,
			r == "forward_secrecy" && p&wire.ForwardSecrecy == 0,
			r == "mutual_auth" && p&wire.MutualAuth == 0:
			return false
		}
	}
	return true
}

// Passes applies smtpd_sasl_mechanism_filter: the first word that matches
// decides; "static:rest" matches everything.
func Passes(mech string, filter []string) bool {
	if len(filter) == 0 {
		return mech != "EXTERNAL"
	}
	for _, f := range filter {
		f, not := strings.CutPrefix(f, "!")
		if strings.HasPrefix(f, "static:") || strings.EqualFold(f, mech) {
			return !not
		}
	}
	return false
}
