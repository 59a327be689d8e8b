package smtpd

import (
	"testing"

	"packetboat/internal/mail"
)

// TestOrigin: what XFORWARD says goes with the one message that follows.
func TestOrigin(t *testing.T) {
	w := newWorld()
	w.opts.XForward = []string{"127.0.0.1"}
	w.start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.1", w.addr))
	k.want("220*")
	k.send("EHLO x\r\n")
	k.want("250*")
	k.send("XFORWARD NAME=a.test ADDR=IPV6:2001:db8::1 PORT=77 PROTO=ESMTP HELO=a+20>b IDENT=4F5C SOURCE=REMOTE\r\n")
	k.want("250 2.0.0 Ok")
	for range 2 {
		k.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n")
		k.want("250 2.1.0 Ok", "250 2.1.5 Ok", "354*")
		k.send("a: b\r\n\r\nx\r\n.\r\n")
		k.want("250 2.0.0 Ok: queued*")
	}
	want := mail.Origin{Name: "a.test", Addr: "2001:db8::1", Port: "77", Proto: "ESMTP", Helo: "a??b", Ident: "4F5C", Source: "REMOTE"}
	all := w.queue.messages()
	if len(all) != 2 || all[0].env.Origin != want || all[1].env.Origin != (mail.Origin{}) {
		for _, m := range all {
			t.Errorf("origin is %+v", m.env.Origin)
		}
	}
}
