package imapd

import (
	"strings"

	"packetboat/internal/serve/imapd/syntax"
)

// id: RFC 2971. What the server says is imap_id_send's: pairs of a name and a
// value, "*" for the usual one.
func (s *session) id([]syntax.Arg) error {
	words := strings.Fields(s.opts.IDSend)
	s.out.Text("* ID ")
	if len(words) < 2 {
		s.out.Text("NIL")
	}
	for i := 0; i+1 < len(words); i += 2 {
		sep := " "
		if i == 0 {
			sep = "("
		}
		s.out.Text(sep)
		s.out.Buf = syntax.AppendNString(s.out.Buf, []byte(words[i]))
		s.out.Text(" ")
		s.out.Buf = syntax.AppendNString(s.out.Buf, []byte(idValue(words[i], words[i+1])))
	}
	if len(words) >= 2 {
		s.out.Text(")")
	}
	s.out.Line()
	return s.done("OK ID completed")
}

func idValue(name, value string) string {
	if value == "*" && name == "name" {
		return "Packetboat"
	}
	return value
}
