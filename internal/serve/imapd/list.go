package imapd

import (
	"strings"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
)

// list: LIST, LSUB and the old XLIST; RFC 3501 sections 6.3.8 and 6.3.9, and for
// LIST the options of RFC 5258, RFC 5819 (STATUS) and RFC 6154 (SPECIAL-USE).
func (s *session) list(args []syntax.Arg) error {
	l, err := syntax.ParseList(args, s.cmd.name == "LIST")
	if err != nil {
		return err
	}
	var want statusSet
	if l.RetStatus != nil {
		if want, err = statusWanted(l.RetStatus); err != nil {
			return err
		}
	}
	if len(l.Patterns) == 1 && l.Patterns[0] == "" && s.cmd.name != "LSUB" {
		// RFC 3501 section 6.3.8: a question for the separator.
		s.listLine("LIST", `\Noselect`, s.tree.Root(l.Ref))
		return s.done("OK List completed")
	}
	entries, err := s.tree.List(l.Whole())
	if err != nil {
		return s.failed(err, l.Ref, "")
	}
	match := l.Matchers(s.tree.Separator())
	if s.cmd.name == "LSUB" {
		s.lsub(entries, match)
		return s.done("OK Lsub completed")
	}
	for _, f := range tree.Select(entries, &l, match, s.tree.Separator()) {
		s.listLine("LIST", f.Flags, f.Name, f.Extra)
		if l.RetStatus != nil && !f.NoSelect && !f.Missing {
			s.listStatus(f.Name, want)
		}
	}
	return s.done("OK List completed")
}

// listStatus writes the STATUS of a folder that LIST has found: RFC 5819. One
// that cannot be opened has none.
func (s *session) listStatus(name string, want statusSet) {
	if snap, err := s.peek(name, want); err == nil {
		s.writeStatus(name, name, snap, want)
	}
}

func (s *session) listLine(word, flags, name string, extra ...string) {
	s.out.Text("* ", word, " (", flags, `) "`, string(s.tree.Separator()), `" `)
	s.out.Name(name)
	s.out.Text(extra...)
	s.out.Line()
}

// lsub writes the subscriptions that match, and as \Noselect the parents that
// match where the subscription below does not: RFC 3501 section 6.3.9, "%".
func (s *session) lsub(entries []tree.Entry, match func(string) bool) {
	told := map[string]bool{}
	for i := range entries {
		if entries[i].Subscribed {
			told[entries[i].Name] = true
		}
	}
	for i := range entries {
		f := &entries[i]
		if !f.Subscribed {
			continue
		}
		if match(f.Name) {
			s.listLine("LSUB", s.lsubFlags(f), f.Name)
			continue
		}
		for name := f.Name; ; {
			i := strings.LastIndexByte(name, s.tree.Separator())
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
