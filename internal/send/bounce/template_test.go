package bounce

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
)

const german = `# words of ours
failure_template = <<ENDE
Charset: iso-8859-1
From: postmaster (Der Postbote)
Subject: Nicht zustellbar bei $myhostname
Postmaster-Subject: Kopie: unzustellbar

Dies ist ${myhostname}, $$5, nach $maximal_queue_lifetime_days Tagen, ${relayhost}.
ENDE

delay_template = <<EOF
Subject: Dauert seit $delay_warning_time_hours h

spaeter
EOF
`

// The words of bounce_template_file, as bounce(5) has them.
func TestTemplates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bounce.cf")
	if err := os.WriteFile(path, []byte(german), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{TemplateFile: path, DelayWarning: 4 * time.Hour, NotifyClasses: []string{"bounce"},
		Parameter: func(n string) (string, bool) { return "[relay]", n == "relayhost" }})
	n := r.notice(&mail.Envelope{Sender: "s@x.test"}, "Subject: x\n\ny\n", Report{Rcpt: &mail.Rcpt{Addr: "a@b.test"}, Status: mail.Bounce("5.1.1", "no"), Action: "failed"})
	sent, err := r.b.Send(Failure, n)
	if err != nil || len(sent) != 2 {
		t.Fatal(sent, err)
	}
	text, _ := r.text(sent[0])
	for _, want := range []string{"\nFrom: Der Postbote <postmaster@mail.example.org>\n", "\nSubject: Nicht zustellbar bei mail.example.org\n",
		"Content-Type: text/plain; charset=iso-8859-1\n", "\nDies ist mail.example.org, $5, nach 5 Tagen, [relay].\n\n<a@b.test>: no\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text, _ := r.text(sent[1]); !strings.Contains(text, "\nSubject: Kopie: unzustellbar\n") {
		t.Errorf("the postmaster's copy:\n%s", text)
	}
	sent, err = r.b.Send(Delay, n)
	if err != nil || len(sent) != 1 {
		t.Fatal(sent, err)
	}
	if text, _ := r.text(sent[0]); !strings.Contains(text, "\nSubject: Dauert seit 4 h\n") || !strings.Contains(text, "charset=utf-8\n") || !strings.Contains(text, "From: Mail Delivery System <MAILER-DAEMON@mail.example.org>\n") {
		t.Errorf("the warning:\n%s", text)
	}
}

// A file that makes no sense changes nothing, and the log says why.
func TestBadTemplates(t *testing.T) {
	for text, want := range map[string]string{
		"x": `need "name = <<word"`, "x = <<E\nE\n": "unknown template name: x", "delay_template = <<E\n\nx\n": `missing "E" marker`,
		"delay_template = <<E\nTo: x\n\nE\n": `unknown header "To"`, "delay_template = <<E\nSubject: x\nE\n": "missing empty line", "delay_template = <<E\nnothing\n\nE\n": `bad header "nothing"`,
	} {
		if _, err := ParseTemplates(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	r := newRig(t, Options{TemplateFile: "/nonexistent/file"})
	if !strings.Contains(r.log.String(), "/nonexistent/file") {
		t.Errorf("log %q", r.log.String())
	}
}

func FuzzTemplates(f *testing.F) {
	f.Add(german)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseTemplates(text)
		b := &Bouncer{templates: list}
		for _, x := range list {
			b.expandText(x.Text)
		}
		if err == nil && len(list) > 4 {
			t.Error("more kinds than there are")
		}
	})
}

// Mail of a list with VERP: one report for each recipient, to an address that
// names him (VERP_README).
func TestVerp(t *testing.T) {
	for _, c := range [][4]string{{"list@site.test", "user@dom.test", "+=", "list+user=dom.test@site.test"}, {"", "u@d", "+=", ""}, {"l@s", "u@d", "", "l@s"},
		{"l@s", "u", "-_", "l-u@s"}, {"l", "u@d", "+=", "l+u=d"}} {
		if got := Verp(mail.Address(c[0]), &mail.Rcpt{Addr: "other@x", Orig: mail.Address(c[1])}, c[2]); string(got) != c[3] {
			t.Errorf("%q: %s", c, got)
		}
	}
	for _, off := range []bool{false, true} {
		r := newRig(t, Options{NoVerp: off})
		n := r.notice(&mail.Envelope{Sender: "list@site.test", Verp: "+="}, "Subject: x\n\ny\n",
			Report{Rcpt: &mail.Rcpt{Addr: "a@b.test"}, Status: mail.Bounce("5.1.1", "no"), Action: "failed"},
			Report{Rcpt: &mail.Rcpt{Addr: "c@d.test"}, Status: mail.Bounce("5.1.1", "never"), Action: "failed"})
		sent, err := r.b.Send(Failure, n)
		if err != nil {
			t.Fatal(err)
		}
		var to []string
		for _, s := range sent {
			to = append(to, string(s.Env.Rcpts[0].Addr))
		}
		want := "list+a=b.test@site.test list+c=d.test@site.test"
		if off {
			want = "list@site.test"
		}
		if got := strings.Join(to, " "); got != want {
			t.Errorf("%t: %s", off, got)
		}
	}
}
