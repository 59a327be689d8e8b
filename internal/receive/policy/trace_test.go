package policy

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

// TestTrace holds that Deps.Trace is told each question, each table's answer and
// each result, in their order and with their places.
func TestTrace(t *testing.T) {
	var got []string
	d := Deps{Log: maillog.To(io.Discard, maillog.Options{}).Program("smtpd"), Router: traceRouter{}, Open: func(string) (Table, error) {
		return traceTable{"example.org": "permit_mynetworks, reject"}, nil
	}}
	d.Trace = func(e Event) {
		s := fmt.Sprintf("%d %s[%d] %s %s %s", e.What, e.List, e.Word, e.Name, e.Arg, e.Result)
		if e.What == Found {
			s = fmt.Sprintf("%d %s %s %s", e.What, e.Table, e.Key, e.Value)
		}
		if e.Verdict != nil {
			s += fmt.Sprint(" ", e.Verdict.Code)
		}
		got = append(got, s)
	}
	p, err := New(Options{Relay: []string{"permit_mynetworks", "reject_unauth_destination"},
		Sender:    []string{"warn_if_reject", "reject", "hash:/x", "permit"},
		Recipient: []string{"defer_if_permit", "permit"}}, d)
	if err != nil {
		t.Fatal(err)
	}
	from, to := mail.Address("a@example.org"), mail.Address("b@example.com")
	s := &Session{Name: "unknown", Addr: netip.MustParseAddr("192.0.2.1"), Helo: "x", Proto: "ESMTP", Sender: &from, Rcpt: &to, Where: "RCPT"}
	ask := func() {
		got = nil
		p.Rcpt(context.Background(), s)
	}
	ask()
	want := []string{
		"0 smtpd_sender_restrictions[1] reject  ",
		"2 smtpd_sender_restrictions[1] reject  reject 554",
		"0 smtpd_sender_restrictions[2] check_sender_access hash:/x ",
		"1 hash:/x example.org permit_mynetworks, reject",
		"0 [0] permit_mynetworks  ",
		"2 [0] permit_mynetworks  dunno",
		"0 [1] reject  ",
		"2 [1] reject  reject 554",
		"2 smtpd_sender_restrictions[2] check_sender_access hash:/x reject 554",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	from = "a@example.net"
	ask()
	if n := len(got); n < 3 || got[n-1] != "3 [0]   reject 450" ||
		!slices.Contains(got, "2 smtpd_recipient_restrictions[0] defer_if_permit  defer_if_permit 450") {
		t.Errorf("got %q", got)
	}
}

type traceTable map[string]string

func (m traceTable) Lookup(_ context.Context, key string) (string, bool, error) {
	v, ok := m[key]
	return v, ok, nil
}

func (traceTable) Name() string  { return "hash:/x" }
func (traceTable) Pattern() bool { return false }

type traceRouter struct{}

func (traceRouter) Class(context.Context, mail.Address) (Class, error) { return Local, nil }

func (traceRouter) Exists(context.Context, mail.Address) (bool, error) { return true, nil }
