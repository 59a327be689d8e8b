package imapurl

import (
	"strconv"
	"strings"
	"testing"
)

// TestParse: what is understood, and what is wrong with the rest.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"/INBOX/;UID=20": "INBOX 0 20 BODY[]",
		"/INBOX;UIDVALIDITY=785799047/;UID=113330/;SECTION=1.5.9": "INBOX 785799047 113330 BODY[1.5.9]",
		"/a%20b%C3%A9/c/;UID=1/;PARTIAL=3.5":                      "a bé/c 0 1 BODY[]<3>",
		"/x;uidvalidity=1/;uid=2;section=HEADER.FIELDS%20(From)":  "x 1 2 BODY[HEADER.FIELDS (FROM)]",
		"/;UID=7":                            " 0 7 BODY[]",
		";UID=7/;SECTION=TEXT/;PARTIAL=0.10": " 0 7 BODY[TEXT]<0>",
		"imap://bob@host/INBOX/;UID=2":       "Relative URL required",
		"//host/INBOX/;UID=2":                "Relative URL required",
		"/INBOX":                             "Missing message UID",
		"/INBOX/;UID=0":                      "Value '0' is not a valid IMAP number",
		"/INBOX/;UID=4294967296":             "Value '4294967296' is not a valid IMAP number",
		"/INBOX/;UID=1:3":                    "Value '1:3' is not a valid IMAP number",
		"/INBOX;UIDVALIDITY=x/;UID=1":        "Value 'x' is not a valid IMAP number",
		"/INBOX/;UID=1/;SECTION=9x":          "Invalid SECTION",
		"/INBOX/;UID=1/;SECTION=]%20BODY[":   "Invalid SECTION",
		"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(From%20%22x)": "Invalid SECTION",
		"/INBOX/;UID=1/;PARTIAL=":                              "Invalid PARTIAL value",
		"/INBOX/;UID=1/;PARTIAL=1%3E%3C2":                      "Invalid PARTIAL value",
		"/INBOX/;UID=1/;PARTIAL=x":                             "Invalid SECTION",
		"/INBOX/;UID=1/;UID=2":                                 "Unexpected parameter",
		"/INBOX/;SECTION=1/;UID=2":                             "Unexpected parameter",
		"/INBOX/;UID=1;URLAUTH=anonymous:INTERNAL:1":           "Unexpected parameter",
		"/%zz/;UID=1":                                          "Invalid %-encoding",
		"/%FF/;UID=1":                                          "Invalid mailbox name",
		"/%00/;UID=1":                                          "Invalid mailbox name",
		"/" + strings.Repeat("a", 5000) + "/;UID=1":            "Too long",
	} {
		u, err := Parse(text)
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "Invalid IMAP URL: ")
		} else {
			got = strings.Join([]string{u.Mailbox, num(u.Validity), num(u.UID), u.Item.Name}, " ")
		}
		if got != want {
			t.Errorf("%.80s\n got  %s\n want %s", text, got, want)
		}
	}
}

func num(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// FuzzParse: whatever a client writes, a URL names one message.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/INBOX/;UID=20/;SECTION=1.MIME/;PARTIAL=1.2", ";UID=1;SECTION=HEADER.FIELDS (a b)", "imap://x", "/%2e%2e/;UID=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := Parse(s)
		if err == nil && (u.UID == 0 || u.Item.Name == "" || strings.Contains(u.Mailbox, "\x00")) {
			t.Errorf("%q: %+v", s, u)
		}
	})
}
