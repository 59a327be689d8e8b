package explain

import (
	"fmt"
	"io"
	"strings"

	"packetboat/cmd/mailadm/where"
	"packetboat/internal/sys/maillog"
)

// printer writes a report for people. The first error of the writer stays.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(indent int, format string, args ...any) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, strings.Repeat("  ", indent)+where.Printable(fmt.Sprintf(format, args...))+"\n")
	}
}

// item writes a text with its place behind it.
func (p *printer) item(indent int, text string, at where.Place) {
	if s := at.Short(); s != "" {
		text += "   [" + s + "]"
	}
	p.line(indent, "%s", text)
}

func (r *Report) write(w io.Writer) error {
	p := &printer{w: w}
	p.line(0, "mail for <%s> from <%s>", r.Address, r.Sender)
	if r.Service != nil {
		p.line(0, "")
		p.line(0, "access, service %s   [%s]", r.Service.Name, where.Place{File: r.Service.File, Line: r.Service.Line}.Short())
		for _, x := range r.Dialogue {
			p.exchange(x)
		}
	}
	p.line(0, "")
	p.line(0, "rewriting")
	if len(r.Rewriting) == 0 {
		p.line(1, "none")
	}
	p.steps(1, r.Rewriting)
	p.line(0, "")
	p.line(0, "delivery")
	p.deliveries(1, r.Deliveries)
	p.line(0, "")
	for _, n := range r.Notes {
		p.line(0, "note: %s", n)
	}
	p.line(0, "=> %s", r.verdict())
	return p.err
}

// verdict is the explanation in one line.
func (r *Report) verdict() string {
	switch {
	case !r.Accepted:
		return "refused: " + r.Reply
	case !r.Deliverable:
		return "taken, but it cannot be delivered"
	}
	return "taken"
}

func (p *printer) exchange(x Exchange) {
	switch x.Command {
	case "":
	case ".":
		p.line(1, "END-OF-MESSAGE")
	default:
		p.line(1, "%s", x.Command)
	}
	p.restrictions(2, x.Asked)
	if x.Command != "" || x.Reply[0] > '3' {
		p.line(2, "%s", x.Reply)
	}
}

func (p *printer) restrictions(indent int, list []Restriction) {
	for _, r := range list {
		text := r.Name
		if r.Warn {
			text = "warn_if_reject " + text
		}
		if r.Arg != "" {
			text += " " + r.Arg
		}
		p.item(indent, fmt.Sprintf("%-9s %s", r.Result, text), r.Place)
		for _, n := range r.Notes {
			p.line(indent+5, "%s", n)
		}
		for _, e := range r.Found {
			p.entry(indent+5, &e)
		}
		p.restrictions(indent+1, r.Inner)
		if r.Reply != "" {
			p.line(indent+5, "%s", r.Reply)
		}
	}
}

func (p *printer) entry(indent int, e *Entry) {
	switch {
	case e == nil:
	case e.File == "":
		p.line(indent, "%s %s   [%s]", e.Key, oneLine(e.Value), e.Table)
	default:
		p.item(indent, e.Key+" "+oneLine(e.Value), where.Place{File: e.File, Line: e.Line, Parameter: e.Table})
	}
}

// oneLine closes the gaps of a value that goes on over several lines.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (p *printer) steps(indent int, list []Step) {
	for _, s := range list {
		p.item(indent, s.From+" -> "+strings.Join(s.To, ", "), s.Place)
		p.entry(indent+1, s.Entry)
	}
}

// aliases writes the aliases of aliases(5) that were followed.
func (p *printer) aliases(indent int, list []Step) {
	for _, s := range list {
		at := s.Place
		if s.Entry != nil && s.Entry.File != "" {
			at = where.Place{Parameter: s.Entry.Table, File: s.Entry.File, Line: s.Entry.Line}
		}
		p.item(indent, "alias "+s.From+": "+oneLine(strings.Join(s.To, ", ")), at)
	}
}

func (p *printer) deliveries(indent int, list []Delivery) {
	for _, d := range list {
		p.line(indent, "%s", d.Address)
		if d.Class != "" {
			p.item(indent+1, "class "+d.Class, d.ClassBy)
		}
		for _, c := range d.Choices {
			p.item(indent+1, strings.TrimSuffix(c.Value, ":"), c.Place)
			p.entry(indent+2, c.Entry)
		}
		if d.Transport != "" {
			p.item(indent+1, "transport "+d.Transport+", next hop "+d.Nexthop, where.Place{File: d.Agent.File, Line: d.Agent.Line})
		}
		p.aliases(indent+1, d.Aliases)
		for _, e := range d.Ends {
			p.line(indent+1, "%s %s", e.Kind, e.Text)
		}
		if d.Result != "" {
			p.line(indent+1, "%s", d.Result)
		}
		p.steps(indent+1, d.Then)
		p.deliveries(indent+1, d.Next)
	}
}

// listen returns a log whose warnings become notes: what the rooms would write
// into the mail log about their tables.
func (a *asker) listen() *maillog.Logger {
	return maillog.To(logNotes{a}, maillog.Options{})
}

// logNotes takes lines of the log.
type logNotes struct{ a *asker }

// Write implements io.Writer.
func (l logNotes) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "/nonexistent/mailadm-explain") {
			continue
		}
		if _, text, ok := strings.Cut(line, ": warning: "); ok {
			l.a.note("%s", strings.TrimSpace(text))
		}
	}
	return len(b), nil
}
