package config

import "strings"

// ownTable holds parameters that Postfix does not have, in the form of table.
// postconf(1) shows one only where main.cf sets it, so that its output stays
// what scripts know; Postfix takes them for names of the administrator's own.
const ownTable = `smtp_tls_mta_sts	bool	done	0	0	no
smtp_tlsrpt_enable	bool	done	0	0	no
smtpd_greylist	bool	done	0	0	no
smtpd_greylist_auto_permit	int	done	-1	0	5
smtpd_greylist_delay	time	done	1	0	300s
smtpd_greylist_exceptions	str	done	0	0	
smtpd_greylist_max_age	time	done	1	0	35d
smtpd_greylist_retry_window	time	done	1	0	2d
smtpd_greylist_text	raw	done	1	0	Greylisted, try again in %s seconds
srs_domain	str	done	0	0	
`

// findOwn returns a row of ownTable.
func findOwn(name string) (string, bool) {
	for row := range strings.Lines(ownTable) {
		if n, _, _ := strings.Cut(row, "\t"); n == name {
			return strings.TrimSuffix(row, "\n"), true
		}
	}
	return "", false
}
