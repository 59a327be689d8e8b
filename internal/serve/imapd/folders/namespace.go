package folders

import (
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
)

// Namespace: RFC 2342.
func (c *Commands) Namespace([]syntax.Arg) error {
	c.Out.Text("* NAMESPACE")
	for _, k := range []tree.Kind{tree.Private, tree.Shared, tree.Public} {
		list := c.Tree.Namespaces(k)
		if len(list) == 0 {
			c.Out.Text(" NIL")
			continue
		}
		c.Out.Text(" (")
		for _, n := range list {
			c.Out.Text("(")
			c.Out.QuotedName(n.Prefix)
			c.Out.Text(` "`, string(n.Separator), `")`)
		}
		c.Out.Text(")")
	}
	c.Out.Line()
	return c.Done("OK Namespace completed")
}
