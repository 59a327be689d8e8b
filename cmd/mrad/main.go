// Mrad is the mail reading daemon: IMAP, POP3, LMTP, and SASL for the mail
// transfer daemon. It is several processes of one executable. The parent
// (root) binds ports and starts the others; it reads no byte of a client. auth
// knows passwords and accounts; login, without any right, greets clients, does
// TLS and authentication; one process for each user number holds all sessions
// of that user; lmtp takes mail in; script runs the commands of quota warnings.
//
//	mrad [-c FILE] [-F] [--force]
//
// With --force it starts though settings are made that it does not know how to
// obey; it says which, and goes on without them. Without -F it returns when the system answers, and goes on in the background.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// version is set at build time.
var version = "devel"

func main() {
	fs := pflag.NewFlagSet("mrad", pflag.ExitOnError)
	file := fs.StringP("config", "c", config.DefaultDovecot, "configuration file")
	foreground := fs.BoolP("foreground", "F", false, "stay in the foreground (systemd, containers)")
	role := fs.String("role", "", "be one of the processes below the parent; the parent sets it")
	ready := fs.Int("ready-fd", 0, "descriptor to write to when the system answers; set by mrad itself")
	force := fs.Bool("force", false, "start without the settings that are not built")
	show := fs.Bool("version", false, "print the version")
	fs.Parse(os.Args[1:])
	path, err := filepath.Abs(*file)
	switch {
	case err != nil:
		os.Exit(complain(err))
	case *show:
		fmt.Println("packetboat mrad", version)
	case *role != "":
		os.Exit(runRole(*role, path))
	case *foreground:
		os.Exit(runParent(path, *ready, *force))
	default:
		os.Exit(background(path, *force))
	}
}

// runRole is a process below the parent.
func runRole(role, path string) int {
	run := map[string]func(string) error{"auth": runAuth, "login": runLogin, "mail": runMail, "lmtp": runLMTP, "script": runScript}[role]
	if run == nil {
		return complain(fmt.Errorf("no role %q", role))
	}
	if err := run(path); err != nil {
		return complain(err)
	}
	return 0
}

// background starts mrad -F in a session of its own and waits until it
// answers or has given up.
func background(path string, force bool) int {
	args := []string{"-F", "-c", path}
	if force {
		args = append(args, "--force")
	}
	ok, err := proc.Background("mrad", args...)
	if err != nil {
		return complain(err)
	}
	if !ok {
		return 1 // the child has said why
	}
	return 0
}

// complain prints an error for people and returns the exit code.
func complain(err error) int {
	fmt.Fprintln(os.Stderr, "mrad: "+config.Report(err))
	return 1
}
