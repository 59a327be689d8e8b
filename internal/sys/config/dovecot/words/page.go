package words

import (
	"fmt"
	"strings"

	"packetboat/internal/sys/config/dovecot"
)

// blocks are the sections of dovecot.conf in the order of the page.
var blocks = []struct{ path, title string }{
	{"", "SETTINGS"}, {"passdb", "passdb { }"}, {"userdb", "userdb { }"}, {"namespace", "namespace NAME { }"},
	{"namespace/mailbox", "mailbox NAME { } of a namespace"}, {"service", "service NAME { }"},
	{"service/inet_listener", "inet_listener NAME { } of a service"}, {"service/unix_listener", "unix_listener PATH { } of a service"},
	{"service/fifo_listener", "fifo_listener PATH { } of a service"}, {"metric", "metric NAME { }"}, {"event_exporter", "event_exporter NAME { }"},
}

const head = `.\" Made from internal/sys/config/dovecot/settings.txt and words/texts.txt; edit those.
.TH DOVECOT.CONF 5 "" Packetboat "Packetboat manual"
.SH NAME
dovecot.conf \- settings of the mail reading daemon
.SH DESCRIPTION
.BR mrad (8)
reads the configuration that a machine has for Dovecot, in the syntax of version 2.3, or, when the first setting is
.IR "dovecot_config_version" ,
in that of 2.4. The settings are shown here under their names in 2.3;
.B doveconf \-\-to 2.4
writes a configuration in the other syntax.
.PP
A line is
.IR "name = value" ,
.IR "kind name {" ,
.I }
on a line of its own,
.IR "!include PATTERN" ,
.I !include_try PATTERN
or a comment that begins with #. A line that ends in a backslash goes on in the next one. A value in quotes is taken as it stands,
but for backslashes;
.I <FILE
is the contents of a file; the words
.I $name
of a value are earlier settings. Sections
.BR protocol ,
.BR local ,
.B local_name
and
.B remote
hold settings for some connections only.
.PP
Each setting below has a state:
.B done
where it acts as described;
.B accepted
where it has no meaning here, and its absence changes nothing;
.B refused
where it would change what the system does and is not built: a value other than the default keeps
.BR mrad (8)
from starting.
`

const foot = `.SH SEE ALSO
.BR mrad (8),
.BR doveconf (1),
.BR mailadm (8)
`

// Page returns the page dovecot.conf(5) in the language of man(7).
func Page() string {
	var b strings.Builder
	b.WriteString(head)
	for _, s := range blocks {
		fmt.Fprintf(&b, ".SH \"%s\"\n", escape(s.title))
		for _, p := range dovecot.Params(s.path) {
			fmt.Fprintf(&b, ".TP\n.B %s\n(%s; default: %s; %s)\n.br\n%s\n", escape(p.Name), kind(p), shownDefault(p), p.State, escape(Of(s.path, p.Name)))
		}
	}
	b.WriteString(foot)
	return b.String()
}

// kind names a type for people.
func kind(p dovecot.Param) string {
	switch p.Type {
	case "bool":
		return "yes or no"
	case "uint", "port", "octal":
		return "number"
	case "time", "msecs":
		return "time"
	case "enum":
		return "one of " + escape(strings.Join(p.Enum, ", "))
	case "alias", "map", "size":
		return p.Type
	}
	return "text"
}

func shownDefault(p dovecot.Param) string {
	if p.Default == "" {
		return "empty"
	}
	return escape(p.Default)
}

// escape keeps man(7) from reading a text as its own language.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\t", " ", "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "'", `\(aq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
