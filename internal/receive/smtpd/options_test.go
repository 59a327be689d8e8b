package smtpd

import (
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd/syntax"
)

// FuzzOptions: nothing that a client writes behind MAIL and RCPT brings control
// bytes into an envelope.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{"SIZE=1", "ENVID=a+41", "ORCPT=rfc822;a+40b", "AUTH=<>", "RET=FULL", "NOTIFY=NEVER", "BODY=BINARYMIME", "REQUIRETLS"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		cmd := syntax.Tokenize(line)
		if len(cmd.Args) == 0 {
			return
		}
		c := &session{s: &Server{opts: Options{}.withDefaults(), ehlo: syntax.NewKeywords(nil)}, st: policy.Session{TLS: true}}
		var env mail.Envelope
		var size int64
		c.mailOption(&env, &size, cmd.Args[0].Text)
		var r mail.Rcpt
		c.rcptOption(&r, cmd.Args[0].Text)
		if strings.IndexFunc(env.EnvID+r.ORCPT, syntax.IsControl) >= 0 || size < 0 {
			t.Fatalf("%q gives %q %q %d", line, env.EnvID, r.ORCPT, size)
		}
	})
}
