// Package folders are the commands of IMAP that deal with names and not with the
// messages of the selected mailbox: CREATE, DELETE, RENAME, SUBSCRIBE, LIST,
// STATUS, NAMESPACE (RFC 3501 section 6.3) and what extends them. Package imapd,
// its only caller, runs them within a session.
package folders

import (
	"unicode/utf8"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store/dict"
	"packetboat/internal/store/names"
)

// Session is the session that a command runs in.
type Session interface {
	// Done tells what has changed in the selected mailbox, then the tagged answer.
	Done(text string) error
	// Failed answers NO with the text of an error; code stands before it where the
	// mailbox does not exist.
	Failed(err error, name, code string) error
	// Reply writes the tagged answer alone.
	Reply(text string)
	// Selected returns the name of the selected mailbox, empty without one, and how
	// many of its messages are \Recent here.
	Selected() (name string, recents int)
	// Renamed says that the selected mailbox is called otherwise now.
	Renamed(name string)
	// Leave ends the session with a BYE.
	Leave(text string)
	// EnableModSeqs is what the first use of a modseq switches on (RFC 7162).
	EnableModSeqs()
	// Bends tells whether a word stands in imap_client_workarounds.
	Bends(word string) bool
}

// Commands are the commands of one session.
type Commands struct {
	Session
	Tree       *tree.Tree
	Attributes *dict.File   // mail_attribute_dict; nil = no METADATA
	Quota      Quota        // nil = the commands of it do not exist
	Limit      int64        // octets of one APPEND (RFC 7889); 0 = none
	Out        *wire.Output // Out.UTF8 says how names are written, and read
}

// MailboxName returns the name in UTF-8 that an argument means. With
// tb-extra-mailbox-sep one separator at its end is not there.
func (c *Commands) MailboxName(a syntax.Arg) (string, error) {
	name, err := c.decode(string(a.Text))
	if err != nil {
		return "", err
	}
	if n := len(name); n > 0 && name[n-1] == c.Tree.Separator() && c.Bends("tb-extra-mailbox-sep") {
		name = name[:n-1]
	}
	return name, nil
}

// decode reads a name: modified UTF-7 (RFC 3501 section 5.1.3), or UTF-8 where the
// client has asked for it (RFC 6855 section 3, RFC 9051 section 5.1).
func (c *Commands) decode(text string) (string, error) {
	if c.Out.UTF8 {
		if !utf8.ValidString(text) {
			return "", tree.Refusal("[CANNOT] Invalid mailbox name: Not valid UTF-8")
		}
		return text, nil
	}
	name, ok := names.Decode(text)
	if !ok {
		return "", tree.Refusal("Mailbox name is not valid mUTF-7")
	}
	return name, nil
}

// isSelected tells whether a name is that of the selected mailbox.
func (c *Commands) isSelected(name string) bool {
	selected, _ := c.Selected()
	return selected != "" && c.Tree.Same(selected, name)
}
