package lmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"packetboat/internal/auth"
	"packetboat/internal/mail"
)

// Figures of quota-status.
const (
	maxAttributes = 64 << 10 // octets of one question
	policyIdle    = 10 * time.Minute
)

// Policy is service quota-status: it answers Postfix's policy protocol
// (SMTPD_POLICY_README) with what a delivery would say. It keeps deliver processes for
// the users that were asked for last.
type Policy struct {
	Success    string // quota_status_success; empty = OK
	NoUser     string // quota_status_nouser; empty = REJECT Unknown user
	OverQuota  string // quota_status_overquota; empty = 554 5.2.2 and the text
	TooLarge   string // quota_status_toolarge; empty = as OverQuota
	Delimiters string
	Error      func(text string) `json:"-"`
	Door       Door              `json:"-"`

	once sync.Once
	pool pool
}

// Serve answers a client until it goes.
func (p *Policy) Serve(c net.Conn) {
	defer c.Close()
	p.once.Do(func() { p.pool = pool{d: p.Door, convs: make(map[string]*conv)} })
	defer p.pool.close()
	r := bufio.NewReaderSize(c, 4<<10)
	for {
		c.SetDeadline(time.Now().Add(policyIdle))
		q, err := readQuestion(r)
		if err != nil {
			return
		}
		c.SetDeadline(time.Now().Add(deliverWait))
		if _, err := fmt.Fprintf(c, "action=%s\n\n", p.action(q)); err != nil {
			return
		}
	}
}

// readQuestion reads "name=value" lines up to an empty one.
func readQuestion(r *bufio.Reader) (map[string]string, error) {
	q := map[string]string{}
	left := maxAttributes
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if left -= len(line); left < 0 {
			return nil, errors.New("question is too long")
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return q, nil
		}
		if name, value, ok := strings.Cut(line, "="); ok {
			q[name] = value
		}
	}
}

// action answers one question.
func (p *Policy) action(q map[string]string) string {
	if state := q["protocol_state"]; state != "" && !strings.EqualFold(state, "RCPT") {
		p.warn("Received policy query from MTA in unexpected state " + printable(state) + " (service can only be used for recipient restrictions)")
		return "DUNNO"
	}
	address, ok := q["recipient"]
	if !ok || address == "" {
		if ok {
			p.warn("Client sent invalid recipient address `': Path is empty string")
		}
		return "DUNNO"
	}
	size, _ := strconv.ParseInt(q["size"], 10, 64)
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	account, _ := split(address, p.Delimiters)
	who, err := p.Door.Lookup(ctx, account)
	switch {
	case errors.Is(err, auth.ErrNoUser):
		return or(p.NoUser, "REJECT Unknown user")
	case err != nil:
		return "DEFER_IF_PERMIT Internal error occurred. Refer to server log for more information."
	case who.Proxy != nil:
		return or(p.Success, "OK") // the other server knows
	}
	st, err := p.pool.ask(ctx, who.User, max(size, 0))
	if err != nil {
		p.warn("user " + printable(who.User) + ": " + err.Error())
		return "DEFER_IF_PERMIT Internal error occurred. Refer to server log for more information."
	}
	return p.verdict(st)
}

// verdict turns deliver's answer into an action.
func (p *Policy) verdict(st *mail.Status) string {
	text := or(p.OverQuota, "554 5.2.2 "+st.Text)
	switch {
	case st.Outcome == mail.Sent:
		return or(p.Success, "OK")
	case st.Code == "5.2.3" || st.Code == "4.2.3":
		return or(p.TooLarge, text)
	case st.Code == "5.2.2" || st.Code == "4.2.2":
		return text
	}
	return "DEFER_IF_PERMIT Internal error occurred. Refer to server log for more information."
}

func (p *Policy) warn(text string) {
	if p.Error != nil {
		p.Error(text)
	}
}

func or(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

// maxIDLine bounds how far into a header the Message-ID is looked for, in bytes.
const maxIDLine = 64 << 10

// messageID returns the Message-ID of a message for the log.
func messageID(m interface{ Reader() io.Reader }) string {
	r := bufio.NewReaderSize(io.LimitReader(m.Reader(), maxIDLine), 4096)
	for {
		line, err := r.ReadString('\n')
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(name), "Message-ID") {
			return strings.TrimSpace(value)
		}
		if err != nil || strings.TrimRight(line, "\r\n") == "" {
			return "unspecified"
		}
	}
}
