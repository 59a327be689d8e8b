package lmtp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
)

// Figures of proxying.
const (
	proxyDial = 30 * time.Second // proxy_timeout's default
	proxyPort = "24"
)

// Proxied tells whether a passdb's fields say that mail goes on to another server.
func Proxied(f map[string]string) bool {
	_, ok := f["proxy"]
	return ok && f["host"] != ""
}

// target is the server that a passdb names (PasswordDatabase/ExtraFields/Proxy).
type target struct {
	addr    string // host:port
	host    string
	smtp    bool   // protocol=smtp
	tls     string // ssl, starttls; empty = none
	any     bool   // any certificate is good
	timeout time.Duration
}

// targetOf reads the fields.
func targetOf(f map[string]string) target {
	t := target{host: f["host"], smtp: f["protocol"] == "smtp", timeout: proxyDial}
	port := f["port"]
	if port == "" {
		port = proxyPort
	}
	address := t.host
	if ip := f["hostip"]; ip != "" {
		address = ip
	}
	t.addr = net.JoinHostPort(address, port)
	switch ssl, starttls := f["ssl"], f["starttls"]; {
	case ssl != "" && ssl != "no":
		t.tls, t.any = "ssl", ssl == "any-cert"
	case starttls != "" && starttls != "no":
		t.tls, t.any = "starttls", starttls == "any-cert"
	}
	if n, err := strconv.Atoi(strings.TrimSuffix(f["proxy_timeout"], "s")); err == nil && n > 0 {
		t.timeout = time.Duration(n) * time.Second
	}
	return t
}

// loops tells whether mail would come back to the place where it comes from.
func (b *backend) loops(f map[string]string) bool { return targetOf(f).addr == b.local }

// proxied sends a message on for those recipients whose mail is elsewhere: one
// transaction a server, one answer a recipient.
func (b *backend) proxied(m *lmtpd.Message) {
	work := map[target][]*lmtpd.Rcpt{}
	var order []target
	for _, rc := range m.Rcpts {
		if f := rc.Box.(box).Proxy; f != nil {
			t := targetOf(f)
			if work[t] == nil {
				order = append(order, t)
			}
			work[t] = append(work[t], rc)
		}
	}
	for _, t := range order {
		head := ""
		if b.o.Received {
			head = b.received(m, work[t][0], b.session)
		}
		for _, rc := range work[t] {
			rc.Status = mail.Defer("4.4.0", "Remote server not answering")
		}
		if err := t.send(io.MultiReader(strings.NewReader(head), m.Reader()), m.Sender, work[t], b.o.Host); err != nil {
			b.o.Log.DovecotError("lmtp", fmt.Sprintf("proxy: %s: %v", t.addr, err))
		}
	}
}

// send is one transaction with a server. Its error stands for the recipients that got
// no answer: they keep their temporary one.
func (t target) send(body io.Reader, sender mail.Address, rcpts []*lmtpd.Rcpt, host string) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.CommandTimeout, c.SubmissionTimeout = deliverWait, deliverWait
	if err := c.Hello(host); err != nil {
		return err
	}
	if err := c.Mail(sender.Quoted(), nil); err != nil {
		return refuseAll(rcpts, err)
	}
	byName := map[string]*lmtpd.Rcpt{}
	for _, rc := range rcpts {
		name := rcptName(rc)
		if byName[name] != nil {
			continue // answered below as the first
		}
		if err := c.Rcpt(name, nil); err != nil {
			rc.Status = status(err)
			continue
		}
		byName[name] = rc
	}
	if len(byName) == 0 {
		return nil
	}
	if err := t.data(c, body, byName); err != nil {
		return err
	}
	for _, rc := range rcpts {
		if first := byName[rcptName(rc)]; first != nil {
			rc.Status = first.Status
		}
	}
	c.Quit()
	return nil
}

// rcptName is the address that the other server is told: destuser where it is given.
func rcptName(rc *lmtpd.Rcpt) string {
	if d := rc.Box.(box).Proxy["destuser"]; d != "" {
		return d
	}
	return rc.Addr.Quoted()
}

// data sends the message and takes the answers of all recipients.
func (t target) data(c *smtp.Client, body io.Reader, byName map[string]*lmtpd.Rcpt) error {
	w, err := c.Data()
	if err != nil {
		return refuseSome(byName, err)
	}
	if _, err := io.Copy(w, body); err != nil { // it writes CRLF line ends
		return err
	}
	if t.smtp {
		if _, err := w.CloseWithResponse(); err != nil {
			return refuseSome(byName, err)
		}
		for _, rc := range byName {
			rc.Status = saved()
		}
		return nil
	}
	good, err := w.CloseWithLMTPResponse()
	var bad smtp.LMTPDataError
	told := errors.As(err, &bad)
	for name, rc := range byName {
		if good[name] != nil {
			rc.Status = saved()
		} else if bad[name] != nil {
			rc.Status = status(bad[name])
		}
	}
	if told {
		return nil // each recipient has his own
	}
	return err
}

// saved is the answer for mail that the other server has; its own text is of no use
// to the client.
func saved() *mail.Status { return mail.OK("2.0.0", "") }

func (t target) dial() (*smtp.Client, error) {
	d := net.Dialer{Timeout: t.timeout}
	conf := &tls.Config{ServerName: t.host, InsecureSkipVerify: t.any}
	var conn net.Conn
	var err error
	if t.tls == "ssl" {
		conn, err = tls.DialWithDialer(&d, "tcp", t.addr, conf)
	} else {
		conn, err = d.Dial("tcp", t.addr)
	}
	if err != nil {
		return nil, err
	}
	if t.tls == "starttls" {
		return smtp.NewClientStartTLS(conn, conf)
	}
	if t.smtp {
		return smtp.NewClient(conn), nil
	}
	return smtp.NewClientLMTP(conn), nil
}

// refuseAll gives all recipients the server's refusal of the sender.
func refuseAll(rcpts []*lmtpd.Rcpt, err error) error {
	var e *smtp.SMTPError
	if !errors.As(err, &e) {
		return err
	}
	for _, rc := range rcpts {
		rc.Status = status(err)
	}
	return nil
}

func refuseSome(byName map[string]*lmtpd.Rcpt, err error) error {
	var list []*lmtpd.Rcpt
	for _, rc := range byName {
		list = append(list, rc)
	}
	return refuseAll(list, err)
}

// status turns the other server's refusal into ours.
func status(err error) *mail.Status {
	var e *smtp.SMTPError
	if !errors.As(err, &e) {
		return mail.Defer("4.4.0", "Remote server not answering")
	}
	code := fmt.Sprintf("%d.%d.%d", e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	if e.EnhancedCode[0] <= 0 {
		code = fmt.Sprintf("%d.0.0", e.Code/100)
	}
	text := strings.ReplaceAll(e.Message, "\n", " ")
	if _, rest, ok := strings.Cut(text, "> "); ok && strings.HasPrefix(text, "<") {
		text = rest // ours has the address that the client knows
	}
	if e.Code >= 500 {
		return mail.Bounce(code, "%s", text).WithReply(e.Code)
	}
	return mail.Defer(code, "%s", text).WithReply(e.Code)
}
