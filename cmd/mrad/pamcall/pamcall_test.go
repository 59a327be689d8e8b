package pamcall

import "testing"

func TestParsePAM(t *testing.T) {
	r, err := parsePAM(0, "ok alice\n")
	if err != nil || !r.OK || r.User != "alice" {
		t.Error(r, err)
	}
	r, err = parsePAM(0, "fail pam_authenticate 7 Authentication failure\n")
	if err != nil || r.OK || r.Step != "pam_authenticate" || r.Code != 7 || r.Text != "Authentication failure" {
		t.Error(r, err)
	}
	for _, bad := range []string{"", "ok", "fail x y z", "nonsense"} {
		if r, err := parsePAM(0, bad); err == nil || r.OK {
			t.Errorf("%q: %+v", bad, r)
		}
	}
	if r, err := parsePAM(1, "ok alice\n"); err == nil || r.OK {
		t.Error("an exit code was passed over")
	}
}
