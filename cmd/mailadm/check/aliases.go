package check

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"packetboat/cmd/mailadm/where"
	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/table"
	"packetboat/internal/send/local"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// maxEntries bounds how many entries of one table are followed.
const maxEntries = 20000

// aliases follows every alias of alias_maps to its end, as local(8) would.
func (c *checker) aliases() {
	if c.kit.Router == nil {
		return
	}
	svc := c.agent("local")
	if svc == nil {
		return
	}
	m := c.main.With(svc.Options...)
	o, err := c.kit.Local(svc.Name, m)
	if err != nil {
		return // a table of another type: told by tables
	}
	users := &proc.Users{}
	for _, spec := range config.Fields(m.Get("alias_maps")) {
		_, path := where.Source(spec)
		n := 0
		eachEntry(path, true, func(key, value string, line int) bool {
			if !strings.HasPrefix(strings.ToLower(key), "owner-") {
				c.alias(o, users, where.Place{Parameter: "alias_maps", File: path, Line: line}, key, value)
			}
			n++
			return n < maxEntries
		})
	}
	c.root(o, m)
}

// agent finds the delivery service that runs a program.
func (c *checker) agent(program string) *config.Service {
	for i := range c.services {
		if s := &c.services[i]; s.Type == "unix" && s.Command == program {
			return s
		}
	}
	return nil
}

// alias follows one alias. What it leads to over another alias is told there, not
// at each alias above it.
func (c *checker) alias(o local.Options, users *proc.Users, at where.Place, name, value string) {
	members, _ := alias.Parse(value) // tables has told what cannot be read
	origin := c.main.Get("myorigin")
	if r, err := c.kit.Router.Resolve(mail.Address(name)); err == nil {
		origin = r.Addr.Domain()
	}
	for _, d := range o.Expander.Expand(context.Background(), mail.Address(name+"@"+origin), nil) {
		if d.Kind != alias.Failed && !lists(members, d) {
			continue
		}
		switch d.Kind {
		case alias.Failed:
			if d.Status.Temporary() {
				continue // a table that does not answer: told by tables
			}
			hint := "correct what it leads to"
			if d.Status.Code == "5.4.6" {
				hint = "take the name out of one of the aliases that lead to each other"
			}
			c.place(at, config.SeverityError, hint, "alias %s: %s", name, d.Status.Text)
		case alias.Mailbox:
			if _, err := users.Lookup(d.User); errors.Is(err, proc.ErrNoUser) && c.strict(o) {
				c.place(at, config.SeverityError, "write the name of an account, or make one: mail for "+name+" is returned",
					"alias %s leads to %s, and there is no such account or alias", name, d.User)
			}
		case alias.ToCommand:
			c.command(at, name, d.Text)
		case alias.ToFile:
			if _, err := os.Stat(filepath.Dir(strings.TrimSuffix(d.Text, "/"))); errors.Is(err, os.ErrNotExist) {
				c.place(at, config.SeverityError, "make the folder", "alias %s: the folder of %s does not exist", name, d.Text)
			}
		}
	}
}

// lists tells whether an alias names d itself.
func lists(members []alias.Item, d alias.Dest) bool {
	for _, m := range members {
		local, _, _ := strings.Cut(m.Text, "@")
		switch {
		case m.Kind == alias.Include, d.Text != "" && m.Text == d.Text:
			return true
		case d.Kind == alias.Mailbox && m.Kind == alias.Address && (strings.EqualFold(local, d.User) || strings.EqualFold(local, d.Local)):
			return true
		}
	}
	return false
}

// strict tells whether mail for unknown users is returned: with luser_relay or a
// fallback somebody else may know them.
func (c *checker) strict(o local.Options) bool {
	return o.LuserRelay == "" && o.Fallback == "" && len(o.FallbackMaps) == 0 && o.Transport == "" && len(o.TransportMaps) == 0
}

// command looks for the program of a command.
func (c *checker) command(at where.Place, name, command string) {
	argv := local.Argv(command, "")
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) || argv[0] == "/bin/sh" {
		return
	}
	fi, err := os.Stat(argv[0])
	if errors.Is(err, os.ErrNotExist) {
		c.place(at, config.SeverityError, "install the program, or take the alias out", "alias %s: %s does not exist", name, argv[0])
	} else if err == nil && fi.Mode()&0o111 == 0 {
		c.place(at, config.SeverityError, "chmod +x "+argv[0], "alias %s: %s cannot be executed", name, argv[0])
	}
}

// root warns if nobody reads root's mail: reports of cron and of the mail system
// go there. postmaster must exist (RFC 5321 section 4.5.1).
func (c *checker) root(o local.Options, m *config.Main) {
	var file string
	for _, spec := range config.Fields(m.Get("alias_maps")) {
		if _, path := where.Source(spec); path != "" && file == "" {
			file = path
		}
	}
	at := where.Of(m, "alias_maps")
	if file != "" {
		at.File, at.Line = file, 0
	}
	for _, name := range []string{"postmaster", "root"} {
		r, err := c.kit.Router.Resolve(mail.Address(name))
		if err != nil || !strings.EqualFold(r.Addr.Domain(), c.main.Get("myorigin")) && r.Transport != "local" {
			continue // somebody else's domain
		}
		list, err := c.kit.Router.Expand(mail.Address(name))
		if err != nil || len(list) != 1 || list[0].Fold() != r.Addr.Fold() {
			continue // a virtual alias takes it
		}
		dests := o.Expander.Expand(context.Background(), r.Addr, nil)
		if len(dests) != 1 || dests[0].Kind != alias.Mailbox || dests[0].User != name && dests[0].User != "root" {
			continue
		}
		if name == "postmaster" && dests[0].User == "postmaster" {
			c.place(at, config.SeverityWarning, "write postmaster: root", "postmaster is no alias: RFC 5321 wants somebody to read its mail")
		} else if name == "root" {
			c.place(at, config.SeverityWarning, "write root: YOU, with your own account for YOU", "root is no alias: nobody reads the mail for root")
		}
	}
}

// virtual follows every virtual alias, and asks whether somebody has the
// addresses that it leads to.
func (c *checker) virtual() {
	if c.kit.Router == nil {
		return
	}
	o := c.tableOptions(c.main, "virtual_alias_maps")
	for _, spec := range config.Fields(c.main.Get("virtual_alias_maps")) {
		_, path := where.Source(spec)
		t, err := table.Open(spec, o)
		if err != nil || path == "" || t.Pattern() {
			continue
		}
		n := 0
		eachEntry(path, o.Alias || contains(o.AliasFiles, path), func(key, value string, line int) bool {
			c.virtualAlias(where.Place{Parameter: "virtual_alias_maps", File: path, Line: line}, key, value)
			n++
			return n < maxEntries
		})
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// virtualAlias looks at one line of virtual(5). The line of a domain itself
// ("example.com anything") and those for whole domains lead nowhere by design.
func (c *checker) virtualAlias(at where.Place, key, value string) {
	if strings.HasPrefix(key, "@") || !strings.Contains(key, "@") && strings.Contains(key, ".") {
		return
	}
	list, err := c.kit.Router.Expand(mail.Address(key))
	if err != nil {
		c.place(at, config.SeverityError, "see that the aliases do not lead to each other without end", "virtual alias %s: %v", key, err)
		return
	}
	for _, to := range list {
		if known, why, err := c.kit.Router.Exists(to); err == nil && !known {
			if why != "" {
				why = " in the " + why
			}
			c.place(at, config.SeverityError, "write an address that exists: mail for "+key+" is returned",
				"virtual alias %s leads to %s, which is unknown%s", key, to, why)
		}
	}
}
