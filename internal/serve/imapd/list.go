package imapd

import (
	"strings"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
)

// namespace: RFC 2342. All mail of a user is in one namespace without prefix.
func (s *session) namespace([]syntax.Arg) error {
	s.out.Text(`* NAMESPACE (("" "/")) NIL NIL`)
	s.out.Line()
	return s.done("OK Namespace completed")
}

// list: LIST, LSUB and the old XLIST; RFC 3501 sections 6.3.8 and 6.3.9.
func (s *session) list(args []syntax.Arg) error {
	lsub := s.cmd.name == "LSUB"
	switch {
	case len(args) > 0 && args[0].Kind == syntax.List:
		return syntax.Error("Unknown select options")
	case len(args) == 0 || !args[0].IsString():
		return syntax.Error("Invalid reference")
	case len(args) == 1 || !args[1].IsString():
		return syntax.Error("Invalid pattern")
	case len(args) > 2:
		return syntax.Error("Unknown LIST options")
	}
	ref, pattern := string(args[0].Text), string(args[1].Text)
	if pattern == "" && !lsub {
		// RFC 3501 section 6.3.8: a question for the separator.
		s.out.Text(`* LIST (\Noselect) "/" ""`)
		s.out.Line()
		return s.done("OK List completed")
	}
	folders, err := s.user.Store.List()
	if err != nil {
		return s.failed(err, pattern, "")
	}
	match := syntax.NewMatcher(ref + pattern)
	if lsub {
		s.lsub(folders, match)
		return s.done("OK Lsub completed")
	}
	for _, f := range folders {
		// A subscription without a folder is in the store's list, not in LIST.
		ghost := f.NoSelect && f.Subscribed && !f.HasChildren
		if !ghost && match(f.Name) {
			s.listLine("LIST", listFlags(f), f.Name)
		}
	}
	return s.done("OK List completed")
}

// listFlags are the attributes of RFC 3501 section 7.2.2 and RFC 3348.
func listFlags(f store.Folder) string {
	flags := `\HasNoChildren`
	if f.HasChildren {
		flags = `\HasChildren`
	}
	if f.NoSelect {
		flags = `\Noselect ` + flags
	}
	return flags
}

func (s *session) listLine(word, flags, name string) {
	s.out.Text("* ", word, " (", flags, `) "/" `)
	s.out.Name(name)
	s.out.Line()
}

// lsub writes the subscriptions that match, and as \Noselect the parents that
// match where the subscription below does not: RFC 3501 section 6.3.9, "%".
func (s *session) lsub(folders []store.Folder, match func(string) bool) {
	told := map[string]bool{}
	for _, f := range folders {
		if f.Subscribed {
			told[f.Name] = true
		}
	}
	for _, f := range folders {
		if !f.Subscribed {
			continue
		}
		if match(f.Name) {
			s.listLine("LSUB", "", f.Name)
			continue
		}
		for name := f.Name; ; {
			i := strings.LastIndexByte(name, '/')
			if i < 0 {
				break
			}
			if name = name[:i]; !told[name] && match(name) {
				told[name] = true
				s.listLine("LSUB", `\Noselect`, name)
			}
		}
	}
}
