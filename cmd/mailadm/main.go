// Mailadm is the administrator's program. Under its other names (links) it is
// the command that the incumbents install: postconf, postqueue, doveconf and
// the rest, with their options and output.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// command is one administrative command: args are its arguments without the
// name; the result is the exit code.
type command func(args []string, stdin io.Reader, stdout, stderr io.Writer) int

// commands names every command. Each stands in the file named beside it; whoever
// writes that file enters its functions here.
func commands() map[string]command {
	return map[string]command{
		"postconf": runPostconf, // postconf.go
		"postfix":  runPostfix,  // postfix.go
		"postlog":  runPostlog,  // postfix.go
		"doveconf": runDoveconf, // doveconf.go

		"postqueue": runPostqueue, // queue.go
		"postsuper": runPostsuper, // queue.go
		"postcat":   runPostcat,   // queue.go
		"qshape":    runQshape,    // queueshape.go

		"export-queue": runExportQueue, // queueexport.go
		"trace":        runTrace,       // tracecmd.go

		"postmap":    runPostmap,    // maps.go
		"postalias":  runPostalias,  // maps.go
		"newaliases": runNewaliases, // maps.go

		"doveadm": runDoveadm, // doveadm.go
		"dovecot": runDovecot, // dovecot.go

		"check":   runCheck,   // checks.go
		"explain": runExplain, // checks.go

		"self-signed": runSelfSigned, // selfsigned.go

		"help": runHelp,
	}
}

func main() {
	os.Exit(dispatch(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// summaries says in a few words what each command does, in the order in which
// help prints them. A test holds that no command is left out.
func summaries() [][2]string {
	return [][2]string{
		{"check", "read the whole configuration and tell every problem, with the line to write instead"},
		{"explain", "tell what happens to mail for an address, and which lines make it so"},
		{"trace", "tell the story of a message: queue id, address or Message-ID"},
		{"postconf", "show and change main.cf and master.cf"},
		{"doveconf", "show dovecot.conf, translate it"},
		{"postfix", "start, stop, reload, check, status, flush"},
		{"postqueue", "list and flush the queue"},
		{"postsuper", "hold, release, requeue, delete queued mail"},
		{"postcat", "show queued mail"},
		{"qshape", "count queued mail by domain and age"},
		{"export-queue", "write the queue as Postfix keeps it, before going back to it"},
		{"postmap", "check and ask lookup tables"},
		{"postalias", "check and ask alias tables"},
		{"newaliases", "check the aliases of alias_database"},
		{"postlog", "write to the mail log"},
		{"doveadm", "users, passwords, mailboxes, sessions"},
		{"dovecot", "start, stop and reload the mail reading daemon"},
		{"self-signed", "make a certificate that nobody has vouched for"},
		{"help", "print this"},
	}
}

// runHelp lists all commands.
func runHelp(_ []string, _ io.Reader, stdout, _ io.Writer) int {
	fmt.Fprint(stdout, "mailadm COMMAND [ARGUMENTS], or a link of the command's name to mailadm. See mailadm(8).\n\n")
	for _, s := range summaries() {
		fmt.Fprintf(stdout, "  %-12s %s\n", s[0], s[1])
	}
	return 0
}

// dispatch runs the command that argv[0] names, or, called as mailadm, the one
// that the first argument names.
func dispatch(argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	table := commands()
	if len(argv) == 0 {
		return usage(table, stderr)
	}
	if run := table[filepath.Base(argv[0])]; run != nil {
		return run(argv[1:], stdin, stdout, stderr)
	}
	if len(argv) < 2 {
		return usage(table, stderr)
	}
	if argv[1] == "--help" || argv[1] == "-h" {
		return runHelp(nil, stdin, stdout, stderr)
	}
	run := table[argv[1]]
	if run == nil {
		fmt.Fprintf(stderr, "error: mailadm has no command %q\n", argv[1])
		return usage(table, stderr)
	}
	return run(argv[2:], stdin, stdout, stderr)
}

func usage(table map[string]command, stderr io.Writer) int {
	var names []string
	for name, run := range table {
		if run != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	fmt.Fprintf(stderr, "hint: mailadm COMMAND [ARGUMENTS], or a link of the command's name; the commands are %s\n", strings.Join(names, ", "))
	return 64 // EX_USAGE of sysexits.h
}
