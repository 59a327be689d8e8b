// Sendmail is the command that every program of a Unix machine hands its mail
// to: Sendmail's command line as Postfix understands it, also called mailq and
// newaliases. It parses its arguments, reads one message from standard input
// and gives it to postdrop; it has no rights of its own and needs no daemon.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// exitTempfail is EX_TEMPFAIL of sysexits.h. As in Postfix every failure of
// ours ends with it, so that callers keep the mail and try again.
const exitTempfail = 75

func main() {
	p := &program{name: filepath.Base(os.Args[0]), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.main(os.Args[1:]))
}

// program is one run of the command.
type program struct {
	name           string // argv[0] without folders: sendmail, mailq, newaliases
	stdin          io.Reader
	stdout, stderr io.Writer

	dir     string // configuration directory
	private bool   // it is the caller's own and not the system's
	conf    *config.Main
	user    *proc.User // who called
	from    string     // envelope sender, for texts
	opts    options
}

// failure ends the program; it is thrown by fatal and caught by main.
type failure struct{ code int }

// main returns the exit code.
func (p *program) main(args []string) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			code = r.code
		default: // a fault of ours: no trace of the caller's data, and try again later
			fmt.Fprintf(p.stderr, "%s: panic: internal error\n", p.name)
			code = exitTempfail
		}
	}()
	if p.name == "" || p.name == "." {
		p.name = "sendmail"
	}
	p.configure(p.prescan(args))
	rest := p.parse(args)
	p.check()
	return p.run(rest)
}

// fatal prints "sendmail: fatal: ..." and ends the program.
func (p *program) fatal(format string, args ...any) {
	p.say("fatal: ", format, args...)
	panic(failure{exitTempfail})
}

func (p *program) warn(format string, args ...any) { p.say("warning: ", format, args...) }

// say prints one line for people; what stands in it cannot begin another line.
func (p *program) say(prefix, format string, args ...any) {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, fmt.Sprintf(format, args...))
	fmt.Fprintf(p.stderr, "%s: %s%s\n", p.name, prefix, text)
}

// run does what the options ask for and returns the exit code.
func (p *program) run(rest []string) int {
	o := &p.opts
	if o.qtime && o.mode != modeDaemon {
		return 0 // "-q30m": the daemon runs the queue by itself
	}
	switch o.mode {
	case modeMailq:
		p.noRecipients(rest, "display queue mode")
		return p.replace("postqueue", "-p")
	case modeFlush:
		p.noRecipients(rest, "flush queue mode")
		return p.replace("postqueue", "-f")
	case modeNewaliases:
		p.noRecipients(rest, "alias initialization mode")
		return p.newaliases()
	case modeDaemon:
		p.noRecipients(rest, "daemon mode")
		return p.replace("postfix", "start")
	case modeSMTP:
		p.noRecipients(rest, "stand-alone mode")
		p.maySubmit()
		return p.dialogue()
	case modeIgnore:
		return 0
	}
	switch {
	case o.site != "":
		p.noRecipients(rest, "flush site")
		return p.replace("postqueue", "-s", o.site)
	case o.queueID != "":
		p.noRecipients(rest, "flush queue_id")
		return p.replace("postqueue", "-i", o.queueID)
	}
	p.maySubmit()
	p.enqueue(rest)
	return 0
}

// maySubmit ends the program for users that authorized_submit_users leaves out.
// postdrop and mtad ask again; here it is for the text.
func (p *program) maySubmit() {
	if err := p.conf.MayUser("authorized_submit_users", os.Getuid()); err != nil {
		p.fatal("%v", err)
	}
}

func (p *program) noRecipients(rest []string, mode string) {
	if len(rest) > 0 {
		p.fatal("%s requires no recipient", mode)
	}
}

// newaliases has postalias rebuild the alias_database tables.
func (p *program) newaliases() int {
	tables := p.conf.Get("alias_database")
	if p.opts.aliases != "" {
		tables = p.opts.aliases
	}
	list := config.Fields(tables)
	if len(list) == 0 {
		return 0
	}
	return p.replace("postalias", list...)
}
