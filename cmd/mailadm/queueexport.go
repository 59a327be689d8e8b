package main

import (
	"fmt"
	"io"
	"path/filepath"

	"packetboat/internal/queue"
	"packetboat/internal/sys/proc"
)

// runExportQueue gives the queue back to Postfix: every waiting message is written
// in its form, in place. mtad imports such files by itself when it starts.
func runExportQueue(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{name: "export-queue", stdin: stdin, stdout: stdout, stderr: stderr}
	opts, rest, err := getopt(args, "c:")
	if err != nil || len(rest) > 0 {
		return t.fatal(exUnavailable, "usage: mailadm export-queue [-c config_dir]")
	}
	for _, o := range opts {
		t.dir = o.value
	}
	if err := t.load(); err != nil {
		return t.fatal(exUnavailable, "%v", err)
	}
	if running(t.root()) {
		return t.fatal(exUnavailable, "the mail system is running: stop it first (postfix stop)")
	}
	q, err := queue.Use(t.root())
	if err != nil {
		return t.fatal(exUnavailable, "%s", proc.ErrText(err))
	}
	defer q.Close()
	done, failed := 0, 0
	err = q.Export(func(id string, err error) {
		if done++; err != nil {
			failed++
			t.warn("%s: %v", id, err)
		}
	})
	if err != nil {
		return t.fatal(exUnavailable, "%v", err)
	}
	fmt.Fprintf(stdout, "%d messages written for Postfix, %d left as they are\n", done-failed, failed)
	if failed > 0 {
		return 1
	}
	return 0
}

// running tells whether somebody answers at the scheduler's socket.
func running(root string) bool {
	_, err := control(filepath.Clean(root), nil)
	return err == nil
}
