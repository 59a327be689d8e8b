package smtpd

import (
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd/syntax"
)

// mail is RFC 5321 section 4.1.1.2, with the parameters of RFC 1870 (SIZE),
// 6152 and 3030 (BODY), 3461 (RET, ENVID), 4954 (AUTH) and 6531 (SMTPUTF8).
func (c *session) mail(cmd *syntax.Command) bool {
	if c.s.opts.HeloRequired && c.st.Helo == "" {
		return c.fail("503 5.5.1 Error: send HELO/EHLO first")
	}
	if c.tx.active {
		return c.fail("503 5.5.1 Error: nested MAIL command")
	}
	if c.tx.chunks != bdatNone {
		return c.fail("503 5.5.1 Error: MAIL after BDAT")
	}
	if c.tooOften(gate.Message, c.s.opts.MsgRate, "Message delivery request rate") {
		return c.fail("450 4.7.1 Error: too much mail from " + c.st.Addr.Unmap().String())
	}
	if len(cmd.Args) < 3 || !strings.EqualFold(cmd.Args[1].Text, "FROM:") {
		return c.fail("501 5.5.4 Syntax: MAIL FROM:<address>")
	}
	if cmd.Args[2].Bad {
		return c.fail("501 5.1.7 Bad sender address syntax")
	}
	var env mail.Envelope
	if !no(c.s.opts.NoUTF8) && c.offer.Has("SMTPUTF8") {
		env.SMTPUTF8 = foldIn(syntax.Words(cmd.Args[3:]), "SMTPUTF8")
	}
	sender, ok := c.address("MAIL", cmd.Args[2].Text, syntax.PathRules{Empty: true, Strict: c.s.opts.Strict821, UTF8: env.SMTPUTF8})
	if !ok {
		return c.fail("501 5.1.7 Bad sender address syntax")
	}
	env.Sender = sender
	var size int64
	for _, a := range cmd.Args[3:] {
		if refusal := c.mailOption(&env, &size, a.Text); refusal != "" {
			return c.fail(refusal)
		}
	}
	return c.beginMail(&env, size, cmd)
}

// beginMail asks about the sender and opens the transaction.
func (c *session) beginMail(env *mail.Envelope, size int64, cmd *syntax.Command) bool {
	sender := env.Sender
	c.st.Sender = &sender
	c.st.Size, c.st.SMTPUTF8, c.st.SASLSender = size, env.SMTPUTF8, c.peer.SASLFrom
	c.st.Instance = c.instance()
	if limit := c.s.opts.SizeLimit; limit > 0 && size > limit {
		v := c.s.deps.Policy.Reject(&c.st, 552, "5.3.4", "Message size exceeds fixed limit")
		c.st.ResetMail()
		return c.refused(v)
	}
	if v := c.s.deps.Policy.Mail(c.ctx, &c.st); v != nil {
		c.st.ResetMail()
		return c.refused(v)
	}
	if !c.filterMail(cmd) {
		c.reset()
		return false
	}
	if !c.room(size) {
		v := c.s.deps.Policy.Reject(&c.st, 452, "4.3.1", "Insufficient system storage")
		c.st.ResetMail()
		return c.refused(v)
	}
	c.tx.active = true
	c.tx.env = *env
	if c.s.opts.Filter != "" {
		c.tx.command = passOn("MAIL FROM", env.Sender, cmd)
	}
	c.reply("250 2.1.0 Ok")
	return true
}

// instance names a transaction for policy servers: no other of this server has
// the same name (SMTPD_POLICY_README).
func (c *session) instance() string {
	b := strconv.AppendInt(make([]byte, 0, 32), int64(os.Getpid()), 16)
	b = strconv.AppendInt(append(b, '.'), time.Now().UnixNano(), 16)
	return string(strconv.AppendUint(append(b, '.'), c.s.instances.Add(1), 16))
}

// spaceFactor is how much room there must be for the largest message: its queue
// file, and half as much for a mailbox on the same disk (smtpd_check_queue).
const spaceFactor = 1.5

// room tells whether the queue can take a message of size octets. To say so now
// is kinder than to refuse the message when all of it has come.
func (c *session) room(size int64) bool {
	if c.s.deps.Free == nil {
		return true
	}
	free, err := c.s.deps.Free()
	if err != nil {
		return true // the write will tell
	}
	need := float64(max(size, c.s.opts.SizeLimit)) * spaceFactor
	if free > c.s.opts.MinFree && float64(free) > need {
		return true
	}
	c.s.deps.Log.SMTPDSpace(free, spaceFactor)
	return false
}

// mailOption reads one parameter of MAIL; it returns the reply that refuses it.
func (c *session) mailOption(env *mail.Envelope, size *int64, arg string) string {
	name, value, _ := strings.Cut(arg, "=")
	name = strings.ToUpper(name)
	switch {
	case name == "SIZE":
		return sizeOption(size, value)
	case name == "BODY" && strings.EqualFold(value, "8BITMIME"):
		env.Body = mail.Body8Bit
	case name == "BODY" && strings.EqualFold(value, "7BIT"):
		env.Body = mail.Body7Bit
	case name == "BODY" && strings.EqualFold(value, "BINARYMIME") && c.offersBinary():
		env.Body = mail.BodyBinary
	case strings.EqualFold(arg, "SMTPUTF8") && env.SMTPUTF8:
	case strings.EqualFold(arg, "REQUIRETLS") && c.st.TLS && c.offer.Has("REQUIRETLS"):
		env.RequireTLS = true // RFC 8689 section 2
	case name == "AUTH":
		c.authOption(value)
	case name == "RET":
		return c.retOption(env, value)
	case name == "ENVID":
		return c.envidOption(env, value)
	default:
		return "555 5.5.4 Unsupported option: " + arg
	}
	return ""
}

// sizeOption is RFC 1870 section 6.
func sizeOption(size *int64, value string) string {
	n, digits, fits := syntax.Decimal(value)
	if !digits {
		return "501 5.5.4 Bad message size syntax"
	}
	if !fits {
		return "552 5.3.4 Message size exceeds file system imposed limit"
	}
	*size = n
	return ""
}

// authOption is RFC 4954 section 5: who first sent the message. Only an
// authenticated client is believed, and nobody's bad syntax is worth a refusal.
func (c *session) authOption(value string) {
	who, ok := syntax.Unxtext(value)
	if ok && c.st.User != "" && who != "<>" {
		c.peer.SASLFrom = who
	}
}

// noDSN refuses the parameters of an extension that is not offered.
const noDSN = "501 5.7.1 DSN support is disabled"

// retOption is RFC 3461 section 4.3.
func (c *session) retOption(env *mail.Envelope, value string) string {
	v := strings.ToUpper(value)
	if !c.offer.Has("DSN") {
		return noDSN
	}
	if env.Ret != "" || v != "FULL" && v != "HDRS" {
		return "501 5.5.4 Bad RET parameter syntax"
	}
	env.Ret = v
	return ""
}

// envidOption is RFC 3461 section 4.4.
func (c *session) envidOption(env *mail.Envelope, value string) string {
	id, ok := syntax.Unxtext(value)
	if !c.offer.Has("DSN") {
		return noDSN
	}
	if !ok || id == "" || env.EnvID != "" {
		return "501 5.5.4 Bad ENVID parameter syntax"
	}
	env.EnvID = id
	return ""
}

// address reads an address argument and logs what cannot be read.
func (c *session) address(verb, arg string, r syntax.PathRules) (mail.Address, bool) {
	a, ok := syntax.ParsePath(arg, r)
	if !ok {
		c.s.deps.Log.SMTPDAddress(c.st.Client(), verb, arg)
	}
	return a, ok
}
