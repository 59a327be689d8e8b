package imapd

import (
	"strings"

	"packetboat/internal/serve/imapd/syntax"
)

// enable: RFC 5161. Only what this command has switched on, or what was on
// already, is named.
func (s *session) enable(args []syntax.Arg) error {
	var on []string
	for i := range args {
		a := &args[i]
		if a.Kind != syntax.Atom {
			return syntax.Error("Invalid arguments")
		}
		switch {
		case a.Is("CONDSTORE"):
			s.enableCondstore()
		case a.Is("QRESYNC"):
			s.enableCondstore()
			s.qresync = true
		default:
			continue
		}
		on = append(on, strings.ToUpper(string(a.Text)))
	}
	if len(on) > 0 {
		s.out.Text("* ENABLED ", strings.Join(on, " "))
		s.out.Line()
	}
	return s.done("OK Enabled")
}
