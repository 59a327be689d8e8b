package remote

import (
	"testing"

	"packetboat/internal/mail"
)

// TestProbe: a probe ends behind RCPT; no host ever gets its message.
func TestProbe(t *testing.T) {
	s := play(t, "127.0.0.1:0", "s 220 x ESMTP", "c EHLO", "s 250-x|250 PIPELINING", "c MAIL FROM:<p@q.test>", "s 250 ok",
		"c RCPT TO:<good@x.test>", "s 250 2.1.5 Ok", "c RCPT TO:<bad@x.test>", "s 550 5.1.1 no such user", "c QUIT", "s 221 bye")
	r := send(t, Options{}, at(s), "body\n", mail.Envelope{Sender: "p@q.test", VerifyOnly: true}, "good@x.test", "bad@x.test")
	want(t, r[0], mail.Sent, "2.1.5", "250 2.1.5 Ok")
	want(t, r[1], mail.Bounced, "5.1.1", "said: 550 5.1.1 no such user (in reply to RCPT TO command)")
	if len(s.data) > 0 {
		t.Errorf("the host got %q", s.data)
	}
	s = play(t, "127.0.0.1:0", "s 220 x ESMTP", "c EHLO", "s 250 x", "c MAIL", "s 450 4.7.1 not now", "c QUIT", "s 221 bye")
	r = send(t, Options{}, at(s), "body\n", mail.Envelope{Sender: "p@q.test", VerifyOnly: true}, "a@x.test")
	want(t, r[0], mail.Deferred, "4.7.1", "(in reply to MAIL FROM command)")
}
