package imapd

import (
	"packetboat/internal/serve/imapd/folders"
	"packetboat/internal/serve/imapd/syntax"
)

// spec is one command.
type spec struct {
	run      func(s *session, args []syntax.Arg) error
	selected bool // only with a mailbox selected
	stream   bool // its first literal is read by run
	bare     bool // it takes no arguments: what stands there is passed over
	numbers  bool // without UID before it, it names messages by their numbers
}

// lookup finds a command by its name. Each is in the file of its capability.
func lookup(name string) (spec, bool) {
	sp := anyCommand(name)
	if sp.run == nil {
		sp = selectedCommand(name)
		sp.selected = true
		switch name {
		case "CHECK", "CLOSE", "UNSELECT", "EXPUNGE":
		default:
			sp.numbers = true
		}
	}
	return sp, sp.run != nil
}

// onNames makes a command out of one that deals with names.
func onNames(f func(*folders.Commands, []syntax.Arg) error) func(*session, []syntax.Arg) error {
	return func(s *session, args []syntax.Arg) error { return f(&s.folders, args) }
}

// anyCommand knows what works in every state.
func anyCommand(name string) spec {
	switch name {
	case "CAPABILITY":
		return spec{run: (*session).capability, bare: true}
	case "NOOP":
		return spec{run: (*session).noop, bare: true}
	case "LOGOUT":
		return spec{run: (*session).logout, bare: true}
	case "ID":
		return spec{run: (*session).id}
	case "ENABLE":
		return spec{run: (*session).enable}
	case "NAMESPACE":
		return spec{run: onNames((*folders.Commands).Namespace), bare: true}
	case "SELECT", "EXAMINE":
		return spec{run: (*session).selectBox}
	case "CREATE":
		return spec{run: onNames((*folders.Commands).Create)}
	case "DELETE":
		return spec{run: onNames((*folders.Commands).Delete)}
	case "RENAME":
		return spec{run: onNames((*folders.Commands).Rename)}
	case "SUBSCRIBE":
		return spec{run: onNames((*folders.Commands).Subscribe)}
	case "UNSUBSCRIBE":
		return spec{run: onNames((*folders.Commands).Unsubscribe)}
	case "LIST":
		return spec{run: onNames((*folders.Commands).List)}
	case "XLIST":
		return spec{run: onNames((*folders.Commands).XList)}
	case "LSUB":
		return spec{run: onNames((*folders.Commands).Lsub)}
	case "GETMETADATA":
		return spec{run: onNames((*folders.Commands).GetMetadata)}
	case "SETMETADATA":
		return spec{run: onNames((*folders.Commands).SetMetadata)}
	case "STATUS":
		return spec{run: onNames((*folders.Commands).Status)}
	case "APPEND":
		return spec{run: (*session).append, stream: true}
	case "CANCELUPDATE":
		return spec{run: (*session).cancelUpdate}
	case "ESEARCH":
		return spec{run: (*session).multiSearch}
	case "NOTIFY":
		return spec{run: (*session).notifyCommand}
	case "COMPRESS":
		return spec{run: (*session).compress}
	case "GETQUOTA":
		return spec{run: onQuota((*folders.Commands).GetQuota)}
	case "GETQUOTAROOT":
		return spec{run: onQuota((*folders.Commands).GetQuotaRoot)}
	case "SETQUOTA":
		return spec{run: onQuota((*folders.Commands).SetQuota)}
	case "IDLE":
		return spec{run: (*session).idle, bare: true}
	}
	return spec{}
}

// selectedCommand knows what works on a selected mailbox only.
func selectedCommand(name string) spec {
	switch name {
	case "CHECK":
		return spec{run: (*session).check, bare: true}
	case "CLOSE":
		return spec{run: (*session).closeCommand, bare: true}
	case "UNSELECT":
		return spec{run: (*session).unselect, bare: true}
	case "EXPUNGE":
		return spec{run: (*session).expunge, bare: true}
	case "UID EXPUNGE":
		return spec{run: (*session).uidExpunge}
	case "SEARCH", "UID SEARCH":
		return spec{run: (*session).search}
	case "SORT", "UID SORT":
		return spec{run: (*session).sort}
	case "THREAD", "UID THREAD":
		return spec{run: (*session).thread}
	case "FETCH", "UID FETCH":
		return spec{run: (*session).fetch}
	case "REPLACE", "UID REPLACE":
		return spec{run: (*session).replace, stream: true}
	case "STORE", "UID STORE":
		return spec{run: (*session).store}
	case "COPY", "UID COPY":
		return spec{run: (*session).copy}
	case "MOVE", "UID MOVE":
		return spec{run: (*session).move}
	}
	return spec{}
}

// noop: RFC 3501 section 6.1.2.
func (s *session) noop([]syntax.Arg) error { return s.done("OK NOOP completed") }

// check: RFC 3501 section 6.4.1.
func (s *session) check([]syntax.Arg) error {
	if err := s.box.Flush(); err != nil {
		return s.failed(err, "", "")
	}
	return s.done("OK Check completed")
}

// logout: RFC 3501 section 6.1.3.
func (s *session) logout([]syntax.Arg) error {
	s.bye, s.reason = "Logging out", "Logged out"
	s.out.Text("* BYE Logging out")
	s.out.Line()
	s.reply("OK Logout completed")
	return nil
}
