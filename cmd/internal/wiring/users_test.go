package wiring

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// TestForUsers holds that a control socket serves only accounts of its list:
// asked without the command that asks first, it hangs up.
func TestForUsers(t *testing.T) {
	for list, want := range map[string]string{"static:anyone": "served", "": "", "nobody-else": "", "!nobody-else static:all": "served"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("authorized_submit_users = "+list+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		m, _, err := config.LoadMain(dir)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		voice := maillog.To(&log, maillog.Options{}).Program("qmgr")
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := net.Dial("unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ForUsers(m, voice, "authorized_submit_users", func(c net.Conn) { io.WriteString(c, "served") })(theirs)
		theirs.Close()
		got, _ := io.ReadAll(ours)
		ours.Close()
		l.Close()
		if string(got) != want || (want == "") != strings.Contains(log.String(), "is not allowed to submit mail") {
			t.Errorf("%q: %q, log %q", list, got, &log)
		}
	}
}
