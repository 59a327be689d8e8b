package imapd

import (
	"packetboat/internal/serve/imapd/notify"
	"packetboat/internal/serve/imapd/reply"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
)

// notifyCommand: NOTIFY, RFC 5465.
func (s *session) notifyCommand(args []syntax.Arg) error {
	n, err := syntax.ParseNotify(args)
	if bad, ok := err.(syntax.BadEvent); ok {
		s.reply("NO " + bad.Error())
		return nil
	}
	if err != nil {
		return err
	}
	s.stopNotify()
	if n == nil {
		return s.done("OK NOTIFY completed")
	}
	for _, g := range n.Groups {
		if g.Flags { // RFC 5465 section 3.1: as Dovecot, modseqs are told from now on
			s.enableCondstore()
		}
	}
	if s.notify, err = notify.New(n, &s.folders, s.tree.Open); err != nil {
		return s.failed(err, "", "")
	}
	if s.notify.Full {
		s.stopNotify()
		s.out.Text("* OK [NOTIFICATIONOVERFLOW] Too many mailboxes to watch")
		s.out.Line()
		return s.done("OK NOTIFY completed")
	}
	s.watchSelected()
	if n.Status {
		for _, st := range s.notify.All(s.selectedName()) {
			s.folders.WriteNews(st, s.condstore)
		}
	}
	return s.done("OK NOTIFY completed")
}

// stopNotify ends what NOTIFY has asked for.
func (s *session) stopNotify() {
	if s.notify != nil {
		s.notify.Close()
		s.notify = nil
	}
	s.watchSelected()
}

// watchSelected watches the selected mailbox between commands where NOTIFY wants that.
func (s *session) watchSelected() {
	if s.unwatch != nil {
		s.unwatch()
		s.changed, s.unwatch = nil, nil
	}
	if s.box != nil && s.notify != nil && s.notify.Selected != nil && s.notify.Selected.Messages {
		s.changed, s.unwatch = s.box.Watch()
	}
}

// woken returns the channel that tells of other mailboxes, nil without NOTIFY.
func (s *session) woken() <-chan struct{} {
	if s.notify == nil {
		return nil
	}
	return s.notify.Wake
}

// waitNews reads what the client sends next, and tells news until it comes: only
// between commands, and only the reading is done by another goroutine.
func (s *session) waitNews(read func() (int, error)) (n int, err error) {
	done := make(chan struct{})
	go func() {
		n, err = read()
		close(done)
	}()
	for {
		select {
		case <-done:
			return n, err
		case <-s.changed:
			s.cmd.name, s.cmd.uid = "IDLE", false
			s.sync(s.notify.Selected.Kind == syntax.Selected)
		case <-s.woken():
			s.tellNews()
		}
		if ferr := s.out.Flush(); ferr != nil || s.bye != "" {
			s.in.Conn.SetReadDeadline(past)
			<-done
			if ferr == nil && err == nil {
				return n, nil
			}
			return n, err
		}
	}
}

// selectedName returns the name of the selected mailbox, empty without one.
func (s *session) selectedName() string {
	if s.box == nil {
		return ""
	}
	return s.view.Name
}

// tellNews tells what has changed in other mailboxes.
func (s *session) tellNews() {
	for _, c := range s.notify.Renamed() {
		s.folders.WriteName(c.Entry, c.Gone)
	}
	for _, st := range s.notify.News(s.selectedName()) {
		s.folders.WriteNews(st, s.condstore)
	}
}

// fetchNew answers with what NOTIFY wants to know of new messages, those from index
// from on.
func (s *session) fetchNew(from int) {
	if s.notify == nil || s.notify.Selected == nil || len(s.notify.Selected.Fetch) == 0 || from >= len(s.view.Msgs) {
		return
	}
	list := view.All(s.view.Msgs)[from:]
	f := &reply.Fetcher{Out: &s.out, View: &s.view, Box: s.box, Loader: &s.last, Index: s.index(), Count: &s.count}
	uid := s.cmd.uid
	s.cmd.uid = true // the client must know which ones
	items := s.arrange(append([]syntax.Item(nil), s.notify.Selected.Fetch...))
	s.cmd.uid = uid
	if f.Prepare(items) && s.know(list) != nil {
		return
	}
	if err := f.Run(list); err != nil {
		s.opts.Log.IMAPError(s.logName(), "NOTIFY "+s.view.Name, err)
	}
}
