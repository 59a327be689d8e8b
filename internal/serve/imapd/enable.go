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
		case a.Is("IMAP4rev2"): // RFC 9051 section 6.3.1
			s.modern, s.view.Modern, s.out.UTF8 = true, true, true
			on = append(on, "IMAP4rev2")
			continue
		case a.Is("UTF8=ACCEPT"):
			s.utf8, s.out.UTF8 = true, true
		case a.Is("UIDONLY"):
			s.uidOnly, s.view.UIDOnly = true, true
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
