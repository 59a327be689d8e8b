package remote

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/remote/replies"
)

// greet does all that comes before MAIL FROM: greeting, EHLO, STARTTLS, AUTH.
func (s *session) greet(ctx context.Context) error {
	o := &s.t.opts
	if o.TLSWrapper {
		if err := s.handshake(ctx); err != nil {
			return err
		}
	}
	r, err := s.read(o.HeloTimeout, "receiving the initial server greeting")
	if err != nil {
		return err
	}
	if r.code != 220 {
		st := s.refusal(r, "")
		st.Text = "host " + s.host.String() + " refused to talk to me: " + r.text
		// RFC 5321 section 3.1: 554 means that this host never takes mail, which
		// says nothing of the next one; Postfix tries it (smtp_skip_5xx_greeting).
		if o.Skip5xxGreeting && !st.Temporary() {
			st.Outcome, st.Code = mail.Deferred, "4"+st.Code[1:]
		}
		return st
	}
	if err := s.hello(); err != nil {
		return err
	}
	if err := s.secure(ctx); err != nil {
		return err
	}
	return s.login(ctx)
}

// hello says EHLO, or HELO to a host that does not know EHLO, or LHLO.
func (s *session) hello() error {
	o := &s.t.opts
	verb := "EHLO"
	if o.LMTP {
		verb = "LHLO"
	}
	s.ext = map[string]string{}
	var r reply
	var err error
	if o.NeverEHLO && !o.LMTP {
		r.code, r.text = 500, "500 not asked"
	} else {
		s.deaf = s.t.discarded(s.host)
		r, err = s.hear(verb)
	}
	if err != nil {
		return err
	}
	if r.failed() && r.code/100 == 5 && !o.LMTP {
		r, err = s.command(o.HeloTimeout, "performing the HELO handshake", "HELO "+o.HeloName)
		if err != nil {
			return err
		}
		s.ext = map[string]string{}
	}
	if r.failed() {
		st := s.refusal(r, "")
		st.Text = "host " + s.host.String() + " refused to talk to me: " + r.text
		return st
	}
	return s.notMyself(r)
}

// notMyself refuses to talk to a host that says our own name in its first
// answer: the mail would go round for ever.
func (s *session) notMyself(r reply) error {
	f := strings.Fields(strings.TrimLeft(r.text[3:], " -"))
	if s.t.opts.LMTP || s.host.port != "25" || len(f) == 0 || !strings.EqualFold(f[0], s.t.opts.Hostname) {
		return nil
	}
	return mail.Bounce("5.4.6", "host %s replied to HELO/EHLO with my own hostname %s", s.host, s.t.opts.Hostname)
}

// hear sends EHLO or LHLO and notes the extensions; reading is its own loop
// because each line of this reply counts.
func (s *session) hear(verb string) (reply, error) {
	o := &s.t.opts
	s.doing = "performing the " + verb + " handshake"
	s.conn.SetDeadline(time.Now().Add(o.HeloTimeout))
	s.w.WriteString(verb + " " + o.HeloName + "\r\n")
	if err := s.w.Flush(); err != nil {
		return reply{}, s.lost(err)
	}
	var r reply
	for n := 0; n < maxReplyLines; n++ {
		line, err := s.line()
		if err != nil {
			return r, s.lost(err)
		}
		code, more, ok := replies.Parse(line)
		if !ok {
			break
		}
		if n == 0 {
			r = reply{code: code, text: string(line), dsn: replies.Enhanced(line)}
		} else if code == 250 && len(line) > 4 {
			s.extension(string(line[4:]))
		}
		if !more {
			return r, nil
		}
	}
	s.broken = true
	return r, errorf("4.5.0", "host %s sent a malformed or endless reply while %s", s.host, s.doing)
}

// extension notes one line of the reply. "AUTH=X" is what hosts say to clients
// of the last century; several lists of mechanisms make one.
func (s *session) extension(line string) {
	key, val, _ := strings.Cut(line, " ")
	if len(key) > 5 && strings.EqualFold(key[:5], "AUTH=") {
		key, val = "AUTH", strings.TrimSpace(key[5:]+" "+val)
	}
	key = strings.ToUpper(key)
	if slices.Contains(s.deaf, key) {
		return
	}
	if old, ok := s.ext[key]; ok && key == "AUTH" && len(old) < maxMechanisms {
		val = strings.TrimSpace(old + " " + val)
	}
	s.ext[key] = val
}

// has tells whether the host offered an extension.
func (s *session) has(ext string) bool { _, ok := s.ext[ext]; return ok }

// sizeLimit returns the limit of the SIZE extension, 0 for none.
func (s *session) sizeLimit() int64 {
	n, err := strconv.ParseInt(s.ext["SIZE"], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
