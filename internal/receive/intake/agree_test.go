package intake

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"packetboat/test/oracle"
)

// checksTable has every action of header_checks(5), good and bad.
const checksTable = `/^X-Do: reject$/ REJECT
/^X-Do: reject (.*)$/ REJECT $1
/^X-Do: warn ?(.*)$/ WARN
/^X-Do: Warn text$/ WARN some text
/^X-Do: info$/ INFO for you
/^X-Do: filter$/ FILTER filter:[127.0.0.1]:9
/^X-Do: badfilter$/ FILTER nocolon
/^X-Do: nofilter$/ FILTER
/^X-Do: pass$/ PASS on
/^X-Do: discard$/ DISCARD gone
/^X-Do: hold$/ HOLD it
/^X-Do: prepend$/ PREPEND X-New: header
/^X-Do: badprepend$/ PREPEND no header
/^X-Do: replace$/ REPLACE X-Other: header
/^X-Do: replaceto$/ REPLACE To: carol
/^X-Do: badreplace$/ REPLACE no header
/^X-Do: redirect$/ REDIRECT other@else.test
/^X-Do: badredirect$/ REDIRECT other
/^X-Do: bcc$/ BCC copy@else.test
/^X-Do: badbcc$/ BCC copy
/^X-Do: strip$/ STRIP tease
/^X-Do: ignore$/ IGNORE
/^X-Do: dunno$/ DUNNO
/^X-Do: ok$/ OK
/^X-Do: unknown$/ FROBNICATE
/^Received: from client.test/ INFO received
/^Content-Type: .*evil/ REJECT 5.7.2 evil type
/^X-Folded: a.*b$/ INFO folded
/^body (.*)$/ INFO $1
`

const bodyTable = `/^!reject$/ REJECT body text
/^!warn$/ WARN
/^!replace$/ REPLACE other line
/^!prepend$/ PREPEND line before
/^!strip$/ STRIP
/^!ignore$/ IGNORE
/^!hold$/ HOLD
/^!discard$/ DISCARD
/^!filter$/ FILTER filter:x
/^!redirect$/ REDIRECT r@else.test
/^!bcc$/ BCC b@else.test
/^!pass$/ PASS
/^!4$/ REJECT 4.7.0 later
/^!2$/ REJECT 2.0.0 strange
/^xxxxx/ INFO long
/^$/ INFO empty
/^Subject: nested/ INFO nested header in body
`

func writeTable(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return "regexp:" + path
}

// oddAddresses are in lists that Postfix writes anew though no address changes:
// "s..p@x", ", ,", routes, a bare ":". mail/message leaves them as they came.
var oddAddresses = regexp.MustCompile(`undisclosed-recipients;;|s\.\.palmer@|Mary Smith <@machine|Undisclosed-Recipient:@|utf-8\?Q\?date=3E2017`)

// agree runs messages through Postfix and through us; results must be the same.
func agree(t *testing.T, o *original, profile string, u *ours, cases []string, from string, to ...string) {
	t.Helper()
	s := dialSMTP(t, o.addrs[profile])
	defer s.c.Close()
	for _, text := range cases {
		text = wire(text)
		if profile == "plain" && oddAddresses.MatchString(text) || strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") {
			o.run(s, from, to, text) // smtpd itself puts an empty line before white space
			u.run(t, from, to, text)
			continue
		}
		want := o.run(s, from, to, text).String()
		got := u.run(t, from, to, text).String()
		if got != want {
			t.Errorf("%s: %.300q\n-- ours:\n%s\n-- postfix:\n%s\n-- first difference: %s", profile, text, cut(got), cut(want), difference(got, want))
		}
	}
}

func cut(s string) string {
	if len(s) > 1500 {
		return s[:1500] + "..."
	}
	return s
}

func difference(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	from := max(n-40, 0)
	return "ours ..." + quoteCut(a[from:]) + " postfix ..." + quoteCut(b[from:])
}

func quoteCut(s string) string {
	if len(s) > 120 {
		s = s[:120]
	}
	return "\"" + strings.ReplaceAll(s, "\n", "\\n") + "\""
}

func doCases() (cases []string) {
	for line := range strings.Lines(checksTable) {
		_, word, ok := strings.Cut(line, "/^X-Do: ")
		word, _, _ = strings.Cut(word, "$")
		word = strings.NewReplacer("(.*)", "4.2.0 later", " ?", "", "Warn text", "Warn text").Replace(word)
		if ok {
			cases = append(cases, "Subject: s\nX-Do: "+word+"\nTo: b\nX-Do: info\n\nbody\n",
				"X-Do: "+word+"\nX-Do: hold\nX-Do: reject\n\nx\n")
		}
	}
	for line := range strings.Lines(bodyTable) {
		word, _, ok := strings.Cut(strings.TrimPrefix(line, "/^"), "$/")
		if ok && word != "" {
			cases = append(cases, "Subject: s\n\nfirst\n"+word+"\n!warn\nlast\n")
		}
	}
	return append(cases,
		"X-Do: reject 5.1.1 no such thing\n\nx\n", "X-Do: reject 2.1.1 no such thing\n\nx\n", "X-Do: reject words\n\n",
		"X-Folded: a\n b\n\nx\n", "X-Do : hold\n\nx\n",
		"Content-Type: text/evil\n\nx\n", "Content-type:\n  text/evil\n\nx\n",
		"Content-Type: multipart/mixed; boundary=\"a\"\n\n!warn\n--a\nX-Do: info\nX-Do: strip\n\n!warn\n--a--\n!warn\n",
		"Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--b\nX-Do: replace\n\n--a\nX-Do: prepend\n\n--a--\n",
		"Content-Type: message/rfc822\n\nSubject: nested\nX-Do: info\nX-Do: ignore\n\n!warn\n",
		"Content-Type: multipart/digest; boundary=x y\n\n--x\n\nX-Do: info\nSubject: nested\n\nbody\n--x--\n",
		"Content-Type: message/partial\n\nX-Do: info\n\n", "Content-Type: message/global\n\nX-Do: info\n\n",
		"Subject: s\n\n"+strings.Repeat("x", 5000)+"\n"+strings.Repeat("x", 2048)+"\n"+strings.Repeat("x", 2047)+"\n",
		"Subject: s\n\n"+strings.Repeat("xxxxx\n", 50), "X: "+strings.Repeat("y", 3000)+"\n "+strings.Repeat("z", 300)+"\n\nb\n",
		"!warn\n!hold\n", "\n!replace\n", "", "\n", "Subject: only\n",
		"To: "+strings.Repeat("a, ", 40)+"b\n\nx\n",
		"Content-Transfer-Encoding: 8bit\nSubject: \xe4\n\n\xe4\n",
	)
}

// TestChecksAgree compares header_checks and its kin with Postfix: replies, log
// lines, what is queued.
func TestChecksAgree(t *testing.T) {
	t.Parallel()
	dir := oracle.Folder(t)
	header := writeTable(t, dir, "header", checksTable)
	body := writeTable(t, dir, "body", bodyTable)
	o := startOriginal(t, map[string]map[string]string{
		"checks": {"header_checks": header, "body_checks": body, "body_checks_size_limit": "200"},
		"onlyhd": {"header_checks": header, "mime_header_checks": "", "nested_header_checks": "", "header_size_limit": "200"},
		"strict": {"strict_8bitmime": "yes", "strict_mime_encoding_domain": "yes", "mime_nesting_limit": "2", "message_strip_characters": "\\000\\001z", "message_reject_characters": "\\002#"},
		"nomime": {"disable_mime_input_processing": "yes", "header_checks": header, "body_checks": body},
		"bound":  {"body_checks": body, "mime_boundary_length_limit": "3"},
	})
	all := []string{header}
	agree(t, o, "checks", newOurs(t, Options{Content: ContentOptions{HeaderChecks: all, MIMEChecks: all, NestedChecks: all,
		BodyChecks: []string{body}, BodyLimit: 200}}), doCases(), "a@b.test", "bob", "Carol@mail.example.org")
	agree(t, o, "onlyhd", newOurs(t, Options{HeaderSizeLimit: 200, Content: ContentOptions{HeaderChecks: all}}), doCases(), "", "bob")
	agree(t, o, "strict", newOurs(t, Options{Content: ContentOptions{Strict8Bit: true, StrictDomain: true, Nesting: 2,
		StripChars: `\000\001z`, RejectChars: `\002#`}}), strictCases(), "a@b.test", "bob")
	agree(t, o, "nomime", newOurs(t, Options{Content: ContentOptions{NoMIME: true, HeaderChecks: all, MIMEChecks: all, NestedChecks: all,
		BodyChecks: []string{body}, BodyLimit: 51200}}), doCases(), "a@b.test", "bob")
	agree(t, o, "bound", newOurs(t, Options{Content: ContentOptions{BodyChecks: []string{body}, BodyLimit: 51200, Boundary: 3}}), []string{
		"Content-Type: multipart/mixed; boundary=abcdef\n\n--abcxxx\nX-Do: info\nSubject: nested\n\n!warn\n--abc--\nSubject: nested\n"}, "a@b.test", "bob")
}

func strictCases() []string {
	nest := ""
	for _, b := range []string{"a", "b", "c", "d", "e", "f"} {
		nest += "Content-Type: multipart/mixed; boundary=" + b + "\n\n--" + b + "\n"
	}
	return []string{
		"Subject: \xe4\n\nx\n", "Subject: ok\n\n\xe4\n", "Content-Transfer-Encoding: 8bit\n\n\xe4\n",
		"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n\xe4\n",
		"Content-Type: multipart/mixed; boundary=a\nContent-Transfer-Encoding: base64\n\n--a\n\nx\n--a--\n",
		"Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nSubject: x\n\ny\n",
		"Content-Type: message/partial\nContent-Transfer-Encoding: 8bit\n\nx\n",
		"Content-Type: message/global\nContent-Transfer-Encoding: base64\n\nx\n",
		nest + "\nx\n", "X: " + nest, "Subject: zebra\n\na zoo\nz\n", "Subject: a#b\n\nx\n", "Subject: ok\n\nline\na#b\nmore\n",
		"Subject: fine\n\nfine\n",
	}
}

// TestCorpusAgrees sends real mail through Postfix and through us.
func TestCorpusAgrees(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("../../../../shared/mailcorpus/*")
	if len(files) == 0 {
		t.Skip("../shared/mailcorpus is not here")
	}
	dir := oracle.Folder(t)
	// Every header of every class, and every line that begins a part, is told.
	header := writeTable(t, dir, "header", "/^([A-Za-z-]+)/ INFO primary $1\n")
	mime := writeTable(t, dir, "mime", "/^([A-Za-z-]+)/ INFO mime $1\n")
	nested := writeTable(t, dir, "nested", "/^([A-Za-z-]+)/ INFO nested $1\n")
	body := writeTable(t, dir, "body", "/^--/ INFO mark\n/^[A-Z]..ject:/ INFO in body\n")
	o := startOriginal(t, map[string]map[string]string{"plain": {"header_checks": header, "mime_header_checks": mime,
		"nested_header_checks": nested, "body_checks": body, "hopcount_limit": "500"}})
	u := newOurs(t, Options{HopcountLimit: 500, Content: ContentOptions{HeaderChecks: []string{header}, MIMEChecks: []string{mime},
		NestedChecks: []string{nested}, BodyChecks: []string{body}, BodyLimit: 51200}})
	var cases []string
	for i, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || i%5 != 0 && !testing.Verbose() || len(b) > 200000 || strings.Contains(string(b), "\x00") {
			continue
		}
		cases = append(cases, string(b))
	}
	agree(t, o, "plain", u, cases, "a@b.test", "bob")
	t.Logf("%d messages", len(cases))
}
