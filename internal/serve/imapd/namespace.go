package imapd

import (
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
)

// namespace: RFC 2342.
func (s *session) namespace([]syntax.Arg) error {
	s.out.Text("* NAMESPACE")
	for _, k := range []tree.Kind{tree.Private, tree.Shared, tree.Public} {
		list := s.tree.Namespaces(k)
		if len(list) == 0 {
			s.out.Text(" NIL")
			continue
		}
		s.out.Text(" (")
		for _, n := range list {
			s.out.Text("(")
			s.out.Buf = syntax.AppendNString(s.out.Buf, []byte(s.encode(n.Prefix)))
			s.out.Text(` "`, string(n.Separator), `")`)
		}
		s.out.Text(")")
	}
	s.out.Line()
	return s.done("OK Namespace completed")
}
