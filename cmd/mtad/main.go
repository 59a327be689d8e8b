// Mtad is the mail transfer daemon: SMTP in, queue, scheduling, SMTP and LMTP
// out, hand-over to the users' mailboxes. It is two processes. The parent (root)
// binds ports, reads keys and starts programs as the right user; it parses no
// byte from the network. The engine (mail_owner) does all the rest.
//
//	mtad [-c DIR] [-F] [--force] [--check]
//
// Without -F it returns when the system answers, and goes on in the background.
// With --force it starts though parameters are set that it does not know how to
// obey; the log names them.
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
	fs := pflag.NewFlagSet("mtad", pflag.ExitOnError)
	dir := fs.StringP("config", "c", os.Getenv("MAIL_CONFIG"), "configuration directory")
	foreground := fs.BoolP("foreground", "F", false, "stay in the foreground (systemd, containers)")
	force := fs.Bool("force", false, "start without the parameters that are not built")
	check := fs.Bool("check", false, "read the configuration as a start would, say what is wrong, and end")
	engine := fs.Bool("engine", false, "be the engine; the parent sets it")
	rehearse := fs.Bool("rehearse", false, "with --engine: open everything and end")
	ready := fs.Int("ready-fd", 0, "descriptor to close when the system answers; set by mtad itself")
	show := fs.Bool("version", false, "print the version")
	fs.Parse(os.Args[1:])
	if *dir != "" { // the working directory of a daemon is not the caller's
		abs, err := filepath.Abs(*dir)
		if err != nil {
			os.Exit(complain(err))
		}
		*dir = abs
	}
	switch {
	case *show:
		fmt.Println("packetboat mtad", version)
	case *check:
		os.Exit(checkOnly(*dir, *force))
	case *engine:
		os.Exit(runEngine(*dir, *rehearse))
	case *foreground:
		os.Exit(runParent(*dir, *ready, *force))
	default:
		os.Exit(background(*dir, *force))
	}
}

// background starts mtad -F in a session of its own and waits until it
// answers or has given up.
func background(dir string, force bool) int {
	args := []string{"-F", "-c", dir}
	if force {
		args = append(args, "--force")
	}
	ok, err := proc.Background("mtad", args...)
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
	fmt.Fprintln(os.Stderr, "mtad: "+config.Report(err))
	return 1
}
