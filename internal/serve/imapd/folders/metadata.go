package folders

import (
	"errors"
	"strconv"
	"strings"

	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store/dict"
)

// Limits of METADATA (RFC 5464): octets of the name of an entry, and entries of one
// command.
const (
	maxEntry   = 1000
	maxEntries = 200
)

// serverPrefix is where Dovecot keeps the entries of the server, "", among those of
// INBOX; specialUse is the entry of RFC 6154 section 4.
const (
	serverPrefix = "/vendor/vendor.dovecot/pvt/server"
	specialUse   = "/private/specialuse"
)

// noDict is what METADATA answers where there is no mail_attribute_dict.
const noDict = tree.Refusal("[CANNOT] Generic mailbox attributes not enabled")

// owner is a mailbox, or the server, that has entries.
type owner struct {
	guid   string
	server bool
}

// key returns the name in the dict of an entry, which checkEntry has accepted.
func (w owner) key(entry string) string {
	scope, rest := "priv", strings.TrimPrefix(entry, "/private")
	if strings.HasPrefix(entry, "/shared") {
		scope, rest = "shared", strings.TrimPrefix(entry, "/shared")
	}
	if w.server {
		rest = serverPrefix + rest
	}
	return scope + "/" + w.guid + rest
}

// reserved tells whether a key of a mailbox is one of the server's.
func (w owner) reserved(key string) bool {
	_, rest, _ := strings.Cut(key, "/"+w.guid)
	return !w.server && strings.HasPrefix(rest+"/", serverPrefix+"/")
}

// entry is key backwards.
func (w owner) entry(key string) string {
	scope, rest, _ := strings.Cut(key, "/"+w.guid)
	if w.server {
		rest = strings.TrimPrefix(rest, serverPrefix)
	}
	return map[string]string{"priv": "/private", "shared": "/shared"}[scope] + rest
}

// lowerASCII folds the name of an entry: RFC 5464 section 3.1.
func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, s)
}

// checkEntry refuses names of entries, in Dovecot's words.
func checkEntry(a *syntax.Arg) (string, error) {
	name := string(a.Text)
	scoped := false
	for _, s := range []string{"/private", "/shared"} {
		scoped = scoped || strings.EqualFold(name, s) || len(name) > len(s) && strings.EqualFold(name[:len(s)+1], s+"/")
	}
	switch {
	case !a.IsString():
		return "", syntax.Error("Entry name isn't astring")
	case !strings.HasPrefix(name, "/"):
		return "", syntax.Error("Entry name must begin with '/'")
	case strings.Contains(name, "//"):
		return "", syntax.Error("Entry name can't contain consecutive '/'")
	case strings.HasSuffix(name, "/"):
		return "", syntax.Error("Entry name can't end with '/'")
	case strings.Contains(name, "*"):
		return "", syntax.Error("Entry name can't contain '*'")
	case strings.Contains(name, "%"):
		return "", syntax.Error("Entry name can't contain '%'")
	case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c >= 0x7f }):
		return "", syntax.Error("Entry name can't contain control or 8bit chars")
	case !scoped:
		return "", syntax.Error("Entry name must begin with /private or /shared")
	case len(name) > maxEntry:
		return "", syntax.Error("Entry name is too long")
	}
	return lowerASCII(name), nil
}

// owner finds whose entries a name means.
func (c *Commands) owner(name string) (w owner, err error) {
	if c.Attributes == nil {
		return w, noDict
	}
	if w.server = name == ""; w.server {
		name = "INBOX"
	}
	box, err := c.Tree.Open(name)
	if err != nil {
		return w, err
	}
	defer box.Close()
	w.guid = ident.Of(box)
	return w, nil
}

// wish is the options of GETMETADATA: RFC 5464 section 4.2.
type wish struct {
	depth   int // 0, 1, or 2 for infinity
	maxSize int // octets of a value; -1 = any
	longest int // of the values left out for their size
}

func parseWish(list []syntax.Arg) (w wish, err error) {
	w.maxSize = -1
	for i := 0; i < len(list); i += 2 {
		value := ""
		if i+1 < len(list) {
			value = strings.ToLower(string(list[i+1].Text))
		}
		switch {
		case list[i].Is("MAXSIZE"):
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return w, syntax.Error("Invalid value for MAXSIZE option")
			}
			w.maxSize = int(n)
		case list[i].Is("DEPTH"):
			w.depth = strings.Index("0 1 infinity", value)
			if w.depth != 0 && w.depth != 2 && w.depth != 4 || value == "" {
				return w, syntax.Error("Invalid value for DEPTH option")
			}
			w.depth /= 2
		default:
			return w, syntax.Error("Unknown option")
		}
	}
	return w, nil
}

// GetMetadata: RFC 5464 section 4.2.
func (c *Commands) GetMetadata(args []syntax.Arg) error {
	w := wish{maxSize: -1}
	var err error
	if len(args) > 0 && args[0].Kind == syntax.List {
		if w, err = parseWish(args[0].List); err != nil {
			return err
		}
		args = args[1:]
	}
	if len(args) < 2 || !args[0].IsString() {
		return syntax.Error("Invalid arguments")
	}
	entries, err := entryList(args[1])
	if err != nil {
		return err
	}
	if len(args) > 2 {
		return syntax.Error("Invalid arguments")
	}
	name, err := c.MailboxName(args[0])
	var found [][2]string
	if err == nil {
		found, err = c.metadata(name, entries, &w)
	}
	if err != nil {
		return c.Failed(err, name, "")
	}
	c.writeMetadata(name, found)
	if w.longest > 0 {
		return c.Done("OK [METADATA LONGENTRIES " + strconv.Itoa(w.longest) + "] Getmetadata completed")
	}
	return c.Done("OK Getmetadata completed")
}

// entryList reads one name of an entry, or several.
func entryList(a syntax.Arg) ([]string, error) {
	list := []syntax.Arg{a}
	if a.Kind == syntax.List {
		list = a.List
	}
	if len(list) > maxEntries {
		return nil, syntax.Error("Too many entries")
	}
	var names []string
	for i := range list {
		n, err := checkEntry(&list[i])
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return names, nil
}

// metadata returns entries and their values; a value that is not there is "NIL", the
// others are literals.
func (c *Commands) metadata(name string, entries []string, w *wish) (found [][2]string, err error) {
	own, err := c.owner(name)
	if err != nil {
		return nil, err
	}
	told := map[string]bool{}
	add := func(entry, value string) {
		if told[entry] {
			return
		}
		told[entry] = true
		if w.maxSize >= 0 && len(value) > w.maxSize {
			w.longest = max(w.longest, len(value))
			return
		}
		found = append(found, [2]string{entry, string(syntax.AppendLiteral(nil, []byte(value)))})
	}
	for _, e := range entries {
		key := own.key(e)
		value, ok, err := c.Attributes.Get(key)
		switch {
		case err != nil:
			return nil, err
		case ok:
			add(e, value)
		case w.depth == 0:
			found = append(found, [2]string{e, "NIL"})
		}
		if w.depth == 0 {
			continue
		}
		below, err := c.Attributes.Below(key + "/")
		if err != nil {
			return nil, err
		}
		for _, p := range below {
			rest := p[0][len(key)+1:]
			if !own.reserved(p[0]) && (w.depth == 2 || !strings.Contains(rest, "/")) {
				add(own.entry(p[0]), p[1])
			}
		}
	}
	return found, nil
}

func (c *Commands) writeMetadata(name string, found [][2]string) {
	if len(found) == 0 {
		return
	}
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	c.Out.Text("* METADATA ")
	c.Out.Name(name)
	sep := " ("
	for _, f := range found {
		c.Out.Text(sep, f[0], " ", f[1])
		sep = " "
	}
	c.Out.Text(")")
	c.Out.Line()
}

// SetMetadata: RFC 5464 section 4.3. All entries are set or none.
func (c *Commands) SetMetadata(args []syntax.Arg) error {
	if len(args) != 2 || !args[0].IsString() || args[1].Kind != syntax.List {
		return syntax.Error("Invalid arguments")
	}
	list := args[1].List
	values := map[string]*string{}
	for i := 0; i < len(list); i += 2 {
		entry, err := checkEntry(&list[i])
		if err != nil {
			return err
		}
		if i+1 == len(list) {
			return syntax.Error("Entry value missing")
		}
		if values[entry], err = entryValue(&list[i+1]); err != nil {
			return err
		}
	}
	name, err := c.MailboxName(args[0])
	if err == nil {
		err = c.setMetadata(name, values)
	}
	if err != nil {
		return c.Failed(err, name, "")
	}
	return c.Done("OK Setmetadata completed")
}

func entryValue(a *syntax.Arg) (*string, error) {
	if a.Is("NIL") {
		return nil, nil
	}
	if !a.IsString() {
		return nil, syntax.Error("Entry value can't be a list")
	}
	text := string(a.Text)
	return &text, nil
}

// setMetadata changes entries of a mailbox.
func (c *Commands) setMetadata(name string, values map[string]*string) error {
	own, err := c.owner(name)
	if err != nil {
		return err
	}
	change := map[string]*string{}
	for entry, v := range values {
		key := own.key(entry)
		switch {
		case v != nil && len(*v) > dict.MaxValue:
			return tree.Refusal("[METADATA MAXSIZE " + strconv.Itoa(dict.MaxValue) + "] The value is too long")
		case own.reserved(key):
			return tree.Refusal("[CANNOT] Internal mailbox attributes cannot be accessed")
		case own.server && strings.HasPrefix(key, "shared/"):
			return tree.Refusal("[CANNOT] The /" + strings.Replace(key, "/"+own.guid, "", 1) + " attribute cannot be changed")
		}
		if entry == specialUse && v != nil {
			if _, err := useWords(strings.Fields(*v)); err != nil {
				return err
			}
		}
		change[key] = v
	}
	err = c.Attributes.Change(change)
	if errors.Is(err, dict.ErrFull) {
		return tree.Refusal("[METADATA TOOMANY] There is no room for more")
	}
	return err
}

// forgetMetadata removes all entries of a mailbox that is gone.
func (c *Commands) forgetMetadata(guid string) {
	if c.Attributes == nil || guid == "" {
		return
	}
	change := map[string]*string{}
	for _, scope := range []string{"priv/", "shared/"} {
		list, err := c.Attributes.Below(scope + guid + "/")
		if err != nil {
			return // it is in nobody's way
		}
		for _, p := range list {
			change[p[0]] = nil
		}
	}
	if len(change) > 0 {
		c.Attributes.Change(change)
	}
}
