package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm"
	"packetboat/cmd/mailadm/trace"
	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

const traceUsage = "usage: mailadm trace [-c config_dir] [-d dovecot.conf] [-f logfile]... [--json] queue-id | address | message-id"

// runTrace tells the story of a message. It ends with 1 when nothing is known.
func runTrace(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{name: "trace", stdin: stdin, stdout: stdout, stderr: stderr}
	asJSON := false
	var plain, logs []string
	for _, a := range args {
		if a == "--json" {
			asJSON = true
		} else {
			plain = append(plain, a)
		}
	}
	opts, rest, err := getopt(plain, "c:d:f:")
	if err != nil || len(rest) != 1 || rest[0] == "" {
		return t.fatal(64, traceUsage)
	}
	dovecot := config.DefaultDovecot
	for _, o := range opts {
		switch o.c {
		case 'c':
			t.dir = o.value
		case 'd':
			dovecot = o.value
		default:
			logs = append(logs, o.value)
		}
	}
	if err := t.load(); err != nil {
		return t.fatal(exUnavailable, "%v", err)
	}
	if len(logs) == 0 {
		logs = t.logFiles()
	}
	tr := trace.New(rest[0])
	// The second search finds what was made of messages that the first one found.
	for grew, n := true, 0; grew && n < 3; n++ {
		grew = false
		t.readLogs(logs, func(s string) { grew = tr.Find(s) || grew })
	}
	t.readLogs(logs, tr.Gather)
	t.askQueue(tr)
	tr.Locate(func(user, folder, id string) string { return locate(dovecot, user, folder, id) })
	story := tr.Story()
	if asJSON {
		if err := story.JSON(stdout); err != nil {
			return t.fatal(exUnavailable, "%v", err)
		}
	} else {
		story.Print(stdout)
	}
	if len(story.Messages)+len(story.Refused) == 0 {
		t.warn("neither log nor queue know %s", rest[0])
		return 1
	}
	return 0
}

// logFiles are the log and the one before it.
func (t *tool) logFiles() []string {
	path := t.main.Get("maillog_file")
	if path == "" {
		path = "/var/log/mail.log"
	}
	if _, err := os.Stat(path + ".1"); err == nil {
		return []string{path + ".1", path}
	}
	return []string{path}
}

// readLogs reads the logs that can be read.
func (t *tool) readLogs(paths []string, fn func(string)) {
	for _, p := range paths {
		f, err := os.Open(p)
		if err == nil {
			err = trace.Lines(f, fn)
			f.Close()
		}
		if err != nil {
			t.warn("%s: %s", p, proc.ErrText(err))
		}
	}
}

// locate asks a user's mailbox for the UID of a message, as "doveadm search" does. Who may
// not look, and a mailbox that cannot be opened, give none.
func locate(conf, user, folder, messageID string) string {
	var out bytes.Buffer
	if doveadm.Run([]string{"-c", conf, "search", "-u", user, "mailbox", folder, "header", "message-id", messageID}, strings.NewReader(""), &out, io.Discard) != 0 {
		return ""
	}
	// "GUID UID"; the last one, where a message came twice.
	if f := strings.Fields(out.String()); len(f) >= 2 && len(f)%2 == 0 {
		return f[len(f)-1]
	}
	return ""
}

// askQueue looks for the messages in the queue, where the caller may.
func (t *tool) askQueue(tr *trace.Tracer) {
	q, err := queue.Use(t.root())
	if err != nil {
		return
	}
	defer q.Close()
	for _, id := range tr.IDs() {
		folder, ok := q.Find(id)
		if !ok {
			continue
		}
		m, err := q.Load(id, folder)
		if err != nil {
			continue
		}
		out := &trace.Queued{Folder: folder.String()}
		if folder == queue.Deferred {
			out.NextTry = m.NextTry.Format(time.RFC3339)
		}
		reasons := q.Reasons(id)
		for i, r := range m.Env.Rcpts {
			out.Recipients = append(out.Recipients, trace.Waiting{To: string(r.Addr), Done: r.State == mail.Done, Reason: reasons[i]})
		}
		tr.Queue(id, out)
	}
}
