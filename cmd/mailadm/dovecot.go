package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"packetboat/cmd/mailadm/doveadm"
	"packetboat/cmd/mailadm/doveconf"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// dovecotVersion is the Dovecot whose behaviour is ours.
const dovecotVersion = "2.3.19.1 (packetboat)"

const dovecotUsage = "Usage: dovecot [-F] [-c <config file>] [-p] [-n] [-a] [--help] [--version]\n" +
	"       [--build-options] [--hostdomain] [reload] [stop]\n"

// startTime bounds how long dovecot waits for mrad to answer; in the foreground
// there is no bound.
const startTime = time.Minute

// runDovecot is dovecot(1): it starts mrad, or asks about it.
func runDovecot(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fs := pflag.NewFlagSet("dovecot", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	file := fs.StringP("config", "c", config.DefaultDovecot, "")
	foreground := fs.BoolP("foreground", "F", false, "")
	ask := fs.BoolP("ask", "p", false, "")
	changed, all := fs.BoolP("changed", "n", false, ""), fs.BoolP("all", "a", false, "")
	help, version := fs.Bool("help", false, ""), fs.Bool("version", false, "")
	build, host := fs.Bool("build-options", false, ""), fs.Bool("hostdomain", false, "")
	if err := fs.Parse(args); err != nil || fs.NArg() > 1 {
		fmt.Fprint(stderr, dovecotUsage)
		return 64 // EX_USAGE of sysexits.h
	}
	switch {
	case *help:
		fmt.Fprint(stdout, dovecotUsage)
		return 0
	case *version:
		fmt.Fprintln(stdout, dovecotVersion)
		return 0
	case *build:
		fmt.Fprint(stdout, "Build options: ioloop=go notify=inotify go-tls io_block_size=8192\n"+
			"Passdb: pam passwd-file shadow static\nUserdb: passwd passwd-file prefetch static\n")
		return 0
	case *host:
		name, err := os.Hostname()
		if err != nil {
			fmt.Fprintln(stderr, "Fatal:", err)
			return 75
		}
		fmt.Fprintln(stdout, name)
		return 0
	case *changed:
		return doveconf.Run([]string{"-n", "-c", *file}, stdout, stderr)
	case *all:
		return doveconf.Run([]string{"-a", "-c", *file}, stdout, stderr)
	case *ask:
		fmt.Fprintln(stderr, "error: dovecot -p is not built\nhint: keep the key of the certificate without a password")
		return 75
	case fs.Arg(0) == "reload", fs.Arg(0) == "stop":
		return doveadm.Run([]string{"-c", *file, fs.Arg(0)}, stdin, stdout, stderr)
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "Fatal: Unknown argument: %s\n", fs.Arg(0))
		return 64
	}
	return startMrad(*file, *foreground, stdout, stderr)
}

// startMrad runs mrad, which stands beside this program.
func startMrad(file string, foreground bool, stdout, stderr io.Writer) int {
	self, err := os.Executable()
	if err == nil {
		file, err = filepath.Abs(file)
	}
	if err != nil {
		fmt.Fprintln(stderr, "Fatal:", err)
		return 75
	}
	role := proc.Role{Path: filepath.Join(filepath.Dir(self), "mrad"), Args: []string{"mrad", "-c", file}, Env: proc.CleanEnv(), Stdout: stdout, Stderr: stderr}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	var code int
	if foreground {
		role.Args = append(role.Args, "-F")
		code, err = attend(role)
	} else {
		code, err = proc.Run(ctx, role)
	}
	if err != nil {
		fmt.Fprintln(stderr, "Fatal:", err)
		return 89
	}
	return code
}

// attend runs a daemon in the foreground and passes on the signals to stop and to
// reload, which a supervisor sends to this process.
func attend(role proc.Role) (int, error) {
	signals := proc.Signals()
	p, err := proc.Start(role)
	if err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			switch s {
			case proc.SIGHUP:
				p.Signal(proc.SIGHUP)
			default:
				p.Signal(proc.SIGTERM)
			}
		}
	}()
	return p.Wait(), nil
}
