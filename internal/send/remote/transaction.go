package remote

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/remote/convert"
)

// stamp adds relay and times to a result.
type stamp func(mail.Result) mail.Result

// transaction sends the message to the recipients that are left. Recipients
// settle one by one; what concerns all of them goes through failAll.
func (s *session) transaction(a *attempt, at stamp) {
	if st := s.unable(a.job); st != nil {
		a.failAll(at(mail.Result{Status: st}))
		return
	}
	rcpts := append([]int(nil), a.left...)
	if a.job.Env.VerifyOnly {
		s.probe(a, rcpts, at)
		return
	}
	if err := s.forwardClient(a.job); err != nil {
		a.failAll(at(mail.Result{Status: mail.AsStatus(err)}))
		return
	}
	accepted, ok := s.envelope(a, rcpts, at)
	if !ok || len(accepted) == 0 {
		return
	}
	if err := s.content(a.job); err != nil {
		a.failAll(at(mail.Result{Status: mail.AsStatus(err)}))
		return
	}
	s.verdict(a, accepted, at)
}

// probe asks whether the host would take the recipients, and sends nothing
// (smtp_address_verify_target = rcpt), or after them the beginning of a message
// (data), which some hosts need to make up their minds. RSET comes with the next use
// of the connection.
func (s *session) probe(a *attempt, rcpts []int, at stamp) {
	r, err := s.command(s.t.opts.MailTimeout, "sending MAIL FROM", s.mailLine(a.job))
	switch {
	case err != nil:
		a.failAll(at(mail.Result{Status: mail.AsStatus(err)}))
		return
	case r.failed():
		a.failAll(at(mail.Result{Status: s.refusal(r, "MAIL FROM command")}))
		return
	}
	taken := map[int]*mail.Status{}
	for _, i := range rcpts {
		r, err := s.command(s.t.opts.RcptTimeout, "sending RCPT TO", s.rcptLine(a.job.Rcpts[i]))
		if err != nil {
			a.failAll(at(mail.Result{Status: mail.AsStatus(err)}))
			return
		}
		st := mail.OK("2.0.0", "%s", r.text)
		if r.failed() {
			st = s.refusal(r, "RCPT TO command")
		} else if r.dsn != "" {
			st.Code = r.dsn
		}
		if st.Outcome == mail.Sent && s.t.opts.VerifyTarget == "data" {
			taken[i] = st
			continue
		}
		a.settle(i, at(mail.Result{Status: st}))
	}
	if len(taken) > 0 {
		s.probeData(a, taken, at)
	}
}

// probeData asks for permission to send a message. The connection ends then, since
// nothing but a message can follow.
func (s *session) probeData(a *attempt, taken map[int]*mail.Status, at stamp) {
	r, err := s.command(s.t.opts.DataInitTimeout, "sending DATA command", "DATA")
	s.broken = s.broken || r.code == 354
	for i, st := range taken {
		switch {
		case err != nil:
			st = mail.AsStatus(err)
		case r.code != 354:
			st = s.refusal(r, "DATA command")
		}
		a.settle(i, at(mail.Result{Status: st}))
	}
}

// unable says why this host cannot take this message at all.
func (s *session) unable(job *mail.Job) *mail.Status {
	if limit := s.sizeLimit(); limit > 0 && job.Size > limit {
		return mail.Bounce("5.3.4", "message size %d exceeds size limit %d of server %s", job.Size, limit, s.host)
	}
	if job.Env.SMTPUTF8 && !s.has("SMTPUTF8") {
		return mail.Bounce("5.6.7", "SMTPUTF8 is required, but was not offered by host %s", s.host)
	}
	if job.Env.RequireTLS && s.host.unix == "" && !s.t.opts.LMTP {
		return s.unfit()
	}
	return nil
}

// codeRequireTLS marks what keeps a message that asks for REQUIRETLS from a host. Another
// host may do; when none does the message is returned (RFC 8689 sections 4.2.1 and 5).
const codeRequireTLS = "4.7.30"

// unfit says why a host may not have a message that asks for REQUIRETLS: the way to it
// must be known for sure, and encrypted, its certificate verified, and it must promise to
// keep to it.
func (s *session) unfit() *mail.Status {
	switch {
	case !s.isTLS || !s.matched:
		return mail.Defer(codeRequireTLS, "REQUIRETLS: no verified TLS with host %s", s.host)
	case !s.has("REQUIRETLS"):
		return mail.Defer(codeRequireTLS, "REQUIRETLS is required, but was not offered by host %s", s.host)
	case !s.terms.exact && s.host.insecureMX && (s.terms.sts == nil || !s.terms.sts.Matches(s.host.name)):
		return mail.Defer(codeRequireTLS, "REQUIRETLS: neither DNSSEC nor MTA-STS names host %s", s.host)
	}
	return nil
}

// envelope sends MAIL, RCPT and DATA, all at once where the host allows it
// (RFC 2920), and returns the recipients that were accepted; ok says that the
// host waits for the message.
func (s *session) envelope(a *attempt, rcpts []int, at stamp) (accepted []int, ok bool) {
	lines := make([]string, 0, len(rcpts)+2)
	lines = append(lines, s.mailLine(a.job))
	for _, i := range rcpts {
		lines = append(lines, s.rcptLine(a.job.Rcpts[i]))
	}
	if !s.has("CHUNKING") {
		lines = append(lines, "DATA")
	}
	if s.has("PIPELINING") {
		return s.pipelined(a, lines, rcpts, at)
	}
	return s.stepwise(a, lines, rcpts, at)
}

// pipelined sends the lines in pieces that no TCP buffer holds up: a peer that
// answers while we write must be read before its answers fill the pipe.
func (s *session) pipelined(a *attempt, lines []string, rcpts []int, at stamp) (accepted []int, ok bool) {
	const window = 100 // commands in flight; their answers are far below any socket buffer
	sent := 0
	for k := range lines {
		for sent < len(lines) && sent < k+window {
			s.w.WriteString(lines[sent])
			s.w.WriteString("\r\n")
			sent++
		}
		s.conn.SetWriteDeadline(time.Now().Add(s.t.opts.MailTimeout))
		if err := s.w.Flush(); err != nil {
			a.failAll(at(mail.Result{Status: mail.AsStatus(s.lost(err))}))
			return nil, false
		}
		var done bool
		if accepted, done = s.answer(a, k, len(rcpts)+2, rcpts, accepted, at); done && k < len(lines)-1 {
			if s.broken {
				return nil, false
			}
			// MAIL was refused: the answers to the rest are of no interest, but they come.
			return nil, s.drain(len(lines) - 1 - k)
		} else if k == len(lines)-1 {
			return accepted, !done
		}
	}
	return nil, false
}

// stepwise sends one line and waits, for hosts without PIPELINING.
func (s *session) stepwise(a *attempt, lines []string, rcpts []int, at stamp) (accepted []int, ok bool) {
	for k, line := range lines {
		if k == len(rcpts)+1 && len(accepted) == 0 { // DATA
			return nil, false
		}
		s.conn.SetWriteDeadline(time.Now().Add(s.t.opts.MailTimeout))
		s.w.WriteString(line)
		s.w.WriteString("\r\n")
		if err := s.w.Flush(); err != nil {
			a.failAll(at(mail.Result{Status: mail.AsStatus(s.lost(err))}))
			return nil, false
		}
		var done bool
		if accepted, done = s.answer(a, k, len(rcpts)+2, rcpts, accepted, at); done {
			return nil, false
		}
	}
	return accepted, true
}

// answer reads the reply to line k of n: 0 is MAIL, n-1 is DATA, the others
// are recipients. done ends the transaction.
func (s *session) answer(a *attempt, k, n int, rcpts, accepted []int, at stamp) (list []int, done bool) {
	o := &s.t.opts
	what, timeout := "RCPT TO", o.RcptTimeout
	switch k {
	case 0:
		what, timeout = "MAIL FROM", o.MailTimeout
	case n - 1:
		what, timeout = "DATA", o.DataInitTimeout
	}
	r, err := s.read(timeout, "sending "+strings.Replace(what, "DATA", "DATA command", 1))
	if err != nil {
		a.failAll(at(mail.Result{Status: mail.AsStatus(err)}))
		return accepted, true
	}
	switch {
	case k == 0 && r.failed():
		a.failAll(at(mail.Result{Status: s.refusal(r, "MAIL FROM command")}))
		return accepted, true
	case k == n-1:
		return accepted, s.dataAnswer(a, r, accepted, at)
	case k > 0 && r.failed():
		a.settle(rcpts[k-1], at(mail.Result{Status: s.refusal(r, "RCPT TO command")}))
	case k > 0:
		accepted = append(accepted, rcpts[k-1])
	}
	return accepted, false
}

// dataAnswer handles the reply to DATA; it tells whether the transaction is over.
func (s *session) dataAnswer(a *attempt, r reply, accepted []int, at stamp) (done bool) {
	if r.code == 354 {
		if len(accepted) > 0 {
			return false
		}
		// A host that wants a message without recipients gets an empty one.
		s.w.WriteString(".\r\n")
		s.w.Flush()
		s.read(s.t.opts.DataDoneTimeout, "sending end of data -- message may be sent more than once")
		return true
	}
	if len(accepted) > 0 {
		st := s.refusal(r, "DATA command")
		for _, i := range accepted {
			a.settle(i, at(mail.Result{Status: st}))
		}
	}
	return true
}

// drain reads n replies nobody waits for; afterwards the host may be sent QUIT.
func (s *session) drain(n int) bool {
	for range n {
		if r, err := s.read(s.t.opts.RcptTimeout, "receiving answers to pipelined commands"); err != nil || r.code == 354 {
			s.broken = true
			break
		}
	}
	return false
}

// content sends the message and the final dot.
func (s *session) content(job *mail.Job) error {
	s.doing = "sending message body"
	c, err := job.Open()
	if err != nil {
		s.broken = true // the dot was not sent: the host must not take what it has
		return errorf("4.3.0", "cannot read queue file %s: %s", job.ID, err.Error())
	}
	defer c.Close()
	renew := s.patience(job.Size)
	var w interface{ Copy(io.Reader) error } = &convert.Dots{W: s.w, Limit: s.t.opts.LineLimit, Deadline: renew}
	if s.has("CHUNKING") { // RFC 3030: one answer less to wait for
		w = &convert.Chunks{W: s.w, Limit: s.t.opts.LineLimit, Deadline: renew, Reply: s.chunkReply}
	}
	if err := w.Copy(s.convert(c.Reader(), job)); err != nil {
		if st, ok := errors.AsType[*mail.Status](err); ok {
			s.broken = true // without the dot the host throws away what it has
			return st
		}
		return s.lost(err)
	}
	s.doing = "sending end of data -- message may be sent more than once"
	renew()
	if err := s.w.Flush(); err != nil {
		return s.lost(err)
	}
	return nil
}

// chunkReply reads the answer to a part of the message. After a refusal nothing more can
// be sent in this conversation: further parts are on their way.
func (s *session) chunkReply() error {
	r, err := s.read(s.t.opts.DataXferTimeout, "sending message body")
	if err == nil && r.failed() {
		s.broken = true
		return s.refusal(r, "BDAT command")
	}
	return err
}

// patience sets the time limit of sending a message: anew for each part, or with
// smtp_per_request_deadline once for all of it, by its size and the least rate.
func (s *session) patience(size int64) func() {
	o := &s.t.opts
	end := time.Now().Add(o.DataXferTimeout + time.Duration(size/int64(o.MinRate))*time.Second)
	return func() {
		if !o.Deadline {
			end = time.Now().Add(o.DataXferTimeout)
		}
		s.conn.SetWriteDeadline(end)
	}
}

// verdict reads the answer to the message: one for all, with LMTP one each
// (RFC 2033 section 4.2).
func (s *session) verdict(a *attempt, accepted []int, at stamp) {
	end := "end of DATA command"
	if s.has("CHUNKING") {
		end = "BDAT command"
	}
	var r reply
	var err error
	for n, i := range accepted {
		if n == 0 || s.t.opts.LMTP {
			r, err = s.read(s.t.opts.DataDoneTimeout, "sending end of data -- message may be sent more than once")
		}
		switch {
		case err != nil:
			a.settle(i, at(mail.Result{Status: mail.AsStatus(err)}))
		case r.failed():
			a.settle(i, at(mail.Result{Status: s.refusal(r, end)}))
		default:
			code := r.dsn
			if code == "" {
				code = "2.0.0"
			}
			st := mail.OK(code, "%s", r.text)
			st.MTA, st.Remote, st.Action = s.host.name, r.text, mail.Relayed
			switch {
			case s.has("DSN"):
				st.Action = mail.PassedOn
			case s.t.opts.LMTP && s.t.opts.AssumeFinal:
				st.Action = "" // delivered, as far as reports go
			}
			a.settle(i, at(mail.Result{Status: st}))
		}
	}
}

// mailLine writes MAIL FROM with the parameters that the host understands.
func (s *session) mailLine(job *mail.Job) string {
	env := job.Env
	var b strings.Builder
	fmt.Fprintf(&b, "MAIL FROM:<%s>", s.t.external(env.Sender))
	if s.has("SIZE") {
		fmt.Fprintf(&b, " SIZE=%d", job.Size)
	}
	if s.has("8BITMIME") && env.Body == mail.Body8Bit {
		b.WriteString(" BODY=8BITMIME")
	}
	if env.SMTPUTF8 {
		b.WriteString(" SMTPUTF8")
	}
	if env.RequireTLS && s.has("REQUIRETLS") {
		b.WriteString(" REQUIRETLS")
	}
	if s.has("AUTH") && s.t.opts.DummyAuth {
		b.WriteString(" AUTH=<>")
	}
	if s.has("DSN") {
		if env.Ret != "" {
			b.WriteString(" RET=" + env.Ret)
		}
		if env.EnvID != "" {
			b.WriteString(" ENVID=" + mail.Xtext(env.EnvID))
		}
	}
	return b.String()
}

// rcptLine writes RCPT TO with the parameters that the host understands.
func (s *session) rcptLine(r mail.Rcpt) string {
	line := "RCPT TO:<" + s.t.external(r.Addr) + ">"
	if !s.has("DSN") {
		return line
	}
	if n := r.Notify.String(); n != "" {
		line += " NOTIFY=" + n
	}
	if r.ORCPT == "" { // RFC 3461 section 5.1: a relay may say what was written
		r.ORCPT = "rfc822;" + original(r).Quoted()
	}
	if r.ORCPT != "" {
		kind, addr, _ := strings.Cut(r.ORCPT, ";")
		line += " ORCPT=" + kind + ";" + mail.Xtext(addr)
	}
	return line
}
