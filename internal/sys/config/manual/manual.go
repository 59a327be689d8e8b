// Package manual holds a text for each parameter of main.cf and makes the page
// postconf(5) of the texts and the table of parameters. Administration programs
// show the texts; daemons do not link them.
package manual

import (
	_ "embed" // the texts are a file that people edit
	"fmt"
	"strings"

	"packetboat/internal/sys/config"
)

// texts holds one parameter a line, sorted by name as in the table: the name, a
// tab, one to three sentences that end in full stops.
//
//go:embed texts.txt
var texts string

// Text returns what a parameter means, "" for a name that has no text. Those of
// a delivery service have the text of their ending.
func Text(name string) string {
	p, ok := config.LookupParam(name)
	if ok && p.Service {
		for _, s := range config.ServiceSuffixes() {
			if strings.HasSuffix(name, s.Name) {
				name = "*" + s.Name
				break
			}
		}
	}
	for line := range strings.Lines(texts) {
		if n, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); n == name {
			return text
		}
	}
	return ""
}

const head = `.\" Made from internal/sys/config/params.txt and manual/texts.txt; edit those.
.TH POSTCONF 5 "" Packetboat "Packetboat manual"
.SH NAME
postconf \- parameters of main.cf
.SH DESCRIPTION
.B main.cf
holds lines of the form
.IR "name = value" .
A line that starts with white space continues the one before it; empty lines and lines that start with # are comments,
between continued lines too. The last line for a name counts.
.PP
In a value
.IR $name ,
.I ${name}
and
.I $(name)
stand for the value of another parameter,
.I ${name?text}
for the text when that value is not empty,
.I ${name:text}
for the text when it is empty,
.I ${name?{text}:{text}}
for one of both, and
.I ${{text} == {text} ? {text} : {text}}
for a comparison (== != < <= > >=), of numbers where both sides are numbers.
.I $$
is a dollar sign.
.PP
Times are whole numbers with s, m, h, d or w; without a letter they have the unit of the default. Lists are parted by commas or
white space. In a list of patterns
.I /file
stands for the items of a file,
.I type:name
for a table, and
.I !
before an item for its contrary.
.PP
Each parameter below has a state:
.B done
where it acts as described;
.B accepted
where it has no meaning here, and its absence changes nothing;
.B refused
where it would change what the system does and is not built: a value other than the default keeps
.BR mtad (8)
from starting, unless
.B \-\-force
is given.
.SH PARAMETERS
`

const foot = `.SH SEE ALSO
.BR mtad (8),
.BR postconf (1),
.BR mailadm (8)
`

// Page returns the page postconf(5) in the language of man(7).
func Page() string {
	var b strings.Builder
	b.WriteString(head)
	page := func(name string, p config.Param) {
		fmt.Fprintf(&b, ".TP\n.B %s\n(%s; default: %s; %s)\n.br\n%s\n", escape(name), kind(p.Type), shownDefault(p), p.State, escape(Text(name)))
	}
	for _, p := range config.ServiceSuffixes() {
		page("*"+p.Name, p)
	}
	for _, p := range config.Params() {
		page(p.Name, p)
	}
	b.WriteString(foot)
	return b.String()
}

// kind names a type for people.
func kind(t config.Type) string {
	switch t {
	case config.TypeMatch:
		return "list of patterns"
	case config.TypeBool:
		return "yes or no"
	case config.TypeInt, config.TypeLong:
		return "number"
	case config.TypeTime:
		return "time"
	}
	return "text"
}

func shownDefault(p config.Param) string {
	switch {
	case p.Default == "":
		return "empty"
	case p.Default[0] == '@':
		return "from the machine"
	}
	return escape(p.Default)
}

// escape keeps man(7) from reading a text as its own language.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\t", " ", "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "'", `\(aq`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
