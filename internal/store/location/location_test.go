package location

import "testing"

func TestLocation(t *testing.T) {
	for in, want := range map[string]Location{
		"mbox:/h/mail:INBOX=/var/mail/a":              {Kind: "mbox", Inbox: "/var/mail/a", Folders: "/h/mail"},
		"mbox:/h/mail":                                {Kind: "mbox", Inbox: "/h/mail/inbox", Folders: "/h/mail"},
		"mbox:/h/mail:INBOX=/v/a:INDEX=MEMORY":        {Kind: "mbox", Inbox: "/v/a", Folders: "/h/mail", Index: "MEMORY"},
		"mbox:/h/mail:INBOX=/v/a:INDEX=/i:CONTROL=/c": {Kind: "mbox", Inbox: "/v/a", Folders: "/h/mail", Index: "/i", Control: "/c"},
		"maildir:/h/Maildir":                          {Kind: "maildir", Inbox: "/h/Maildir", Folders: "/h/Maildir"},
		"maildir:/h/M:LAYOUT=fs:INBOX=/h/I:INDEX=/i":  {Kind: "maildir", Inbox: "/h/I", Folders: "/h/M", Index: "/i", Tree: true},
	} {
		if got, err := Parse(in); err != nil || got != want {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "mdbox:/h", "maildir:h", "maildir:/h:LAYOUT=index", "mbox:", "mbox:relative", "mbox:/h:INBOX=x", "mbox:/h:LAYOUT=maildir++"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}
