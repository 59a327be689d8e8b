package folders

import (
	"strings"

	"packetboat/internal/serve/imapd/notify"
	"packetboat/internal/serve/imapd/tree"
)

// WriteName tells of a name that has come, gone, or been subscribed to: RFC 5465
// section 5.4.
func (c *Commands) WriteName(e tree.Entry, gone bool) {
	var flags []string
	switch {
	case gone:
		flags = append(flags, `\NonExistent`)
	case e.NoSelect:
		flags = append(flags, `\Noselect`)
	}
	if e.Subscribed && !gone {
		flags = append(flags, `\Subscribed`)
	}
	c.listLine("LIST", strings.Join(flags, " "), e.Name)
}

// WriteNews tells of the messages of a mailbox that is not selected: RFC 5465 section
// 5.2; with its modseq where the client knows of them.
func (c *Commands) WriteNews(st notify.Status, modseq bool) {
	c.Out.Text("* STATUS ")
	c.Out.Name(st.Name)
	for i, n := range []uint32{st.Messages, st.UIDNext, st.UIDValidity, st.Unseen} {
		c.Out.Text([]string{" (MESSAGES ", " UIDNEXT ", " UIDVALIDITY ", " UNSEEN "}[i])
		c.Out.Num(int64(n))
	}
	if modseq {
		c.Out.Text(" HIGHESTMODSEQ ")
		c.Out.Num(int64(st.ModSeq))
	}
	c.Out.Text(")")
	c.Out.Line()
}
