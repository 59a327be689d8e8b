package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/sys/config"
)

// refusedParam returns a parameter that is not built, whichever it is today.
func refusedParam(t *testing.T) string {
	for _, p := range config.Params() {
		if p.State == config.StateRefused && p.Type == config.TypeString && p.Default == "" {
			return p.Name
		}
	}
	t.Skip("every such parameter is built")
	return ""
}

// TestReadSetup holds which configurations a start and a reload take: what
// stops them is told all at once, each problem once.
func TestReadSetup(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	refused := refusedParam(t)
	head := "compatibility_level = 3.6\nmail_owner = " + u.Username + "\nalias_maps =\n"
	master := "127.0.0.1:2525 inet n - n - - smtpd\n"
	for _, c := range []struct {
		name, main, master string
		force              bool
		want               []string // parts of the error; none = it is taken
		doubts             int
	}{
		{name: "good", main: head, master: master},
		{name: "misspelt", main: head + "relayhst = x\n", master: master, doubts: 1},
		{name: "refused", main: head + refused + " = hash:/x\n", master: master, want: []string{"main.cf:4:1: " + refused + " is not built"}},
		{name: "forced", main: head + refused + " = hash:/x\n", master: master, force: true, doubts: 1},
		{name: "force is not for errors", main: head + "soft_bounce = x\n", master: master, force: true, want: []string{"main.cf:4:15: parameter soft_bounce"}},
		{name: "all at once", main: head + "nonsense\nsoft_bounce = x\n", master: "smtp\n" + master, want: []string{"main.cf:4:9: missing '='", "main.cf:5:15: parameter soft_bounce", "master.cf:1: bad field count"}},
		{name: "option", main: head, master: master + "  -o smtpd_sender_restrictions=reject_unknwn_sender\n", want: []string{"master.cf:2:32: unknown restriction"}},
		{name: "open relay", main: strings.Replace(head, "3.6", "0", 1), master: master, want: []string{"reject_unauth_destination"}},
		{name: "what only mtad knows", main: head + "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = cyrus\n", master: master, want: []string{"smtpd_sasl_type = cyrus is not supported"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"main.cf": c.main, "master.cf": c.master} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s, err := readSetup(dir, c.force)
			report := config.Report(err)
			for _, want := range c.want {
				if strings.Count(report, want) != 1 {
					t.Errorf("%q stands %d times in\n%s", want, strings.Count(report, want), report)
				}
			}
			if (err == nil) != (len(c.want) == 0) || len(s.doubts) != c.doubts || strings.Count(report, "error: ") != len(c.want) {
				t.Errorf("%v %v", report, s.doubts)
			}
		})
	}
}

// TestMinimumUID holds virtual_minimum_uid: the parent, not the engine, keeps it.
func TestMinimumUID(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: nobody else starts programs as others")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("virtual_minimum_uid = 1000\nvirtual_mailbox_base = /v\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	main, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &starter{main: main}
	for uid, want := range map[int]string{0: "bad uid 0 ", 999: "bad uid 999 ", 1000: "is not below"} { // the last one is tried with a mailbox elsewhere
		if _, err := s.virtual(request{UID: uid, GID: 1000, Mailbox: "/elsewhere/x"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", uid, err)
		}
	}
}
