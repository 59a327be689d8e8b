package bounce

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
)

// Template is the words of one kind of report (bounce(5)).
type Template struct {
	Charset           string // of Text
	From              string
	Subject           string
	PostmasterSubject string
	Text              string // $name stands for a parameter
}

// maxTemplates is how much of bounce_template_file is read, in octets.
const maxTemplates = 1 << 20

// kinds are the names of templates in a file.
func kinds() map[string]Kind {
	return map[string]Kind{"failure_template": Failure, "delay_template": Delay, "success_template": Success, "verify_template": Verify}
}

// ParseTemplates reads the text of a bounce_template_file:
//
//	failure_template = <<EOF
//	Charset: us-ascii
//	Subject: ...
//
//	text
//	EOF
//
// Kinds that it does not name are not in the result.
func ParseTemplates(text string) (map[Kind]*Template, error) {
	out := map[Kind]*Template{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		end, here := strings.CutPrefix(strings.TrimSpace(rest), "<<")
		kind, known := kinds()[strings.TrimSpace(name)]
		end = strings.TrimSpace(end)
		switch {
		case !ok || !here || end == "":
			return nil, fmt.Errorf("line %d: need \"name = <<word\"", i+1)
		case !known:
			return nil, fmt.Errorf("line %d: unknown template name: %s", i+1, strings.TrimSpace(name))
		}
		first := i + 1
		for i++; i < len(lines) && strings.TrimRight(lines[i], " \t\r") != end; i++ {
		}
		if i >= len(lines) {
			return nil, fmt.Errorf("line %d: missing %q marker", first, end)
		}
		t, err := parseTemplate(lines[first:i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.TrimSpace(name), err)
		}
		out[kind] = t
	}
	return out, nil
}

// parseTemplate reads the header of a template; what follows the empty line is
// its text.
func parseTemplate(lines []string) (*Template, error) {
	t := &Template{Charset: "us-ascii"}
	for i, line := range lines {
		if line == "" {
			t.Text = strings.Join(lines[i+1:], "\n") + "\n"
			return t, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); !ok || value == "" {
			return nil, fmt.Errorf("bad header %q", line)
		}
		switch strings.ToLower(name) {
		case "charset":
			t.Charset = value
		case "from":
			t.From = value
		case "subject":
			t.Subject = value
		case "postmaster-subject":
			t.PostmasterSubject = value
		default:
			return nil, fmt.Errorf("unknown header %q", name)
		}
	}
	return nil, errors.New("missing empty line behind the header")
}

// loadTemplates reads bounce_template_file. One that cannot be read is told, and
// the built-in words are used: no report may be lost for its form.
func (b *Bouncer) loadTemplates() {
	b.templates = map[Kind]*Template{}
	if b.o.TemplateFile == "" {
		return
	}
	text, err := os.ReadFile(b.o.TemplateFile)
	if err == nil && len(text) > maxTemplates {
		err = fmt.Errorf("longer than %d bytes", maxTemplates)
	}
	if err == nil {
		var list map[Kind]*Template
		if list, err = ParseTemplates(string(text)); err == nil {
			b.templates = list
			return
		}
	}
	b.log.Warn("%s: %v", b.o.TemplateFile, err)
}

// variable is a parameter in a text.
var variable = regexp.MustCompile(`\$(?:\$|\{([A-Za-z0-9_]+)\}|\(([A-Za-z0-9_]+)\)|([A-Za-z0-9_]+))`)

// units are what a parameter that is a time may be told in: $name_hours.
func units() map[string]time.Duration {
	const day = 24 * time.Hour
	return map[string]time.Duration{"_seconds": time.Second, "_minutes": time.Minute, "_hours": time.Hour, "_days": day, "_weeks": 7 * day}
}

// expandText puts values in the place of $name. "$$" is a dollar sign.
func (b *Bouncer) expandText(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if v == "$$" {
			return "$"
		}
		name := strings.Trim(v, "${}()")
		for suffix, unit := range units() {
			d, ok := map[string]time.Duration{"delay_warning_time": b.o.DelayWarning, "maximal_queue_lifetime": b.o.MaximalLifetime,
				"bounce_queue_lifetime": b.o.BounceLifetime}[strings.TrimSuffix(name, suffix)]
			if ok && strings.HasSuffix(name, suffix) {
				return strconv.FormatInt(int64(d/unit), 10)
			}
		}
		if b.o.Parameter != nil {
			if value, ok := b.o.Parameter(name); ok {
				return value
			}
		}
		return map[string]string{"myhostname": b.o.Hostname, "myorigin": b.o.Origin, "mail_name": b.o.MailName}[name]
	})
}

// words returns subject and text of a report: those of the template, or the
// built-in ones.
func (p *paper) words() (subject, text, charset string) {
	subject, charset = p.l.subject, "utf-8"
	t := p.templates[p.kind]
	if t == nil {
		return subject, p.template(p.kind), charset
	}
	switch {
	case p.l.postmaster && t.PostmasterSubject != "":
		subject = t.PostmasterSubject
	case !p.l.postmaster && t.Subject != "":
		subject = t.Subject
	}
	if !strings.EqualFold(t.Charset, "us-ascii") {
		charset = t.Charset
	}
	return p.expandText(subject), p.expandText(t.Text), charset
}

// from returns the From: of a report. "address (name)", as templates write it,
// becomes "name <address>", as header_from_format wants it.
func (p *paper) from() string {
	t := p.templates[p.kind]
	if t == nil || t.From == "" {
		return "Mail Delivery System <MAILER-DAEMON@" + p.o.Origin + ">"
	}
	text := p.expandText(t.From)
	list := message.ParseAddressList(text)
	if len(list) != 1 || list[0].Address() == "" {
		return clean(text)
	}
	addr, name := p.address(string(list[0].Address())), list[0].Name
	if name == "" {
		return clean(addr.Quoted())
	}
	return clean(message.QuotePhrase(name) + " <" + addr.Quoted() + ">")
}

// Verp returns the sender that a message to one recipient goes out with, so that
// a report about it tells the recipient (VERP_README): list@site becomes
// list+user=domain@site with the delimiters "+=". send/sched uses it.
func Verp(sender mail.Address, r *mail.Rcpt, delims string) mail.Address {
	if sender == "" || len(delims) != 2 {
		return sender
	}
	to := r.Orig
	if to == "" {
		to = r.Addr
	}
	local, site := sender.Split()
	user, domain := to.Split()
	out := local + delims[:1] + user
	if domain != "" {
		out += delims[1:] + domain
	}
	if site != "" {
		out += "@" + site
	}
	return mail.Address(out)
}
