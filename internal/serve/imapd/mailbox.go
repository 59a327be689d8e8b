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
	return s.folders.MailboxName(a)
}

// failed answers a command that the store refused. code stands before the text
// where the mailbox does not exist: it is the commands that differ in it.
func (s *session) failed(err error, name, code string) error {
	var text string
	switch {
	case errors.As(err, new(refusal)):
		text = err.Error()
	case errors.Is(err, store.ErrNoMailbox):
		if code == "" && s.modern {
			code = "[NONEXISTENT] " // RFC 9051 section 7.1
		}
		text = code + "Mailbox doesn't exist: " + names.Encode(name)
	case errors.Is(err, store.ErrExists):
		text = "[ALREADYEXISTS] Mailbox already exists"
	case errors.Is(err, store.ErrBadName):
		text = "[CANNOT] Invalid mailbox name"
	case errors.Is(err, store.ErrNoMessage):
		text = "[EXPUNGEISSUED] Some of the requested messages no longer exist"
	case errors.Is(err, store.ErrOverQuota):
		text = overQuota(err)
	case errors.Is(err, store.ErrHasChildren):
		text = "Mailbox has children, delete them first"
		if s.modern {
			text = "[HASCHILDREN] " + text
		}
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
