package unbuilt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
)

// floor is the share of the corpus's settings, in percent, that are acted on or have
// no meaning here. It only goes up.
const floor = 94

// count tells how many settings of a configuration are done, accepted and
// refused. A refused row at a value that says what is done anyway counts as done.
func count(conf *config.Dovecot, refused map[string]bool, plugins []string) (done, accepted, no int) {
	var walk func(b *config.Block, path string)
	walk = func(b *config.Block, path string) {
		for _, v := range b.Values {
			p, _ := dovecot.Lookup(path, v.Name)
			switch {
			case strings.HasSuffix(v.Name, "_capability"): // the original adds it to its output
			case refused[fmt.Sprintf("%s:%d", v.File, v.Line)] || path == "plugin" && pluginReads(plugins, v.Name):
				no++
			case path == "plugin": // no plugin that is loaded reads it
				accepted++
			case p.State == base.StateAccepted:
				accepted++
			default:
				done++
			}
		}
		for _, s := range b.Blocks {
			sub := s.Kind
			if path != "" {
				sub = path + "/" + s.Kind
			}
			walk(s, sub)
		}
	}
	walk(conf.Root(), "")
	conf.Filters(func(_ config.Filter, b *config.Block) { walk(b, "") })
	return done, accepted, no
}

// refusedLines are the places that Check names.
func refusedLines(err error) map[string]bool {
	lines := map[string]bool{}
	list := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		list = j.Unwrap()
	}
	for _, e := range list {
		var ce *config.Error
		if errors.As(e, &ce) {
			lines[fmt.Sprintf("%s:%d", ce.File, ce.Line)] = true
		}
	}
	return lines
}

// TestCorpus shows for each public configuration that Dovecot 2.3 accepts how many
// settings are done, accepted and refused, and demands a share.
func TestCorpus(t *testing.T) {
	files, _ := filepath.Glob("../../../../shared/corpus/expected/dovecot/*.doveconf-n")
	if len(files) == 0 {
		t.Skip("the corpus of public configurations is not here")
	}
	var all [3]int
	for _, f := range files {
		conf, err := config.LoadDovecot(f)
		if err != nil {
			continue // the original refused it as well
		}
		checker := Checker{conf, strings.Fields(conf.Get("protocols")), []string{"imap-login", "pop3-login", "managesieve-login", "lmtp"}, builtLocation}
		done, accepted, no := count(conf, refusedLines(checker.Check()), checker.loadedPlugins())
		if n := done + accepted + no; n > 0 {
			t.Logf("%-60s done %3d accepted %3d refused %3d: %5.1f%%", strings.TrimSuffix(filepath.Base(f), ".doveconf-n"), done, accepted, no, 100*float64(done+accepted)/float64(n))
		}
		all[0], all[1], all[2] = all[0]+done, all[1]+accepted, all[2]+no
	}
	n := all[0] + all[1] + all[2]
	share := 100 * float64(all[0]+all[1]) / float64(n)
	t.Logf("all: done %d, accepted %d, refused %d: %.1f%%", all[0], all[1], all[2], share)
	if share < floor {
		t.Errorf("%.1f%% of the settings are done or accepted, %d%% are demanded", share, floor)
	}
}

// builtLocation reads a mail location as mrad does: the formats that there are.
func builtLocation(mail string) error {
	switch kind, _, _ := strings.Cut(mail, ":"); kind {
	case "mbox", "maildir":
		return nil
	}
	return errors.New("mail driver of " + mail)
}

// TestNewer: a file in the syntax of 2.4 passes, and what 2.3 cannot say and would
// change something is refused with its place.
func TestNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.conf")
	write := func(text string) {
		if err := os.WriteFile(path, []byte("dovecot_config_version = 2.4.1\ndovecot_storage_version = 2.4.0\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`mail_driver = mbox
mail_path = ~/mail
mail_inbox_path = /var/mail/%{user | username | lower}
protocols {
  imap = yes
  pop3 = yes
}
auth_allow_cleartext = yes
passdb passwd-file {
  passwd_file_path = /etc/%{user | domain}/users
}
userdb static {
  fields {
    uid = vmail
    gid = vmail
    home = /srv/%{user}
  }
}
service imap-login {
  restart_request_count = unlimited
}
`)
	if err := check(path); err != nil {
		t.Error(err)
	}
	write("mail_driver = mbox\nmail_path = ~/m\nmail_utf8_extensions = yes\nmail_plugins {\n  sieve = yes\n}\n")
	err := check(path)
	for _, want := range []string{path + ":5: mail_utf8_extensions = yes", path + ":6: mail_plugins = sieve"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}
