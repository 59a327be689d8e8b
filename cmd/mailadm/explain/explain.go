// Package explain is `mailadm explain`: it tells what the mail system would do
// with mail for an address, and which line of the configuration makes it do so.
//
// It decides nothing itself. A client that exists only in memory speaks SMTP to
// the smtpd of receive/smtpd with the access lists of receive/policy; what they
// were asked and what they answered comes from their trace hooks, and so do the
// steps of route/rewrite and route/alias. Nothing is sent, queued, logged or
// asked of the network, but for DNS with --dns.
package explain

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/sys/config"
)

// Question is what is to be explained.
type Question struct {
	Dir     string       // configuration directory
	Address mail.Address // the recipient
	Sender  mail.Address // empty = the null sender
	Client  netip.Addr
	Name    string // of the client; empty = it has none
	Helo    string
	User    string // SASL login name; empty = not authenticated
	TLS     bool
	Service string   // of master.cf; empty = smtp, or the first smtpd
	DNS     bool     // ask name servers
	Servers []string // which, host:port; empty = resolv.conf
}

// The exit codes of Run.
const (
	exitGood    = 0  // the mail is taken and can be delivered
	exitRefused = 1  // it is refused, or would be returned
	exitTrouble = 2  // the configuration cannot be used
	exitUsage   = 64 // EX_USAGE of sysexits.h
)

// stranger is the client when --client names none: an address of RFC 5737 that
// no network of anybody's contains.
const stranger = "192.0.2.1"

const usage = `usage: mailadm explain [-c DIR] [--from SENDER] [--client IP[:NAME]] [--helo NAME]
                       [--sasl USER] [--tls] [--service NAME] [--dns] [--json] ADDRESS
`

// Run is the command; the result is its exit code.
func Run(args []string, stdout, stderr io.Writer) int {
	q, asJSON, err := parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return exitGood
	}
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\n%s", err, usage)
		return exitUsage
	}
	r, err := Explain(q)
	if err != nil {
		fmt.Fprint(stderr, config.Report(err))
		return exitTrouble
	}
	if asJSON {
		err = r.writeJSON(stdout)
	} else {
		err = r.write(stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitTrouble
	}
	if !r.Accepted || !r.Deliverable {
		return exitRefused
	}
	return exitGood
}

// parse reads the command line.
func parse(args []string) (q Question, asJSON bool, err error) {
	fs := pflag.NewFlagSet("explain", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVarP(&q.Dir, "config", "c", os.Getenv("MAIL_CONFIG"), "configuration directory")
	from := fs.String("from", "", "envelope sender")
	client := fs.String("client", stranger, "address of the client, and its name")
	fs.StringVar(&q.Helo, "helo", "", "what it says at EHLO")
	fs.StringVar(&q.User, "sasl", "", "login name")
	fs.BoolVar(&q.TLS, "tls", false, "the session is encrypted")
	fs.StringVar(&q.Service, "service", "", "smtpd service of master.cf")
	fs.BoolVar(&q.DNS, "dns", false, "ask name servers")
	fs.StringSliceVar(&q.Servers, "dns-server", nil, "host:port of a name server")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	if err := fs.Parse(args); err != nil {
		return q, asJSON, err
	}
	if fs.NArg() != 1 || fs.Arg(0) == "" {
		return q, asJSON, errors.New("one address is wanted")
	}
	if err := q.client(*client); err != nil {
		return q, asJSON, err
	}
	for _, a := range []string{fs.Arg(0), *from, q.Helo, q.Name} {
		if strings.ContainsAny(a, "\r\n\x00") {
			return q, asJSON, fmt.Errorf("%q has a line end in it", a)
		}
	}
	q.Address, q.Sender = address(fs.Arg(0)), address(*from)
	if q.Helo == "" {
		q.Helo = q.Name
	}
	if q.Helo == "" {
		q.Helo = "[" + q.Client.String() + "]"
	}
	return q, asJSON, nil
}

// address reads an address as people write it: in angle brackets or without,
// its local part between quotes where it needs them.
func address(s string) mail.Address {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	if strings.Contains(s, `"`) {
		if list := message.Addresses(s); len(list) == 1 {
			return list[0]
		}
	}
	return mail.Address(s)
}

// client reads IP, IP:name, [IPv6]:name or an IPv6 address.
func (q *Question) client(s string) error {
	addr, name := s, ""
	if rest, ok := strings.CutPrefix(s, "["); ok {
		addr, name, _ = strings.Cut(rest, "]")
		name = strings.TrimPrefix(name, ":")
	} else if strings.Count(s, ":") == 1 {
		addr, name, _ = strings.Cut(s, ":")
	}
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return fmt.Errorf("--client %s: want IP, IP:name or [IPv6]:name", s)
	}
	q.Client, q.Name = a.Unmap(), name
	return nil
}
