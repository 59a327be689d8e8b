package cert

import (
	"crypto/tls"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// lists are cipher lists of public configurations of Dovecot.
var lists = []string{
	"ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH",
	"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:kEDH+AESGCM:AES:CAMELLIA:!aNULL:!RC4:!EDH-DSS-DES-CBC3-SHA",
	"ECDH+AESGCM:DH+AESGCM:ECDH+AES256:DH+AES256:RSA+AES:!aNULL:!MD5:!DSS",
	"ECDH+AESGCM:ECDH+AES256:ECDH+AES128:DH+aRSA+AES128:!aNULL:!eNULL:@STRENGTH",
	"ECDHE+AES:DHE+AES:@STRENGTH:+AES256:kRSA+3DES",
	"ALL:!ADH:!LOW:!SSLv2:!EXP:!aNULL:+HIGH:+MEDIUM",
	"HIGH:!aNULL:!AES128", "ALL:-AESGCM", "ALL:!AESGCM:AESGCM", "ALL:-AESGCM:ECDHE-RSA-AES256-GCM-SHA384", "EECDH+ECDSA", "EECDH+CHACHA20",
	"HIGH:!SHA", "HIGH:!SHA256:!SHA384", "ECDHE:!ECDSA",
}

// TestCipherLists holds what a list leaves against openssl ciphers.
func TestCipherLists(t *testing.T) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	var all []string
	for _, c := range tls.CipherSuites() {
		name, _ := CipherName(c.ID)
		if strings.HasPrefix(name, "ECDHE") {
			all = append(all, name)
		}
	}
	for _, l := range lists {
		out, err := exec.Command(path, "ciphers", l+":@SECLEVEL=1").Output()
		if err != nil {
			t.Fatal(l, err)
		}
		var want, got []string
		for name := range strings.SplitSeq(strings.TrimSpace(string(out)), ":") {
			if slices.Contains(all, name) {
				want = append(want, name)
			}
		}
		ids, err := CipherList(l)
		for _, id := range ids {
			name, _ := CipherName(id)
			got = append(got, name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(slices.Compact(want), got) {
			t.Errorf("%s:\n got %v %v\nwant %v", l, got, err, want)
		}
	}
	for _, l := range []string{"AES128-SHA", "NOPE", "ALL:!ALL", "DHE"} {
		if ids, err := CipherList(l); err == nil {
			t.Errorf("%s leaves %v", l, ids)
		}
	}
}
