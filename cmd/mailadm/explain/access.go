package explain

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"packetboat/cmd/internal/wiring"
	"packetboat/cmd/mailadm/where"
	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
)

// asker explains one question over one configuration.
type asker struct {
	q    Question
	m    *config.Main // of the service that is asked
	base *config.Main // main.cf alone
	kit  *wiring.Kit
	r    *Report
	d    *dialogue

	kept  *mail.Envelope // of a message that smtpd took
	notes map[string]bool
}

// asideFrom are the parameters of a service that would make it talk to others:
// they are no part of the decision that is explained.
func asideFrom() []config.Setting {
	return []config.Setting{{Name: "smtpd_proxy_filter"}, {Name: "smtpd_milters"}, {Name: "non_smtpd_milters"}, {Name: "smtpd_upstream_proxy_protocol"},
		{Name: "smtpd_policy_service_default_action", Value: "DUNNO"}, {Name: "smtpd_policy_service_try_limit", Value: "1"},
		{Name: "smtpd_error_sleep_time", Value: "0"}, {Name: "smtpd_client_connection_count_limit", Value: "0"}}
}

// service finds the smtpd service that is asked about; nil if none was named and
// there is none.
func service(list []config.Service, name string) (*config.Service, error) {
	var first *config.Service
	for i := range list {
		s := &list[i]
		if s.Command != "smtpd" || s.Type != "inet" && s.Type != "pass" {
			continue
		}
		if s.Name == name || name == "" && s.Name == "smtp" {
			return s, nil
		}
		if first == nil {
			first = s
		}
	}
	if name != "" {
		return nil, fmt.Errorf("master.cf has no smtpd service %q", name)
	}
	return first, nil
}

// access lets the memory's client talk to the service.
func (a *asker) access(svc *config.Service, log *maillog.Log) error {
	for _, p := range []string{"smtpd_proxy_filter", "smtpd_milters"} {
		if a.m.Get(p) != "" {
			a.note("%s is not asked", p)
		}
	}
	m := a.m.With(asideFrom()...)
	o, po, err := wiring.SMTPDOptions(m)
	if err != nil {
		return err
	}
	a.silence(&po)
	pol, err := a.kit.Policy(po, log)
	if err != nil {
		return fmt.Errorf("service %s: %w", svc.Name, err)
	}
	d := smtpd.Deps{Log: log, Table: a.openHosts, Policy: pol, Auth: believer{a.q.User}, Resolver: a.clientName(),
		Open: func() (smtpd.Message, error) { return &nowhere{a}, nil }}
	if d.TLS, err = throwaway(); err != nil {
		return err
	}
	s, err := smtpd.New(o, d)
	if err != nil {
		return err
	}
	a.d.open(s)
	defer a.d.conn.Close()
	return a.talk(o.TLSWrapper)
}

// noServer is a policy server that does not answer.
const noServer = "unix:/nonexistent/mailadm-explain"

// silence puts a server that does not answer into the place of each policy
// server: the true one would remember the question (greylisting), and so decide
// otherwise about the next true mail.
func (a *asker) silence(po *policy.Options) {
	lists := []*[]string{&po.Client, &po.Helo, &po.Sender, &po.Relay, &po.Recipient, &po.Data, &po.EndOfData, &po.Etrn}
	for name, words := range po.Classes {
		defer func() { po.Classes[name] = words }()
		lists = append(lists, &words)
	}
	for _, l := range lists {
		*l = slices.Clone(*l)
		for i, w := range *l {
			if i > 0 && strings.EqualFold((*l)[i-1], "check_policy_service") {
				a.note("policy servers are not asked (%s): as if they had no objection", w)
				(*l)[i] = noServer
			}
		}
	}
}

// believe is a verifier for which every address exists.
type believe struct{ a *asker }

// Query implements policy.Verifier.
func (b believe) Query(_ context.Context, addr mail.Address) (*mail.Status, error) {
	b.a.note("no other host is asked about an address (%s): it is taken for good", addr)
	return mail.OK("2.1.5", "not asked"), nil
}

// openHosts opens a table for lists of clients.
func (a *asker) openHosts(spec string) (gate.Table, error) { return a.kit.OpenTable(spec) }

// namer finds a client's name, as smtpd.Deps.Resolver does.
type namer interface {
	Name(ctx context.Context, addr netip.Addr) (name, reverse string, err error)
}

// clientName answers what the client is called: what was said on the command
// line, else what name servers say, if they may be asked.
func (a *asker) clientName() namer {
	if a.q.Name == "" && a.q.DNS {
		return a.kit.Names
	}
	return named{a.q.Name}
}

// talk holds the dialogue up to the end of an empty message.
func (a *asker) talk(wrapped bool) error {
	if wrapped {
		if err := a.d.encrypt(); err != nil {
			return err
		}
	}
	ehlo := "EHLO " + a.q.Helo
	commands := []string{"", ehlo}
	if a.q.TLS && !wrapped {
		commands = append(commands, "STARTTLS", ehlo)
	}
	if a.q.User != "" {
		commands = append(commands, "AUTH")
	}
	from := "MAIL FROM:<" + a.q.Sender.Quoted() + ">"
	if !ascii(string(a.q.Sender + a.q.Address)) {
		from += " SMTPUTF8" // RFC 6531 section 3.4
	}
	commands = append(commands, from, "RCPT TO:<"+a.q.Address.Quoted()+">", "DATA", ".")
	var offers []string
	for _, c := range commands {
		if c == "AUTH" {
			c = a.d.login(offers)
		}
		reply, all, err := a.d.say(c)
		if err != nil {
			return err
		}
		if strings.HasPrefix(c, "EHLO") {
			offers = all
		}
		a.exchange(c, reply)
		if reply[0] > '3' {
			return nil
		}
		if c == "STARTTLS" {
			if err := a.d.encrypt(); err != nil {
				return err
			}
		}
	}
	a.r.Accepted = true
	return nil
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// exchange takes down a command with what came of it.
func (a *asker) exchange(command, reply string) {
	if strings.HasPrefix(command, "AUTH ") {
		f := strings.Fields(command)
		command = "AUTH " + f[1] + " (" + a.q.User + ")"
	}
	a.r.Reply = reply
	a.r.Dialogue = append(a.r.Dialogue, Exchange{Command: command, Reply: reply, Asked: a.tree(a.d.heard())})
}

// tree makes the restrictions of a command of their events, those inside
// another one below it.
func (a *asker) tree(events []event) []Restriction {
	var top []Restriction
	open := []*[]Restriction{&top}
	for _, ev := range events {
		list, e := open[len(open)-1], ev.policy
		if ev.route != nil {
			if len(open) > 1 {
				a.routed(last(*open[len(open)-2]), ev.route)
			}
			continue
		}
		switch e.What {
		case policy.Asked:
			if e.Arg == noServer {
				e.Arg = a.written(e)
			}
			*list = append(*list, Restriction{Name: e.Name, Arg: e.Arg, Warn: e.Warn, Place: a.place(e)})
			open = append(open, &(*list)[len(*list)-1].Inner)
		case policy.Found:
			if len(open) > 1 {
				r := last(*open[len(open)-2])
				r.Found = append(r.Found, a.entry(e))
			}
		case policy.Answered:
			if len(open) > 1 {
				open = open[:len(open)-1]
				answer(last(*open[len(open)-1]), e)
			}
		case policy.Ended:
			*list = append(*list, Restriction{Name: "defer_if_permit", Result: "reject", Reply: e.Verdict.Reply(), Place: where.Place{}})
		}
	}
	return top
}

// routed takes down what the router's tables said to a restriction.
func (a *asker) routed(r *Restriction, e *rewrite.Event) {
	switch e.What {
	case rewrite.Found:
		r.Found = append(r.Found, *a.found(*e))
	case rewrite.Missed:
		if note := e.Param + " does not know " + string(e.From); !slices.Contains(r.Notes, note) {
			r.Notes = append(r.Notes, note)
		}
	case rewrite.Classed:
		note := string(e.From) + " is " + e.Class.String()
		if e.Param != "" {
			note += " by " + a.known(e.Param).Short()
		}
		if !slices.Contains(r.Notes, note) {
			r.Notes = append(r.Notes, note)
		}
	}
}

func last(l []Restriction) *Restriction { return &l[len(l)-1] }

func answer(r *Restriction, e policy.Event) {
	r.Result = e.Result
	if e.Verdict != nil {
		r.Reply = e.Verdict.Reply()
	}
	if r.Warn && r.Result == "reject" {
		r.Result = "warn"
	}
}

// written is the argument of a restriction as it stands in its list.
func (a *asker) written(e policy.Event) string {
	if words := config.Fields(a.m.Get(e.List)); e.Word+1 < len(words) {
		return words[e.Word+1]
	}
	return ""
}

// place finds the line of a restriction.
func (a *asker) place(e policy.Event) where.Place {
	switch {
	case e.List != "":
		return where.Word(a.m, e.List, e.Word)
	case e.Word < 0:
		return where.Of(a.m, e.Name)
	}
	return where.Place{}
}

// entry finds the line of a table's answer.
func (a *asker) entry(e policy.Event) Entry {
	out := Entry{Table: e.Table, Key: e.Key, Value: e.Value}
	out.File, out.Line = where.Entry(e.Table, e.Key, e.Value, table.Options{})
	return out
}

// names sets whom the access lists ask: name servers with --dns, else nobody.
func (a *asker) names() {
	if a.q.DNS {
		a.kit.Names = dns.New(dns.Options{Servers: a.q.Servers})
		return
	}
	a.kit.Resolver = offline{dns.New(dns.Options{Servers: []string{"127.0.0.1:0"}, Tries: 1}), func(question string) {
		a.note("name servers are not asked without --dns (%s): domains are taken for good, lists for empty", question)
	}}
}

func (a *asker) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	key, _, _ := strings.Cut(s, "(")
	a.d.mu.Lock() // the session's goroutine may have something to say, too
	defer a.d.mu.Unlock()
	if a.notes[key] {
		return
	}
	a.notes[key] = true
	a.r.Notes = append(a.r.Notes, s)
}
