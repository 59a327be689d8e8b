// Package checks reads what header_checks(5) tables say of lines of a message,
// and follows a message's MIME structure far enough to know which lines are
// headers, and of what. receive/intake judges incoming mail with it, send/remote
// outgoing mail (smtp_header_checks and its like).
//
// It never logs: what is wrong with a table's text comes back as a warning.
package checks

import (
	"context"
	"fmt"
	"strings"

	"packetboat/internal/mail/message"
	"packetboat/internal/route/table"
)

// Verb is what a table wants to be done with a line or its message.
type Verb uint8

// The actions of header_checks(5). Whoever cannot do one says so.
const (
	Dunno    Verb = iota // nothing; also OK
	Ignore               // the line vanishes
	Strip                // the line vanishes, and the log says so
	Replace              // Text instead of the line
	Prepend              // Text before the line
	Warn                 // a line in the log: "warning: ..."
	Info                 // a line in the log: "info: ..."
	Reject               // the message is refused; Text begins with its x.y.z code
	Discard              // the message is accepted and thrown away
	Hold                 // the message goes to the hold queue
	Pass                 // no further checks of this message
	Filter               // Text is transport:destination
	Redirect             // Text is the one recipient
	BCC                  // Text is one more recipient
)

// Action is an action with its text, which is valid for it.
type Action struct {
	Verb Verb
	Text string
}

// rejected is the text of a REJECT without one.
const rejected = "5.7.1 message content rejected"

// Maps are the tables of one parameter.
type Maps struct {
	param string
	maps  table.Maps
	body  bool
}

// Open opens the tables that param (header_checks, body_checks ...) names. nil
// stands for an empty list; it matches nothing.
func Open(param string, specs []string, o table.Options) (*Maps, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	maps, err := table.OpenAll(specs, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", param, err)
	}
	return &Maps{param: param, maps: maps, body: strings.HasSuffix(param, "body_checks")}, nil
}

// Param returns the parameter's name, for the log.
func (m *Maps) Param() string { return m.param }

// Find asks the tables about a line: a header field with all its lines but
// without the last line end, or (a piece of) a line of the body. warning tells
// what is wrong with the table's answer; the action is Dunno then, but where the
// answer can be mended. An error means that nobody could tell.
func (m *Maps) Find(ctx context.Context, line string) (a Action, warning string, err error) {
	if m == nil {
		return Action{}, "", nil
	}
	value, found, err := m.maps.Lookup(ctx, line)
	if err != nil || !found {
		return Action{}, "", err
	}
	a, warning = m.parse(value)
	return a, warning, nil
}

// verbs names the actions as tables write them.
func verbs(word string) (Verb, bool) {
	switch strings.ToUpper(word) {
	case "DUNNO", "OK":
		return Dunno, true
	case "IGNORE":
		return Ignore, true
	case "STRIP":
		return Strip, true
	case "REPLACE":
		return Replace, true
	case "PREPEND":
		return Prepend, true
	case "WARN":
		return Warn, true
	case "INFO":
		return Info, true
	case "REJECT":
		return Reject, true
	case "DISCARD":
		return Discard, true
	case "HOLD":
		return Hold, true
	case "PASS":
		return Pass, true
	case "FILTER":
		return Filter, true
	case "REDIRECT":
		return Redirect, true
	case "BCC":
		return BCC, true
	}
	return Dunno, false
}

// parse takes "VERB optional text" apart and holds the text against what the
// action needs.
func (m *Maps) parse(value string) (Action, string) {
	word, text := value, ""
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		word, text = value[:i], strings.TrimLeft(value[i:], " \t\r\n\v\f")
	}
	verb, known := verbs(word)
	if !known {
		return Action{}, "unknown command in " + m.param + " map: " + value
	}
	if verb == Reject {
		text, warning := rejectText(text)
		return Action{verb, text}, warning
	}
	if warning := m.fault(verb, text); warning != "" {
		return Action{}, warning
	}
	return Action{verb, text}, ""
}

// fault tells what an action's text lacks.
func (m *Maps) fault(verb Verb, text string) string {
	switch verb {
	case Filter:
		if text == "" {
			return "missing FILTER command argument in " + m.param + " map"
		}
		if !strings.Contains(text, ":") {
			return "bad FILTER command " + text + " in " + m.param + " -- need transport:destination"
		}
	case Prepend, Replace:
		return m.textFault(verb, text)
	case Redirect:
		if !strings.Contains(text, "@") {
			return `bad REDIRECT target "` + text + `" in ` + m.param + " map -- need user@domain"
		}
	case BCC:
		if !strings.Contains(text, "@") {
			return `bad BCC address "` + text + `" in ` + m.param + " map -- need user@domain"
		}
	}
	return ""
}

// textFault is fault for actions that write a line: where headers stand it must
// be one.
func (m *Maps) textFault(verb Verb, text string) string {
	name := "PREPEND"
	if verb == Replace {
		name = "REPLACE"
	}
	switch {
	case text == "":
		return name + " action without text in " + m.param + " map"
	case !m.body && message.NameLen([]byte(text)) == 0:
		return "bad " + name + ` header text "` + text + `" in ` + m.param + ` map -- need "headername: headervalue"`
	}
	return ""
}

// rejectText puts a code (RFC 3463) before the text of a REJECT that has none.
// One that stands for no failure becomes a temporary one, as in Postfix.
func rejectText(text string) (reject, warning string) {
	switch {
	case text == "":
		return rejected, ""
	case codeLen(text) == 0:
		return "5.7.1 " + text, ""
	case text[0] != '4' && text[0] != '5':
		return "4" + text[1:], "bad DSN action in " + text + " -- need 4.x.x or 5.x.x"
	}
	return text, ""
}

// codeLen returns the length of the x.y.z code that s begins with; 0 for none.
func codeLen(s string) int {
	if s == "" || s[0] != '2' && s[0] != '4' && s[0] != '5' {
		return 0
	}
	n := 1
	for range 2 {
		if n >= len(s) || s[n] != '.' {
			return 0
		}
		digits := 0
		for n++; n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
			digits++
		}
		if digits == 0 || digits > 3 {
			return 0
		}
	}
	if n < len(s) && s[n] != ' ' && s[n] != '\t' {
		return 0
	}
	return n
}
