package wiring

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

func load(t *testing.T, text string) *config.Main {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTableFiles: the parent opens for the engine what tables and lists name,
// wherever they stand, and nothing else.
func TestTableFiles(t *testing.T) {
	m := load(t, `smtp_sasl_password_maps = hash:/etc/a, static:x, proxy:btree:/etc/b, inline:{{x=hash:/etc/no}}
smtpd_recipient_restrictions = check_recipient_access cidr:/etc/c, { check_sender_access { pcre:/etc/d, timeout=3 } }, reject
virtual_alias_maps = pipemap:{regexp:/etc/e,unionmap:{texthash:/etc/f}}, ldap:people, mysql:DIR/mysql.cf
people_tls_ca_cert_file = /etc/g
mydestination = !DIR/list, $myhostname
relayhost = [hash:/etc/no2]
transport_maps = ${x?{hash:/etc/no3}:{hash:/etc/h}}
maillog_file = /var/log/no4
alias_maps = hash:/etc/i
alias_database =
`)
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(m.Dir(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("mysql.cf", "domain = hash:/etc/j, /etc/k\ntls_key_file = /etc/l\n")
	put("list", "# hash:/etc/no5\nexample.com, hash:/etc/m\n")
	services, _, err := config.ParseMaster("master.cf", "smtp inet n - n - - smtpd\n -o smtpd_client_restrictions=check_client_access,hash:/etc/n\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range TableFiles(m, services, nil) {
		got = append(got, strings.TrimPrefix(f, m.Dir()))
	}
	want := []string{"/etc/a", "/etc/b", "/etc/c", "/etc/d", "/etc/e", "/etc/f", "/etc/g", "/etc/h", "/etc/i",
		"/etc/j", "/etc/k", "/etc/l", "/etc/m", "/etc/n", "/list", "/mysql.cf"}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestApprove holds proxy_read_maps as proxymap(8) does.
func TestApprove(t *testing.T) {
	k := &Kit{Logs: maillog.To(io.Discard, maillog.Options{}), Main: load(t, `virtual_alias_maps = proxy:hash:DIR/a, pipemap:{proxy:hash:DIR/b,proxy:proxy:hash:DIR/c}, hash:DIR/d
smtpd_etrn_restrictions = check_etrn_access proxy:hash:DIR/e
`)}
	for name, want := range map[string]bool{"a": true, "b": true, "c": true, "d": false, "e": false} {
		path := filepath.Join(k.Main.Dir(), name)
		if err := os.WriteFile(path, []byte("key value\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := k.OpenTable("proxy:hash:" + path)
		if (err == nil) != want {
			t.Errorf("proxy:hash:%s: %v", path, err)
		}
		if err != nil && !strings.Contains(err.Error(), "list proxy:hash:"+path+" in main.cf:proxy_read_maps") {
			t.Errorf("no help: %v", err)
		}
	}
}

// TestPipes: a configuration or table that is a pipe, to which nobody may ever
// write, is an error and not a wait without end.
func TestPipes(t *testing.T) {
	mkfifo, err := exec.LookPath("mkfifo")
	if err != nil {
		t.Skip("no mkfifo")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "main.cf")
	if err := exec.Command(mkfifo, path).Run(); err != nil {
		t.Skip(err)
	}
	if _, _, err := config.LoadMain(dir); err == nil || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("main.cf: %v", err)
	}
	if _, err := table.Open("texthash:"+path, table.Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("table: %v", err)
	}
}
