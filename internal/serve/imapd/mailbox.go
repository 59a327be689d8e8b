package imapd

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
	"packetboat/internal/store/names"
)

// refusal is a command that was understood and cannot be done: its text
// follows "NO ".
type refusal string

// Error returns the text.
func (r refusal) Error() string { return string(r) }

// mailboxName returns the name in UTF-8 that an argument means.
func mailboxName(a syntax.Arg) (string, error) {
	name, ok := names.Decode(string(a.Text))
	if !ok {
		return "", refusal("Mailbox name is not valid mUTF-7")
	}
	if why := badName(name); why != "" {
		return "", refusal("[CANNOT] Invalid mailbox name: " + why)
	}
	return name, nil
}

// badName says what is wrong with a name, in Dovecot's words.
func badName(name string) string {
	switch {
	case name == "":
		return "Name is empty"
	case !utf8.ValidString(name):
		return "Not valid UTF-8"
	case strings.HasPrefix(name, "/"):
		return "Begins with hierarchy separator"
	case strings.HasSuffix(name, "/"):
		return "Ends with hierarchy separator"
	case strings.Contains(name, "//"):
		return "Has adjacent hierarchy separators"
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == ".." {
			return "Contains '" + part + "' part"
		}
	}
	return ""
}

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
	a.Text, _ = cutSeparator(a.Text)
	name, err := mailboxName(a)
	if err == nil {
		err = s.user.Store.Create(name)
	}
	if err != nil {
		return s.failed(err, name, "")
	}
	return s.done("OK Create completed")
}

func cutSeparator(name []byte) ([]byte, bool) {
	if n := len(name); n > 1 && name[n-1] == '/' && name[n-2] != '/' {
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
	name, err := mailboxName(a)
	if err == nil && strings.EqualFold(name, "INBOX") {
		err = refusal("INBOX can't be deleted")
	}
	if err == nil {
		err = s.user.Store.Delete(name)
	}
	if err != nil {
		return s.failed(err, name, "[NONEXISTENT] ")
	}
	if s.box != nil && s.view.Name == name {
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
	from, err := mailboxName(args[0])
	var to string
	if err == nil {
		args[1].Text, _ = cutSeparator(args[1].Text)
		to, err = mailboxName(args[1])
	}
	switch {
	case err != nil:
	case from == to:
		err = refusal("[ALREADYEXISTS] Can't rename mailbox to itself")
	case strings.HasPrefix(to, from+"/") && !strings.EqualFold(from, "INBOX"):
		err = refusal("Can't rename mailbox under its own child")
	default:
		err = s.user.Store.Rename(from, to)
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
	a.Text, _ = cutSeparator(a.Text)
	name, err := mailboxName(a)
	if err == nil && on {
		err = s.exists(name)
	}
	if err == nil {
		err = s.user.Store.Subscribe(name, on)
	}
	if err != nil {
		return s.failed(err, name, "")
	}
	return s.done("OK " + word + " completed")
}

// exists tells whether a name stands in the list of folders.
func (s *session) exists(name string) error {
	folders, err := s.user.Store.List()
	if err != nil {
		return err
	}
	for _, f := range folders {
		if f.Name == name || strings.EqualFold(name, "INBOX") {
			return nil
		}
	}
	return store.ErrNoMailbox
}
