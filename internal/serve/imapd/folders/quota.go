package folders

import (
	"slices"
	"strconv"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store/quota"
)

// Quota tells what of a user's limits is used up. The limits themselves are held by
// the stores (package quota).
type Quota interface {
	// Roots returns the quotas that a mailbox counts for; "" means all there are.
	Roots(mailbox string) ([]quota.Status, error)
}

// oneString wants a name as the first argument.
func oneString(args []syntax.Arg) error {
	if len(args) == 0 {
		return syntax.Error("Missing arguments")
	}
	if !args[0].IsString() {
		return syntax.Error("Invalid arguments")
	}
	return nil
}

// GetQuotaRoot: RFC 2087 section 4.3. A mailbox need not exist.
func (c *Commands) GetQuotaRoot(args []syntax.Arg) error {
	if err := oneString(args); err != nil {
		return err
	}
	name, err := c.MailboxName(args[0])
	var list []quota.Status
	if err == nil {
		list, err = c.Quota.Roots(name)
	}
	if err != nil {
		return c.Failed(err, name, "")
	}
	if !slices.ContainsFunc(list, func(q quota.Status) bool { return q.Visible() }) {
		return c.Done("OK No quota")
	}
	c.Out.Text("* QUOTAROOT ")
	c.Out.Name(name)
	for _, q := range list {
		c.Out.Text(" ")
		c.Out.Buf = syntax.AppendAString(c.Out.Buf, q.Name)
	}
	c.Out.Line()
	for _, q := range list {
		if q.Visible() {
			c.writeQuota(q)
		}
	}
	return c.Done("OK Getquotaroot completed")
}

// GetQuota: RFC 2087 section 4.2.
func (c *Commands) GetQuota(args []syntax.Arg) error {
	if err := oneString(args); err != nil {
		return err
	}
	root := string(args[0].Text)
	list, err := c.Quota.Roots("")
	if err != nil {
		return c.Failed(err, root, "")
	}
	for _, q := range list {
		if q.Name == root {
			if q.Visible() {
				c.writeQuota(q)
			}
			return c.Done("OK Getquota completed")
		}
	}
	return c.Done("NO Quota root doesn't exist")
}

// SetQuota: RFC 2087 section 4.1. Limits stand in the configuration.
func (c *Commands) SetQuota(args []syntax.Arg) error {
	if len(args) < 2 || !args[0].IsString() || args[1].Kind != syntax.List {
		return syntax.Error("Invalid arguments")
	}
	return c.Done("NO Quota can be changed only by admin")
}

// writeQuota writes one QUOTA response: storage in units of 1024 octets (RFC 9208
// section 5.1), rounded up as Dovecot does.
func (c *Commands) writeQuota(q quota.Status) {
	c.Out.Text("* QUOTA ")
	c.Out.Buf = syntax.AppendAString(c.Out.Buf, q.Name)
	c.Out.Text(" (")
	space := ""
	item := func(name string, used, limit int64) {
		if limit > 0 {
			c.Out.Text(space, name, " ", strconv.FormatInt(used, 10), " ", strconv.FormatInt(limit, 10))
			space = " "
		}
	}
	item("STORAGE", (q.Used.Bytes+1023)/1024, (q.Limits.Bytes+1023)/1024)
	item("MESSAGE", q.Used.Count, q.Limits.Count)
	c.Out.Text(")")
	c.Out.Line()
}
