package explain

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"

	"packetboat/cmd/internal/wiring"
	"packetboat/cmd/mailadm/where"
	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/send/local"
	"packetboat/internal/send/sched"
	"packetboat/internal/sys/config"
)

// heardRoute returns the router's events since the last call.
func (a *asker) heardRoute() []rewrite.Event {
	var out []rewrite.Event
	for _, e := range a.d.heard() {
		if e.route != nil {
			out = append(out, *e.route)
		}
	}
	return out
}

// tableOptions are those with which the router opens its tables.
func (a *asker) tableOptions() table.Options {
	list := func(name string) []string { return config.Fields(a.base.Get(name)) }
	o := a.kit.Tables(a.base)
	o.Missing, o.AliasFiles = nil, rewrite.AliasFiles(list("alias_maps"), list("alias_database"))
	return o
}

// found finds the entry behind an answer of the router's tables.
func (a *asker) found(e rewrite.Event) *Entry {
	param := e.Param
	if param == "canonical_maps" {
		param = "recipient_canonical_maps+canonical_maps"
	}
	return answering(a.base, param, e.Key, e.Value, a.tableOptions())
}

// steps makes the rewriting of addresses of the router's events.
func (a *asker) steps(events []rewrite.Event) []Step {
	var out, members []Step // the members of an alias are completed before it is told
	var entry *Entry
	for _, e := range events {
		switch e.What {
		case rewrite.Found:
			entry = a.found(e)
		case rewrite.Rewritten:
			s := Step{From: string(e.From), To: texts(e.To), Place: a.known(e.Param)}
			if entry != nil {
				members = append(members, s)
			} else {
				out = append(out, s)
			}
		case rewrite.Expanded:
			out = append(out, Step{From: string(e.From), To: texts(e.To), Place: a.known(e.Param), Entry: entry})
			out = append(out, members...)
			entry, members = nil, nil
		}
	}
	return append(out, members...)
}

// known is the place of a parameter; "" has none.
func (a *asker) known(param string) where.Place {
	if param == "" {
		return where.Place{}
	}
	if param == "canonical_maps" && a.base.Get(param) == "" {
		param = "recipient_canonical_maps"
	}
	return where.Of(a.base, param)
}

func texts(list []mail.Address) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// maxDepth bounds mail that is forwarded from alias to alias.
const maxDepth = 20

// expand follows an address that an alias leads to: it is queued again.
func (a *asker) expand(addr, sender mail.Address, depth int) (steps []Step, out []Delivery) {
	a.heardRoute()
	list, err := a.kit.Router.Expand(addr)
	steps = a.steps(a.heardRoute())
	if err != nil {
		return steps, []Delivery{{Address: string(addr), Result: resultText(mail.AsStatus(err))}}
	}
	for _, to := range list {
		out = append(out, a.delivery(to, sender, "", depth))
	}
	return steps, out
}

// delivery explains where one queued recipient goes.
func (a *asker) delivery(addr, sender mail.Address, filter string, depth int) Delivery {
	a.heardRoute()
	rcpt := mail.Rcpt{Addr: addr}
	transport, nexthop, err := a.kit.Router.Route(&mail.Envelope{Sender: sender, Filter: filter}, &rcpt)
	d := Delivery{Address: string(rcpt.Addr), Transport: transport, Nexthop: nexthop}
	a.choices(&d, a.heardRoute())
	if err != nil {
		d.Result = resultText(mail.AsStatus(err))
		return d
	}
	svc := a.client(transport)
	if svc == nil {
		d.Result = "deferred: master.cf has no unix service " + transport
		return d
	}
	d.Agent, d.Program = where.Place{Parameter: svc.Name, File: svc.File, Line: svc.Line}, svc.Command
	a.agent(&d, svc, rcpt.Addr, sender, depth)
	return d
}

// choices says what gave class, transport and next hop.
func (a *asker) choices(d *Delivery, events []rewrite.Event) {
	entries := map[string]*Entry{} // by parameter: they are asked before one is chosen
	for _, e := range events {
		switch e.What {
		case rewrite.Found:
			entries[e.Param] = a.found(e)
			if e.Param == "sender_dependent_relayhost_maps" {
				d.Choices = append(d.Choices, Choice{a.known(e.Param), e.Value, entries[e.Param]})
			}
		case rewrite.Classed:
			d.Class, d.ClassBy = e.Class.String(), a.known(e.Param)
		case rewrite.Chosen:
			d.Choices = append(d.Choices, Choice{a.known(e.Param), e.Value, entries[e.Param]})
		}
	}
}

// client finds the delivery service of a transport's name.
func (a *asker) client(name string) *config.Service {
	i := slices.IndexFunc(a.kit.Services, func(s config.Service) bool { return s.Type == "unix" && s.Name == name })
	if i < 0 {
		return nil
	}
	return &a.kit.Services[i]
}

// agent asks the delivery agents that decide here: local and virtual are told to
// verify, error answers by its text. What smtp, lmtp and pipe do is up to others.
func (a *asker) agent(d *Delivery, svc *config.Service, addr, sender mail.Address, depth int) {
	m := a.base.With(svc.Options...)
	switch svc.Command {
	case "local":
		a.local(d, svc, m, addr, sender, depth)
	case "virtual":
		var o local.VirtualOptions
		if err := m.Decode(&o); err != nil {
			d.Result = "deferred: " + err.Error()
			return
		}
		t, err := local.NewVirtual(o, nobody{}, a.kit.Logs)
		a.verify(d, t, err, addr, sender)
	case "error":
		d.Result = resultText(rewrite.SplitText(svc.Name != "retry", d.Nexthop))
	case "discard":
		d.Result = "discarded"
	}
}

// local follows aliases and asks local(8) for the result.
func (a *asker) local(d *Delivery, svc *config.Service, m *config.Main, addr, sender mail.Address, depth int) {
	kit := *a.kit
	kit.TraceAlias = func(s alias.Step) { d.Aliases = append(d.Aliases, a.aliasStep(m, s)) }
	o, err := kit.Local(svc.Name, m)
	if err != nil {
		d.Result = "deferred: " + err.Error()
		return
	}
	for _, dest := range o.Expander.Expand(context.Background(), addr, nil) {
		d.Ends = append(d.Ends, end(dest))
		if dest.Kind != alias.Forward {
			continue
		}
		if depth >= maxDepth {
			d.Result = "bounced: 5.4.6 mail is forwarded from alias to alias without end"
			return
		}
		if dest.Owned {
			sender = dest.Sender
		}
		steps, next := a.expand(dest.Addr, sender, depth+1)
		d.Then, d.Next = append(d.Then, steps...), append(d.Next, next...)
	}
	o.Expander.Trace, o.Queued = nil, func(string, *mail.Envelope, int64) {}
	o.Via = func(name string) local.Transport { return passed(name) }
	t, err := local.New(o, nil, nobody{}, a.kit.Logs)
	a.verify(d, t, err, addr, sender)
}

// aliasStep finds the line of an alias.
func (a *asker) aliasStep(m *config.Main, s alias.Step) Step {
	if s.File != "" {
		return Step{From: s.Name, To: []string{":include:" + s.File}, Place: where.Place{File: s.File, Line: 1}}
	}
	out := Step{From: s.Name, Place: where.Of(m, "alias_maps"), To: []string{s.Value}}
	out.Entry = &Entry{Table: s.Table, Key: s.Name, Value: s.Value}
	out.Entry.File, out.Entry.Line = where.Entry(s.Table, s.Name, s.Value, table.Options{Alias: true, NoRegSub: true})
	return out
}

func end(d alias.Dest) End {
	switch d.Kind {
	case alias.Mailbox:
		return End{"mailbox", d.User}
	case alias.Forward:
		return End{"forward", string(d.Addr)}
	case alias.ToCommand:
		return End{"command", d.Text}
	case alias.ToFile:
		return End{"file", d.Text}
	}
	return End{"failed", resultText(d.Status)}
}

// verify has a transport say what it would do.
func (a *asker) verify(d *Delivery, t sched.Transport, err error, addr, sender mail.Address) {
	if err != nil {
		d.Result = "deferred: " + err.Error()
		return
	}
	job := &mail.Job{ID: "EXPLAIN", Env: &mail.Envelope{Sender: sender, VerifyOnly: true}, Transport: d.Transport, Nexthop: d.Nexthop,
		Rcpts: []mail.Rcpt{{Addr: addr}}, Open: emptyContent, Report: func(_ int, r mail.Result) { d.Result = resultText(r.Status) }}
	t.Deliver(context.Background(), job)
}

func emptyContent() (mail.Content, error) {
	f, err := os.Open(os.DevNull)
	return mail.Content{File: f}, err
}

// resultText writes a result as the log does: "bounced: 5.1.1 unknown user".
func resultText(s *mail.Status) string {
	word := map[mail.Outcome]string{mail.Sent: "sent", mail.Bounced: "bounced", mail.Deferred: "deferred"}[s.Outcome]
	return word + ": " + s.Code + " " + s.Text
}

// nobody starts no process: a transport that verifies needs none.
type nobody struct{}

var errNobody = errors.New("nothing is delivered here")

// Deliver implements local.Starter.
func (nobody) Deliver(context.Context, local.Who) (net.Conn, error) { return nil, errNobody }

// Command implements local.Starter.
func (nobody) Command(context.Context, local.Who, local.Command) (int, string, error) {
	return 0, "", errNobody
}

// passed answers for the transport that local(8) passes a recipient to.
type passed string

// Deliver implements local.Transport.
func (p passed) Deliver(_ context.Context, job *mail.Job) {
	for i := range job.Rcpts {
		job.Report(i, mail.Result{Status: mail.OK("2.0.0", "passed to transport %s", string(p))})
	}
}

// Explain answers a question. An error means that the configuration cannot be
// used at all.
func Explain(q Question) (*Report, error) {
	m, _, err := config.LoadMain(q.Dir)
	if err != nil {
		return nil, err
	}
	services, _, err := config.LoadMaster(m.Dir())
	if err != nil {
		return nil, err
	}
	svc, err := service(services, q.Service)
	if err != nil {
		return nil, err
	}
	a := newAsker(q, m, services)
	if a.kit.Router, err = a.kit.NewRouter(); err != nil {
		return nil, err
	}
	if svc != nil {
		a.m = m.With(svc.Options...)
		a.r.Service = &Service{svc.Name, svc.File, svc.Line}
		if err := a.access(svc, a.kit.Logs.Program("smtpd")); err != nil {
			return nil, err
		}
	} else {
		a.note("master.cf has no smtpd service: mail comes from this machine alone")
		a.r.Accepted = true
	}
	if err := a.accept(a.m.With(asideFrom()...)); err != nil {
		return nil, err
	}
	a.r.Deliverable = deliverable(a.r.Deliveries)
	return a.r, nil
}

// newAsker prepares the machinery: it speaks to nobody, and a table that cannot
// be read is told in a note, since its mail waits.
func newAsker(q Question, m *config.Main, services []config.Service) *asker {
	a := &asker{q: q, m: m, base: m, notes: map[string]bool{}, r: &Report{Address: string(q.Address), Sender: string(q.Sender)}}
	a.d = &dialogue{q: &a.q}
	a.kit = &wiring.Kit{Main: m, Services: services, Logs: a.listen(), TracePolicy: a.d.hear,
		TraceRoute: a.d.hearRoute, TraceIntake: a.d.hearIntake, Missing: func(err error) { a.note("%v: mail that needs it waits", err) }}
	a.kit.Verify = believe{a}
	a.names()
	return a
}

func deliverable(list []Delivery) bool {
	for _, d := range list {
		if strings.HasPrefix(d.Result, "bounced") || strings.HasPrefix(d.Result, "deferred") || !deliverable(d.Next) {
			return false
		}
		// One member of an alias may fail where the alias itself is done with.
		if slices.ContainsFunc(d.Ends, func(e End) bool { return e.Kind == "failed" }) {
			return false
		}
	}
	return true
}

// answering returns which table of a parameter knows a key, with the place of
// the entry.
func answering(m *config.Main, param, key, value string, o table.Options) *Entry {
	var specs []string
	for _, p := range strings.Split(param, "+") {
		specs = append(specs, config.Fields(m.Get(p))...)
	}
	for _, spec := range specs {
		t, err := table.Open(spec, o)
		if err != nil {
			continue
		}
		v, found, err := t.Lookup(context.Background(), key)
		if err == nil && found && v == value {
			e := &Entry{Table: spec, Key: key, Value: value}
			e.File, e.Line = where.Entry(spec, key, value, o)
			return e
		}
	}
	return &Entry{Key: key, Value: value}
}
