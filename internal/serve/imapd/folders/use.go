package folders

import (
	"slices"
	"strings"

	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
)

// uses are the special uses that a client may give to a mailbox: RFC 6154 section 2,
// RFC 8457.
var uses = [...]string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

// createUse reads "(USE (\Archive))" behind CREATE: RFC 6154 section 3. Without
// attributes there is no place to keep it, and it is read over as in Dovecot 2.3.
func (c *Commands) createUse(args []syntax.Arg) (string, error) {
	if c.Attributes == nil || len(args) == 0 || args[0].Kind != syntax.List {
		return "", nil
	}
	list := args[0].List
	if len(list) != 2 || !list[0].Is("USE") || list[1].Kind != syntax.List {
		return "", syntax.Error("Invalid CREATE parameters")
	}
	var words []string
	for _, a := range list[1].List {
		words = append(words, string(a.Text))
	}
	return useWords(words)
}

// useWords checks special uses and writes them as they stand in the RFCs.
func useWords(words []string) (string, error) {
	for k, w := range words {
		i := slices.IndexFunc(uses[:], func(u string) bool { return strings.EqualFold(u, w) })
		if i < 0 {
			return "", tree.Refusal("[USEATTR] " + w + " is not supported")
		}
		words[k] = uses[i]
	}
	return strings.Join(words, " "), nil
}

// keepUse keeps the special uses of a mailbox.
func (c *Commands) keepUse(name, words string) error {
	if words == "" {
		return nil
	}
	return c.setMetadata(name, map[string]*string{specialUse: &words})
}

// addUses adds the special uses that clients have given. The mailboxes are opened for
// their ids, but only where there are such uses.
func (c *Commands) addUses(entries []tree.Entry) {
	given := c.givenUses()
	for i := range entries {
		e := &entries[i]
		if len(given) == 0 || e.Missing || e.NoSelect {
			continue
		}
		box, err := c.Tree.Open(e.Name)
		if err != nil {
			continue
		}
		e.Use = slices.Concat(e.Use, given[ident.Of(box)])
		box.Close()
	}
}

// givenUses returns the special uses by the ids of mailboxes.
func (c *Commands) givenUses() map[string][]string {
	if c.Attributes == nil {
		return nil
	}
	list, err := c.Attributes.Below("priv/")
	if err != nil {
		return nil
	}
	given := map[string][]string{}
	for _, p := range list {
		if guid, ok := strings.CutSuffix(strings.TrimPrefix(p[0], "priv/"), "/specialuse"); ok && !strings.Contains(guid, "/") {
			given[guid] = strings.Fields(p[1])
		}
	}
	return given
}
