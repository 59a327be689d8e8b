package imapd

// host is a session as the commands of package folders see it.
type host struct{ s *session }

// Done implements folders.Session.
func (h host) Done(text string) error { return h.s.done(text) }

// Failed implements folders.Session.
func (h host) Failed(err error, name, code string) error { return h.s.failed(err, name, code) }

// Reply implements folders.Session.
func (h host) Reply(text string) { h.s.reply(text) }

// Selected implements folders.Session.
func (h host) Selected() (name string, recents int) {
	if h.s.box == nil {
		return "", 0
	}
	return h.s.view.Name, h.s.view.Recents
}

// Renamed implements folders.Session.
func (h host) Renamed(name string) { h.s.view.Name = name }

// Leave implements folders.Session.
func (h host) Leave(text string) { h.s.bye, h.s.reason = text, text }

// EnableModSeqs implements folders.Session.
func (h host) EnableModSeqs() { h.s.enableCondstore() }

// Bends implements folders.Session.
func (h host) Bends(word string) bool { return h.s.bends(word) }
