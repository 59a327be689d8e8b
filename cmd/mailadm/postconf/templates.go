package postconf

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/config"
)

// template is the text of one kind of report that bounce(8) sends, as bounce(5)
// describes it.
type template struct {
	name       string // failure, delay, success, verify
	charset    string
	from       string
	subject    string
	postmaster string // subject of the postmaster's copy; empty = there is none
	body       string // lines, each with its newline
}

const (
	templateHead = "This is the mail system at host $myhostname.\n\n"
	templateHelp = "For further assistance, please send mail to postmaster.\n\n" +
		"If you do so, please include this problem report. You can\n" +
		"delete your own text from the attached returned message.\n\n"
	templateFoot = "                   The mail system\n"
	templateRule = "####################################################################\n"
)

// builtinTemplates are those that count without a file: the words that programs
// which read reports know.
func builtinTemplates() []*template {
	list := []*template{
		{name: "failure", subject: "Undelivered Mail Returned to Sender", postmaster: "Postmaster Copy: Undelivered Mail",
			body: "I'm sorry to have to inform you that your message could not\n" +
				"be delivered to one or more recipients. It's attached below.\n\n" + templateHelp},
		{name: "delay", subject: "Delayed Mail (still being retried)", postmaster: "Postmaster Warning: Delayed Mail",
			body: templateRule + "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n" + templateRule +
				"\nYour message could not be delivered for more than $delay_warning_time_hours hour(s).\n" +
				"It will be retried until it is $maximal_queue_lifetime_days day(s) old.\n\n" + templateHelp},
		{name: "success", subject: "Successful Mail Delivery Report",
			body: "Your message was successfully delivered to the destination(s)\n" +
				"listed below. If the message was delivered to mailbox you will\n" +
				"receive no further notifications. Otherwise you may still receive\n" +
				"notifications of mail delivery errors from other systems.\n\n"},
		{name: "verify", subject: "Mail Delivery Status Report", body: "Enclosed is the mail delivery report that you requested.\n\n"},
	}
	for _, p := range list {
		p.charset, p.from = "us-ascii", "Mail Delivery System <MAILER-DAEMON>"
		p.body = templateHead + p.body + templateFoot
	}
	return list
}

// showTemplates prints the templates (-t), or their bodies with their $names
// expanded (-b): those of a file, or of bounce_template_file, over the built-in.
func (t *tool) showTemplates(names []string) error {
	t.name = "postfix/bounce" // which speaks for postconf here
	if err := t.load(); err != nil {
		return err
	}
	t.builtins()
	path := t.values.main.Get("bounce_template_file")
	if len(names) > 0 {
		path = names[0]
	}
	list := builtinTemplates()
	if path != "" {
		text, err := os.ReadFile(path)
		if why, ok := openError(err, path); ok {
			return fatal{why}
		}
		if err := t.readTemplates(list, path, string(text)); err != nil {
			return err
		}
	}
	for i, p := range list {
		if i > 0 {
			fmt.Fprintln(t.out)
		}
		if err := t.printTemplate(p, path); err != nil {
			return err
		}
	}
	return nil
}

func (t *tool) printTemplate(p *template, path string) error {
	if t.mode&expandDSN != 0 {
		body, err := t.expandBody(p, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(t.out, "expanded_%s_text = <<EOF\n%sEOF\n", p.name, body)
		return nil
	}
	fmt.Fprintf(t.out, "%s_template = <<EOF\nCharset: %s\nFrom: %s\nSubject: %s\n", p.name, p.charset, p.from, p.subject)
	if p.postmaster != "" {
		fmt.Fprintf(t.out, "Postmaster-Subject: %s\n", p.postmaster)
	}
	fmt.Fprintf(t.out, "\n%sEOF\n", p.body)
	return nil
}

// expandBody expands the parameters in a body line by line. A name that nobody
// knows is an error, since a report would go out with a hole in it.
func (t *tool) expandBody(p *template, path string) (string, error) {
	var out strings.Builder
	for line := range strings.Lines(p.body) {
		unknown := false
		text, err := config.ExpandWith(line, func(name string, _ bool) (string, bool) {
			v, ok := t.templateValue(name)
			unknown = unknown || !ok
			return v, ok
		})
		if err != nil {
			return "", t.badMacro(err, "macro processing error")
		}
		if unknown {
			return "", fatalf("%s: undefined $name in %s template: %s", path, p.name, strings.TrimSuffix(line, "\n"))
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// templateValue returns what a $name of a template stands for: a parameter, or
// one of two times in a unit that its name ends in.
func (t *tool) templateValue(name string) (string, bool) {
	for _, base := range [...]string{"delay_warning_time", "maximal_queue_lifetime"} {
		unit, ok := strings.CutPrefix(name, base+"_")
		length := map[string]time.Duration{"seconds": time.Second, "minutes": time.Minute, "hours": time.Hour,
			"days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour}[unit]
		if !ok || length == 0 {
			continue
		}
		var o struct {
			Delay    time.Duration `main:"delay_warning_time"`
			Lifetime time.Duration `main:"maximal_queue_lifetime"`
		}
		if t.values.main.Decode(&o) != nil {
			return "", false
		}
		value := o.Delay
		if base == "maximal_queue_lifetime" {
			value = o.Lifetime
		}
		return strconv.FormatInt(int64(value/length), 10), true
	}
	return t.lookup(0, name, nil)
}

var errNoEnd = errors.New("no end marker")

// readTemplates reads a file of templates; one that cannot be used leaves the
// built-in one as it is.
func (t *tool) readTemplates(list []*template, path, text string) error {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines)-1 || i < len(lines) && lines[i] != ""; i++ {
		line := strings.TrimRight(lines[i], " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, problem := config.SplitNameValue(line)
		if problem != "" {
			return fatalf("%s, line %d: %s: \"%s\"", path, i+2, problem, line)
		}
		if mark, ok := strings.CutPrefix(value, "<<"); ok {
			mark = strings.TrimSpace(mark)
			if mark == "" {
				return fatalf("%s, line %d: missing end marker after <<", path, i+2)
			}
			var err error
			if value, i, err = hereDocument(lines, i+1, mark); err != nil {
				t.warn("%s, line %d: missing \"%s\" end marker", path, i+1, mark)
			}
		}
		known := false
		for _, p := range list {
			if p.name+"_template" == name {
				known = true
				t.fill(p, path, value)
			}
		}
		if !known {
			t.warn("%s, line %d: unknown template name: %s -- ignoring this template", path, i+2, name)
		}
	}
	return nil
}

// hereDocument returns the lines up to the mark, and the index of the mark.
func hereDocument(lines []string, from int, mark string) (text string, end int, err error) {
	for i := from; i < len(lines); i++ {
		if lines[i] == mark {
			return strings.Join(lines[from:i], "\n"), i, nil
		}
	}
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines[from:], "\n"), len(lines), errNoEnd
}

// fill takes a template's headers and its body over, unless it has neither.
func (t *tool) fill(p *template, path, text string) {
	q := *p
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		label, value, isHeader := strings.Cut(line, ":")
		if line == "" {
			text = rest
			break
		}
		if !isHeader || strings.ContainsAny(label, " \t") {
			break
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(label) {
		case "charset":
			q.charset = value
		case "from":
			q.from = value
		case "subject":
			q.subject = value
		case "postmaster-subject":
			q.postmaster = value
		default:
			t.warn("%s: unknown \"%s\" header label in %s template -- ignoring this template", path, label, p.name)
			return
		}
		text = rest
	}
	if text == "" {
		t.warn("%s: missing message text in %s template -- ignoring this template", path, p.name)
		return
	}
	q.body = text + "\n"
	*p = q
}
