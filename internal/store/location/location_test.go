package location

import "testing"

func TestLocation(t *testing.T) {
	for in, want := range map[string]Location{
		"mbox:/h/mail:INBOX=/var/mail/a":              {"mbox", "/var/mail/a", "/h/mail", ""},
		"mbox:/h/mail":                                {"mbox", "/h/mail/inbox", "/h/mail", ""},
		"mbox:/h/mail:INBOX=/v/a:INDEX=MEMORY":        {"mbox", "/v/a", "/h/mail", ""},
		"mbox:/h/mail:INBOX=/v/a:INDEX=/i:CONTROL=/c": {"mbox", "/v/a", "/h/mail", "/c"},
	} {
		if got, err := Parse(in); err != nil || got != want {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "maildir:/h", "mbox:", "mbox:relative", "mbox:/h:INBOX=x", "mbox:/h:LAYOUT=maildir++"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}
