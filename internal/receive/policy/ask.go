package policy

import (
	"context"
	"strconv"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/service"
)

// checkService asks a policy server (SMTPD_POLICY_README). What it answers counts
// like an access table's result; if it cannot be asked, its default action does.
func checkService(ctx context.Context, e *eval, st *step) result {
	value, class := e.subject()
	action, err := st.server.Ask(ctx, e.question(st.server.Context))
	if err != nil {
		action = st.server.DefaultAction
		// A default action that itself needs a server must not go round and round.
		if e.failing {
			action = service.DefaultAction
		}
		outer := e.failing
		e.failing = true
		defer func() { e.failing = outer }()
	}
	e.found(st.arg, "policy query", action)
	return e.act(ctx, answer{table: st.arg, key: "policy query", text: action, about: subject{value, class}})
}

// question is all that policy servers are told, in Postfix's order.
func (e *eval) question(policyContext string) []byte {
	s := e.s
	count := 0
	state := s.Where
	switch state {
	case "BDAT":
		state, count = "DATA", s.RcptCount
	case "DATA", "END-OF-MESSAGE":
		count = s.RcptCount
	}
	return service.Question([][2]string{
		{"request", "smtpd_access_policy"}, {"protocol_state", state}, {"protocol_name", s.Proto},
		{"client_address", s.Addr.Unmap().String()}, {"client_name", s.Name}, {"client_port", portText(s.Port)},
		{"reverse_client_name", s.Reverse}, {"server_address", e.serverAddr()}, {"server_port", portText(s.Server.Port())},
		{"helo_name", s.Helo}, {"sender", text(s.Sender)}, {"recipient", text(s.Rcpt)},
		{"recipient_count", strconv.Itoa(count)}, {"queue_id", s.QueueID}, {"instance", s.Instance},
		{"size", itoa(s.Size)}, {"etrn_domain", s.Site}, {"stress", e.p.opts.Stress},
		{"sasl_method", s.Mech}, {"sasl_username", s.User}, {"sasl_sender", s.SASLSender},
		{"ccert_subject", vouched(s, s.Subject)}, {"ccert_issuer", vouched(s, s.Issuer)},
		{"ccert_fingerprint", s.Fingerprint}, {"ccert_pubkey_fingerprint", s.PubkeyFingerprint},
		{"encryption_protocol", s.TLSProtocol}, {"encryption_cipher", s.TLSCipher},
		{"encryption_keysize", strconv.Itoa(s.TLSBits)}, {"policy_context", policyContext},
	})
}

func (e *eval) serverAddr() string {
	if !e.s.Server.IsValid() {
		return "unknown"
	}
	return e.s.Server.Addr().Unmap().String()
}

func portText(n uint16) string {
	if n == 0 {
		return "unknown"
	}
	return strconv.Itoa(int(n))
}

// vouched is a common name of a certificate that a CA of ours signed, in xtext.
func vouched(s *Session, name string) string {
	if !s.Verified {
		return ""
	}
	return mail.Xtext(name)
}

// Polls say how long RCPT waits for a probe; 0 means Postfix's default.
type Polls struct {
	Count int           `main:"address_verify_poll_count"` // 3
	Delay time.Duration `main:"address_verify_poll_delay"` // 3 s
}

func (o Polls) withDefaults() Polls {
	if o.Count == 0 {
		o.Count = 3
	}
	if o.Delay == 0 {
		o.Delay = 3 * time.Second
	}
	return o
}

func checkUnverifiedRcpt(ctx context.Context, e *eval, _ *step) result {
	if text(e.s.Rcpt) == "" {
		return dunno
	}
	o := &e.p.opts
	return e.unverified(ctx, probe{*e.s.Rcpt, rcptClass, "4.1.1", o.RcptProbing, o.RcptUnverified, o.RcptTempfail, o.RcptReason})
}

func checkUnverifiedSender(ctx context.Context, e *eval, _ *step) result {
	if text(e.s.Sender) == "" {
		return dunno
	}
	o := &e.p.opts
	return e.unverified(ctx, probe{*e.s.Sender, senderClass, "4.1.7", o.FromProbing, o.FromUnverified, o.SenderTempfail, o.SenderReason})
}

// probe is an address to which mail must be deliverable, and what to say if not.
type probe struct {
	addr          mail.Address
	class, dsn    string
	later, never  int // reply codes
	action, reply string
}

func (e *eval) unverified(ctx context.Context, b probe) result {
	st, err := e.verified(ctx, b.addr)
	if err != nil {
		e.p.deps.Log.SMTPDConfig("verify service failure", err)
		return e.tempfail(b.action, 450, b.dsn, "%s", rejected(string(b.addr), b.class, "address verification problem"))
	}
	code, why := b.later, "Address verification in progress"
	if st != nil {
		why = st.Text
		switch st.Outcome {
		case mail.Sent:
			return dunno
		case mail.Bounced:
			code = b.never
		}
	}
	if b.reply != "" {
		why = b.reply
	}
	switch code / 100 {
	case 2:
		return dunno
	case 4:
		return e.tempfail(b.action, code, b.dsn, "%s", rejected(string(b.addr), b.class, "unverified address: "+why[:min(len(why), 250)]))
	}
	return e.refuse(code, b.dsn, "%s", rejected(string(b.addr), b.class, "undeliverable address: "+why))
}

// verified asks, and asks again while a probe is under way.
func (e *eval) verified(ctx context.Context, a mail.Address) (*mail.Status, error) {
	if e.p.deps.Verify == nil {
		return nil, errNoVerifier
	}
	for n := 1; ; n++ {
		st, err := e.p.deps.Verify.Query(ctx, a)
		if st != nil || err != nil || n >= e.p.opts.Polls.Count || ctx.Err() != nil {
			return st, err
		}
		wait(ctx, e.p.opts.Polls.Delay)
	}
}
