package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// maxLogInput is the longest line that postlog takes from its input, in bytes.
const maxLogInput = 64 << 10

// priorities are those of postlog(1).
var priorities = [...]string{"info", "warn", "warning", "error", "err", "fatal", "crit", "panic"}

// runPostlog is postlog(1): it logs its arguments, or each line of its input,
// in the mail log.
func runPostlog(args []string, stdin io.Reader, _, stderr io.Writer) int {
	bad := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "postlog: fatal: "+format+"\n", a...)
		return 1
	}
	dir, priority, tag := os.Getenv("MAIL_CONFIG"), "info", ""
	opts, rest, err := getopt(args, "c:ip:t:v")
	if err != nil {
		return bad("usage: postlog [-c config_dir] [-i] [-p priority] [-t tag] [-v] [text]")
	}
	for _, o := range opts {
		switch o.c {
		case 'c':
			dir = o.value
		case 'p':
			if priority = strings.ToLower(o.value); !slices.Contains(priorities[:], priority) {
				return bad("bad severity: \"%s\"", o.value)
			}
		case 't':
			tag = o.value
		}
	}
	main, _, err := config.LoadMain(dir)
	if err != nil {
		return bad("%v", err)
	}
	if tag == "" {
		tag = main.Get("syslog_name") + "/postlog"
	}
	post, err := poster(main, tag, stderr)
	if err != nil {
		return bad("%v", err)
	}
	if len(rest) > 0 {
		post(priority, strings.Join(rest, " "))
		return 0
	}
	lines := bufio.NewScanner(stdin)
	lines.Buffer(nil, maxLogInput)
	for lines.Scan() {
		post(priority, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return bad("read standard input: %v", err)
	}
	return 0
}

// poster returns a function that writes a line into the mail log under a tag
// and, as Postfix's commands do, to a standard error that is a terminal.
func poster(main *config.Main, tag string, stderr io.Writer) (func(priority, text string), error) {
	l, err := maillog.Open(maillog.Options{File: main.Get("maillog_file"), Name: main.Get("syslog_name"), Facility: main.Get("syslog_facility")})
	if err != nil {
		return nil, err
	}
	log := l.Tagged(tag)
	return func(priority, text string) {
		log.Posted(priority, text)
		if !isTerminal(stderr) {
			return
		}
		label := map[string]string{"warn": "warning: ", "warning": "warning: ", "error": "error: ", "err": "error: ",
			"fatal": "fatal: ", "crit": "fatal: ", "panic": "panic: "}[priority]
		fmt.Fprintf(stderr, "%s: %s%s\n", tag, label, text)
	}, nil
}

// isTerminal tells whether w is a character device that is not /dev/null.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	null, err2 := os.Stat(os.DevNull)
	return err == nil && err2 == nil && fi.Mode()&os.ModeCharDevice != 0 && !os.SameFile(fi, null)
}
