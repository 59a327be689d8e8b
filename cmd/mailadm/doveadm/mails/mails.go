// Package mails holds doveadm's commands that touch the mail of one user:
// search, fetch, expunge, flags, copy, move, save, mailbox and the rest. Each is
// prepared once from its arguments and then run for every user, by a process that
// runs as that user.
package mails

import (
	"errors"
	"fmt"
	"io"
	"time"

	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/store/quota"
)

// Exit codes of sysexits.h, as Dovecot's doveadm uses them.
const (
	ExitUsage    = 64
	ExitData     = 65
	ExitNotFound = 68
	ExitTemp     = 75
	ExitNoPerm   = 77
	exitNoSpace  = 73
)

// Env is what a command finds: one user's mail, and where to print.
type Env struct {
	User     string
	Location string // mail location, expanded
	Store    store.Store
	Out      show.Formatter
	In       io.Reader
	Err      io.Writer
	Now      time.Time
	Options  location.Options
	Quota    func() (*quota.Account, error) // of the user; a nil Account = he has none
	Fatal    bool                           // the run was broken off: what waits to be printed is not
	code     int
}

// Code is the exit code after a run.
func (e *Env) Code() int { return e.code }

// fail prints an error as Dovecot does. The first one decides the exit code.
func (e *Env) fail(code int, format string, args ...any) {
	fmt.Fprintf(e.Err, "doveadm(%s): Error: %s\n", e.User, fmt.Sprintf(format, args...))
	if e.code == 0 {
		e.code = code
	}
}

// failed is fail for an error of the store.
func (e *Env) failed(err error, name, format string, args ...any) {
	code, text := verdict(err, name)
	e.fail(code, "%s: %s", fmt.Sprintf(format, args...), text)
}

// verdict returns exit code and text of a store's error, as Dovecot's.
func verdict(err error, name string) (code int, text string) {
	switch {
	case errors.Is(err, store.ErrNoMailbox):
		return ExitNotFound, "Mailbox doesn't exist: " + name
	case errors.Is(err, store.ErrExists):
		return ExitData, "Mailbox already exists"
	case errors.Is(err, store.ErrBadName):
		return ExitData, "Invalid mailbox name: " + name
	case errors.Is(err, store.ErrHasChildren):
		return ExitData, "Mailbox has children, delete them first"
	case errors.Is(err, store.ErrOverQuota):
		return exitNoSpace, "Quota exceeded (mailbox for user is full)"
	case errors.Is(err, store.ErrReadOnly):
		return ExitNoPerm, "Mailbox is read-only"
	}
	return ExitTemp, err.Error()
}

// Args are the arguments of a command: options that it knows, and the rest.
type Args struct {
	Opt  map[string][]string
	Rest []string
}

// Has tells whether an option was given.
func (a *Args) Has(name string) bool { return len(a.Opt[name]) > 0 }

// Last returns the last value of an option.
func (a *Args) Last(name, def string) string {
	if v := a.Opt[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return def
}

// Plan is a command made ready.
type Plan struct {
	Columns []show.Column
	Form    string // formatter when none is asked for; empty = flow
	Run     func(e *Env)
}

// Command is one command.
type Command struct {
	Usage   string // what stands behind "[-u <user>|-A] [-S <socket_path>] "
	Options string // of its own, as getopt(3) names them
	Long    []string
	Prepare func(a *Args, now time.Time) (*Plan, error)
}

// Problem is an error of the arguments: its text, the exit code, and whether the
// usage line is to be printed in place of the text.
type Problem struct {
	Code  int
	Text  string
	Hint  string
	Usage bool
	Plain bool // an Error, not Fatal
}

// Error returns the text.
func (p *Problem) Error() string { return p.Text }

// usage is the error of missing or superfluous arguments.
func usage() error { return &Problem{Code: ExitUsage, Usage: true} }

// fatal turns an error of an argument into one that ends doveadm.
func fatal(code int, err error) error { return &Problem{Code: code, Text: err.Error()} }

// unbuilt is the preparation of a command that there is not.
func unbuilt(name, hint string) func(*Args, time.Time) (*Plan, error) {
	return func(*Args, time.Time) (*Plan, error) {
		return nil, &Problem{Code: ExitTemp, Text: "doveadm " + name + " is not built", Hint: hint}
	}
}

// Commands are all commands by name; those of two words have a space in it.
func Commands() map[string]*Command {
	m := map[string]*Command{
		"search":       {Usage: "<search query>", Prepare: search},
		"fetch":        {Usage: "<fields> <search query>", Prepare: fetchCommand},
		"expunge":      {Usage: "[-m] <search query>", Options: "d", Prepare: expunge},
		"flags add":    {Usage: "<flags> <search query>", Prepare: flags(store.Add)},
		"flags remove": {Usage: "<flags> <search query>", Prepare: flags(store.Remove)},
		"flags replace": {Usage: "<flags> <search query>",
			Prepare: flags(store.Replace)},
		"copy":         {Usage: "<destination> [user <source user>] <search query>", Prepare: carry("copy")},
		"move":         {Usage: "<destination> [user <source user>] <search query>", Prepare: carry("move")},
		"save":         {Usage: "[-m mailbox]", Options: "m:", Prepare: save},
		"deduplicate":  {Usage: "[-m] <search query>", Options: "m", Prepare: deduplicate},
		"force-resync": {Usage: "[-f] <mailbox mask>", Options: "f", Prepare: resync},
		"index":        {Usage: "[-q] [-n <max recent>] <mailbox mask>", Options: "qn:", Prepare: index},
		"purge":        {Usage: "", Prepare: purge},
		"import": {Usage: "[-U source-user] [-s] <source mail location> <dest parent mailbox> <search query>", Options: "U:s",
			Prepare: importCommand},
		"altmove": {Usage: "[-r] <search query>", Options: "r",
			Prepare: unbuilt("altmove", "there is no ALT= storage here; doveadm move moves mail to another mailbox")},
	}
	for name, c := range mailboxCommands() {
		m["mailbox "+name] = c
	}
	for name, c := range quotaCommands() {
		m[name] = c
	}
	return m
}
