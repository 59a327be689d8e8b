package folders

import (
	"errors"

	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
)

// OneName reads the only argument of a command.
func OneName(args []syntax.Arg) (syntax.Arg, error) {
	if len(args) == 0 {
		return syntax.Arg{}, syntax.Error("Missing arguments")
	}
	if !args[0].IsString() {
		return syntax.Arg{}, syntax.Error("Invalid arguments")
	}
	return args[0], nil
}

// Create: RFC 3501 section 6.3.3. A separator at the end says that only
// children will be made.
func (c *Commands) Create(args []syntax.Arg) error {
	a, err := OneName(args)
	if err != nil {
		return err
	}
	var children bool
	a.Text, children = c.cutSeparator(a.Text)
	name, err := c.MailboxName(a)
	var use string
	if err == nil {
		use, err = c.createUse(args[1:])
	}
	if err == nil {
		err = c.Tree.Create(name, children)
	}
	if err == nil {
		err = c.keepUse(name, use)
	}
	if bad, ok := errors.AsType[syntax.Error](err); ok {
		return bad
	}
	if err != nil {
		return c.Failed(err, name, "")
	}
	return c.Done("OK " + c.newID(name) + "Create completed")
}

// newID returns the response code that tells the id of a mailbox just made: RFC 8474
// section 4.1. One that cannot be opened, a place for folders only, has none.
func (c *Commands) newID(name string) string {
	id := c.idOf(name)
	if id == "" {
		return ""
	}
	return "[MAILBOXID (" + id + ")] "
}

// idOf returns the id of a mailbox, empty where it cannot be opened.
func (c *Commands) idOf(name string) string {
	box, err := c.Tree.Open(name)
	if err != nil {
		return ""
	}
	defer box.Close()
	return ident.Of(box)
}

func (c *Commands) cutSeparator(name []byte) ([]byte, bool) {
	sep := c.Tree.Separator()
	if n := len(name); n > 1 && name[n-1] == sep && name[n-2] != sep {
		return name[:n-1], true
	}
	return name, false
}

// Delete: RFC 3501 section 6.3.4.
func (c *Commands) Delete(args []syntax.Arg) error {
	a, err := OneName(args)
	if err != nil {
		return err
	}
	name, err := c.MailboxName(a)
	var id string
	if err == nil {
		if c.Attributes != nil {
			id = c.idOf(name)
		}
		err = c.Tree.Delete(name)
	}
	if err != nil {
		return c.Failed(err, name, "[NONEXISTENT] ")
	}
	c.forgetMetadata(id)
	if c.isSelected(name) {
		// What the client still sees is gone: as Dovecot, the session ends.
		c.Reply("OK Delete completed")
		c.Leave("Selected mailbox was deleted, have to disconnect.")
		return nil
	}
	return c.Done("OK Delete completed")
}

// Rename: RFC 3501 section 6.3.5.
func (c *Commands) Rename(args []syntax.Arg) error {
	if len(args) < 2 {
		return syntax.Error("Missing arguments")
	}
	if !args[0].IsString() || !args[1].IsString() {
		return syntax.Error("Invalid arguments")
	}
	from, err := c.MailboxName(args[0])
	var to string
	if err == nil {
		args[1].Text, _ = c.cutSeparator(args[1].Text)
		to, err = c.MailboxName(args[1])
	}
	if err == nil {
		err = c.Tree.Rename(from, to)
	}
	if errors.Is(err, store.ErrExists) {
		err = tree.Refusal("[ALREADYEXISTS] Target mailbox already exists")
	}
	if err != nil {
		return c.Failed(err, from, "[NONEXISTENT] ")
	}
	if selected, _ := c.Selected(); selected == from {
		c.Renamed(to)
	}
	return c.Done("OK Rename completed")
}

// Subscribe: RFC 3501 section 6.3.6. Only what exists can be subscribed.
func (c *Commands) Subscribe(args []syntax.Arg) error { return c.subscribe(args, true, "Subscribe") }

// Unsubscribe: RFC 3501 section 6.3.7. Anything can be taken off the list.
func (c *Commands) Unsubscribe(args []syntax.Arg) error {
	return c.subscribe(args, false, "Unsubscribe")
}

func (c *Commands) subscribe(args []syntax.Arg, on bool, word string) error {
	a, err := OneName(args)
	if err != nil {
		return err
	}
	a.Text, _ = c.cutSeparator(a.Text)
	name, err := c.MailboxName(a)
	if err == nil && on {
		err = c.Tree.Exists(name)
	}
	if err == nil {
		err = c.Tree.Subscribe(name, on)
	}
	if err != nil {
		return c.Failed(err, name, "")
	}
	return c.Done("OK " + word + " completed")
}
