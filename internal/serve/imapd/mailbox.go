package imapd

import (
	"errors"
	"time"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/names"
)

// refusal is a command that was understood and cannot be done: its text
// follows "NO ".
type refusal = tree.Refusal

// mailboxName returns the name in UTF-8 that an argument means. With
// tb-extra-mailbox-sep one separator at its end is not there.
func (s *session) mailboxName(a syntax.Arg) (string, error) {
	name, ok := names.Decode(string(a.Text))
	if !ok {
		return "", refusal("Mailbox name is not valid mUTF-7")
	}
	if n := len(name); n > 0 && name[n-1] == s.tree.Separator() && s.bends("tb-extra-mailbox-sep") {
		name = name[:n-1]
	}
	return name, nil
}

// encode is mailboxName backwards.
func (s *session) encode(name string) string { return names.Encode(name) }

// failed answers a command that the store refused. code stands before the text
// where the mailbox does not exist: it is the commands that differ in it.
func (s *session) failed(err error, name, code string) error {
	var text string
	switch {
	case errors.As(err, new(refusal)):
		text = err.Error()
	case errors.Is(err, store.ErrNoMailbox):
		text = code + "Mailbox doesn't exist: " + names.Encode(name)
	case errors.Is(err, store.ErrExists):
		text = "[ALREADYEXISTS] Mailbox already exists"
	case errors.Is(err, store.ErrBadName):
		text = "[CANNOT] Invalid mailbox name"
	case errors.Is(err, store.ErrNoMessage):
		text = "[EXPUNGEISSUED] Some of the requested messages no longer exist"
	case errors.Is(err, store.ErrOverQuota):
		text = "[OVERQUOTA] Quota exceeded (mailbox for user is full)"
	case errors.Is(err, store.ErrHasChildren):
		text = "Mailbox has children, delete them first"
	case errors.Is(err, store.ErrReadOnly):
		text = "[NOPERM] Mailbox is read-only"
	default:
		s.opts.Log.IMAPError(s.logName(), s.cmd.name+" "+name, err)
		text = "[SERVERBUG] Internal error occurred. Refer to server log for more information. [" +
			time.Now().Format("2006-01-02 15:04:05") + "]"
	}
	s.reply("NO " + text)
	return nil
}

// oneName reads the only argument of a command.
func oneName(args []syntax.Arg) (syntax.Arg, error) {
	if len(args) == 0 {
		return syntax.Arg{}, syntax.Error("Missing arguments")
	}
	if !args[0].IsString() {
		return syntax.Arg{}, syntax.Error("Invalid arguments")
	}
	return args[0], nil
}

// create: RFC 3501 section 6.3.3. A separator at the end says that only
// children will be made.
func (s *session) create(args []syntax.Arg) error {
	a, err := oneName(args)
	if err != nil {
		return err
	}
	var children bool
	a.Text, children = s.cutSeparator(a.Text)
	name, err := s.mailboxName(a)
	if err == nil {
		err = s.tree.Create(name, children)
	}
	if err != nil {
		return s.failed(err, name, "")
	}
	return s.done("OK Create completed")
}

func (s *session) cutSeparator(name []byte) ([]byte, bool) {
	sep := s.tree.Separator()
	if n := len(name); n > 1 && name[n-1] == sep && name[n-2] != sep {
		return name[:n-1], true
	}
	return name, false
}

// deleteBox: RFC 3501 section 6.3.4.
func (s *session) deleteBox(args []syntax.Arg) error {
	a, err := oneName(args)
	if err != nil {
		return err
	}
	name, err := s.mailboxName(a)
	if err == nil {
		err = s.tree.Delete(name)
	}
	if err != nil {
		return s.failed(err, name, "[NONEXISTENT] ")
	}
	if s.box != nil && s.tree.Same(s.view.Name, name) {
		// What the client still sees is gone: as Dovecot, the session ends.
		s.reply("OK Delete completed")
		s.bye = "Selected mailbox was deleted, have to disconnect."
		s.reason = s.bye
		return nil
	}
	return s.done("OK Delete completed")
}

// rename: RFC 3501 section 6.3.5.
func (s *session) rename(args []syntax.Arg) error {
	if len(args) < 2 {
		return syntax.Error("Missing arguments")
	}
	if !args[0].IsString() || !args[1].IsString() {
		return syntax.Error("Invalid arguments")
	}
	from, err := s.mailboxName(args[0])
	var to string
	if err == nil {
		args[1].Text, _ = s.cutSeparator(args[1].Text)
		to, err = s.mailboxName(args[1])
	}
	if err == nil {
		err = s.tree.Rename(from, to)
	}
	if errors.Is(err, store.ErrExists) {
		err = refusal("[ALREADYEXISTS] Target mailbox already exists")
	}
	if err != nil {
		return s.failed(err, from, "[NONEXISTENT] ")
	}
	if s.box != nil && s.view.Name == from {
		s.view.Name = to
	}
	return s.done("OK Rename completed")
}

// subscribe: RFC 3501 sections 6.3.6 and 6.3.7. Only what exists can be
// subscribed; anything can be taken off the list.
func (s *session) subscribe(args []syntax.Arg) error {
	on, word := true, "Subscribe"
	if s.cmd.name == "UNSUBSCRIBE" {
		on, word = false, "Unsubscribe"
	}
	a, err := oneName(args)
	if err != nil {
		return err
	}
	a.Text, _ = s.cutSeparator(a.Text)
	name, err := s.mailboxName(a)
	if err == nil && on {
		err = s.tree.Exists(name)
	}
	if err == nil {
		err = s.tree.Subscribe(name, on)
	}
	if err != nil {
		return s.failed(err, name, "")
	}
	return s.done("OK " + word + " completed")
}
