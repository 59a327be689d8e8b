package imapd

import "packetboat/internal/serve/imapd/syntax"

// replace: REPLACE and UID REPLACE, RFC 8508. The new message is on disk before the
// old one goes; where it cannot be saved the old one stays.
func (s *session) replace(args []syntax.Arg) error {
	if len(args) < 2 {
		return s.dropLiteral(args, syntax.Error("Missing arguments"))
	}
	list, err := s.pick(args[0])
	if err != nil {
		return s.dropLiteral(args, err)
	}
	last := args[len(args)-1]
	var refused error
	switch {
	case s.view.ReadOnly:
		refused = refusal("[NOPERM] Mailbox is read-only")
	case len(list) == 0:
		refused = refusal("[EXPUNGEISSUED] Some of the requested messages no longer exist")
	case len(list) > 1:
		return s.dropLiteral(args, syntax.Error("Only one message can be replaced"))
	}
	if refused != nil && last.Kind == syntax.Size {
		return s.refuseLiteral(last, refused, s.view.Name)
	}
	if refused != nil {
		return s.dropLiteral(args, syntax.Error("Missing message size"))
	}
	return s.appendTo(args[1:], s.view.Msgs[list[0]].UID)
}

// replace ends a REPLACE whose new message is saved. RFC 8508 section 3.3: its UID
// is told before the old message goes.
func (ap *appender) replace(code string) error {
	ap.out.Text("* OK ", code, " Replacement Message ready")
	ap.out.Line()
	snap, err := ap.session.box.Expunge([]uint32{ap.replaced})
	if err != nil {
		return ap.failed(err, ap.view.Name, "")
	}
	ap.count.Expunged++
	if err := ap.tell(snap, true, nil); err != nil {
		return err
	}
	return ap.done("OK Replace completed")
}
