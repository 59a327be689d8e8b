package proc

import (
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// The signals that our daemons know.
const (
	SIGHUP  = syscall.SIGHUP  // read the configuration again
	SIGTERM = syscall.SIGTERM // finish what is in hand and stop
	SIGINT  = syscall.SIGINT  // the same, from a terminal
	SIGKILL = syscall.SIGKILL
	SIGUSR1 = syscall.SIGUSR1
)

// Signals returns a channel of the signals that tell a daemon to stop or to
// reload. SIGPIPE is left to Go, which turns it into write errors.
func Signals() chan os.Signal {
	c := make(chan os.Signal, 4)
	signal.Notify(c, SIGHUP, SIGTERM, SIGINT)
	return c
}

// SignalNumber returns the number of a signal, 0 for an unknown one.
func SignalNumber(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return int(n)
	}
	return 0
}

// Alive tells whether a process exists.
func Alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return pid > 0 && (err == nil || err == syscall.EPERM)
}

// Kill sends a signal to a process by number, for commands that read a pid file.
func Kill(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }

// keptEnv are the variables that our daemons pass on to their own processes.
var keptEnv = [...]string{"MAIL_CONFIG", "TZ", "LANG", "GODEBUG", "GOCOVERDIR"}

// CleanEnv returns the environment of a role of ours: a fixed path and the few
// variables that change nothing of what it may do.
func CleanEnv() []string {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range keptEnv {
		if v, ok := os.LookupEnv(name); ok && !strings.ContainsAny(v, "\n\x00") {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// HasIPv6 tells whether the machine has IPv6 at all: whether its loopback
// address can be bound.
func HasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}
