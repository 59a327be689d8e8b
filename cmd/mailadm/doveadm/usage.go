package doveadm

import (
	"fmt"
	"slices"
	"strings"

	"packetboat/cmd/mailadm/doveadm/mails"
)

// ofUser stands before what mail commands take.
const ofUser = "[-u <user>|-A] [-S <socket_path>] "

// takes are the arguments of the commands that touch nobody's mail.
var takes = map[string]string{
	"auth cache flush": "[-a <auth-master socket path>] [<user> [...]]",
	"auth login":       "[-a <auth-login socket path>] [-m <auth-master socket path>] [-x <auth info>] [-M <master user>] <user> [<password>]",
	"auth lookup":      "[-a <userdb socket path>] [-x <auth info>] [-f field] <user> [<user> [...]]",
	"auth test":        "[-a <auth socket path>] [-x <auth info>] [-M <master user>] <user> [<password>]",
	"batch":            "<sep> <cmd1> [<sep> <cmd2> [..]]",
	"config":           "[doveconf parameters]",
	"exec":             "<binary> [binary parameters]",
	"help":             "[<cmd>]",
	"instance list":    "[-c] [<name>]",
	"kick":             "[-a <anvil socket path>] <user mask>[|]<ip/bits>",
	"log errors":       "[-s <min_timestamp>]",
	"log find":         "[<dir>]",
	"log reopen":       "",
	"log test":         "",
	"mailbox mutf7":    "[-7|-8] <name> [...]",
	"pw":               "[-l] [-p plaintext] [-r rounds] [-s scheme] [-t hash] [-u user] [-V]",
	"reload":           "",
	"stop":             "",
	"user":             "[-a <userdb socket path>] [-x <auth info>] [-f field] [-e <value>] [-u] <user mask> [<user mask> [...]]",
	"who":              "[-a <anvil socket path>] [-1] [<user mask>] [<ip/bits>]",
}

// allTakes are the arguments of all commands by name.
func allTakes() map[string]string {
	all := make(map[string]string)
	for name, t := range takes {
		all[name] = t
	}
	for name, cmd := range mails.Commands() {
		all[name] = ofUser + cmd.Usage
	}
	return all
}

// usage prints what there is, or, for the first word of several commands, those.
func (c *call) usage(word string) int {
	all := allTakes()
	lines := group(all, word+" ")
	head := "usage: doveadm [-Dv] [-f <formatter>] " + word + " <command> [<args>]\n"
	if word == "" || len(lines) == 0 {
		lines = group(all, "")
		head = "usage: doveadm [-Dv] [-f <formatter>] <command> [<args>]\n               \n"
	}
	var names []string
	for name := range lines {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprint(c.err, head)
	for _, name := range names {
		fmt.Fprintf(c.err, "  %-12s %s\n", name, lines[name])
	}
	return exUsage
}

// group returns the next words of the commands that begin with prefix; where more
// words follow, these with bars between them.
func group(all map[string]string, prefix string) map[string]string {
	lines := make(map[string]string)
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		word, more, deep := strings.Cut(rest, " ")
		if !deep {
			lines[word] = all[name]
			continue
		}
		next, _, _ := strings.Cut(more, " ")
		if old := lines[word]; old == "" {
			lines[word] = next
		} else if !slices.Contains(strings.Split(old, "|"), next) {
			lines[word] = old + "|" + next
		}
	}
	return lines
}

// help shows the manual page's place and the usage line of a command.
func (c *call) help(args []string) int {
	if len(args) == 0 {
		c.err = c.out
		c.usage("")
		return exOK
	}
	name := strings.Join(args, " ")
	all := allTakes()
	if t, ok := all[name]; ok {
		fmt.Fprintf(c.out, "doveadm %s\nSee doveadm(1) and mailadm(8).\n", strings.TrimSpace(name+" "+t))
		return exOK
	}
	if len(group(all, name+" ")) > 0 {
		c.err = c.out
		c.usage(name)
		return exOK
	}
	fmt.Fprintf(c.err, "No manual entry for doveadm-%s\n", strings.ReplaceAll(name, " ", "-"))
	return 16 // man(1): no such page
}
