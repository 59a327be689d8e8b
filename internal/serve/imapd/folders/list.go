package folders

import (
	"strings"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store/names"
)

// List: RFC 3501 section 6.3.8 with the options of RFC 5258, RFC 5819 (STATUS) and
// RFC 6154 (SPECIAL-USE).
func (c *Commands) List(args []syntax.Arg) error { return c.list(args, "LIST") }

// XList is the old form of it that knows no options.
func (c *Commands) XList(args []syntax.Arg) error { return c.list(args, "XLIST") }

// Lsub: RFC 3501 section 6.3.9.
func (c *Commands) Lsub(args []syntax.Arg) error { return c.list(args, "LSUB") }

func (c *Commands) list(args []syntax.Arg, word string) error {
	l, err := syntax.ParseList(args, word == "LIST")
	if err != nil {
		return err
	}
	var want statusSet
	if l.RetStatus != nil {
		if want, err = statusWanted(l.RetStatus); err != nil {
			return err
		}
	}
	if len(l.Patterns) == 1 && l.Patterns[0] == "" && word != "LSUB" {
		// RFC 3501 section 6.3.8: a question for the separator.
		c.listLine("LIST", `\Noselect`, c.Tree.Root(l.Ref))
		return c.Done("OK List completed")
	}
	about, err := entryList(syntax.Arg{Kind: syntax.List, List: l.RetMetadata})
	if err != nil {
		return err
	}
	entries, err := c.Tree.List(l.Whole())
	if err != nil {
		return c.Failed(err, l.Ref, "")
	}
	c.addUses(entries)
	if c.Out.UTF8 { // patterns are taken for modified UTF-7
		l.Ref = names.Encode(l.Ref)
		for i := range l.Patterns {
			l.Patterns[i] = names.Encode(l.Patterns[i])
		}
	}
	match := l.Matchers(c.Tree.Separator())
	if word == "LSUB" {
		c.lsub(entries, match)
		return c.Done("OK Lsub completed")
	}
	for _, f := range tree.Select(entries, &l, match, c.Tree.Separator()) {
		c.listLine("LIST", f.Flags, f.Name, f.Extra)
		if l.RetStatus != nil && !f.NoSelect && !f.Missing {
			c.listStatus(f.Name, want)
		}
		if len(about) > 0 && !f.NoSelect && !f.Missing {
			c.listMetadata(f.Name, about)
		}
	}
	return c.Done("OK List completed")
}

// listStatus writes the STATUS of a folder that LIST has found: RFC 5819. One
// that cannot be opened has none.
func (c *Commands) listStatus(name string, want statusSet) {
	if seen, err := c.peek(name, want); err == nil {
		c.writeStatus(name, name, seen, want)
	}
}

// listMetadata writes entries of a folder that LIST has found: RFC 9590.
func (c *Commands) listMetadata(name string, entries []string) {
	if found, err := c.metadata(name, entries, &wish{maxSize: -1}); err == nil {
		c.writeMetadata(name, found)
	}
}

func (c *Commands) listLine(word, flags, name string, extra ...string) {
	c.Out.Text("* ", word, " (", flags, `) "`, string(c.Tree.Separator()), `" `)
	c.Out.Name(name)
	c.Out.Text(extra...)
	c.Out.Line()
}

// lsub writes the subscriptions that match, and as \Noselect the parents that
// match where the subscription below does not: RFC 3501 section 6.3.9, "%".
func (c *Commands) lsub(entries []tree.Entry, match func(string) bool) {
	told := map[string]bool{}
	for i := range entries {
		if entries[i].Subscribed {
			told[entries[i].Name] = true
		}
	}
	for i := range entries {
		f := &entries[i]
		if !f.Subscribed {
			continue
		}
		if match(f.Name) {
			c.listLine("LSUB", c.lsubFlags(f), f.Name)
			continue
		}
		for name := f.Name; ; {
			i := strings.LastIndexByte(name, c.Tree.Separator())
			if i < 0 {
				break
			}
			if name = name[:i]; !told[name] && match(name) {
				told[name] = true
				c.listLine("LSUB", `\Noselect`, name)
			}
		}
	}
}

// lsubFlags are the attributes of a subscription: its special uses, and with
// tb-lsub-flags, for a Thunderbird that asks for them, whether it can be opened.
func (c *Commands) lsubFlags(f *tree.Entry) string {
	var words []string
	if c.Bends("tb-lsub-flags") {
		if f.Missing {
			words = append(words, `\Noselect`)
		}
		if f.NoInferiors {
			words = append(words, `\NoInferiors`)
		}
	}
	return strings.Join(append(words, f.Use...), " ")
}
