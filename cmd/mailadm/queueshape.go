package main

import (
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"packetboat/cmd/mailadm/qshape"
	"packetboat/internal/queue"
	"packetboat/internal/sys/proc"
)

const qshapeUsage = `Usage: qshape [ -s ] [ -p ] [ -m <min_subdomains> ] [ -l ]
	[ -b <bucket_count> ] [ -t <bucket_time> ] [ -w <terminal_width> ]
	[ -N <batch_msg_count> ] [ -n <batch_top_domains> ]
	[ -c <config_directory> ] [ <queue_name> ... ]`

// topDomains is how many lines a terminal gets without -n.
const topDomains = 20

// exPerl is the code with which the original, a Perl program, ends on a mistake.
const exPerl = 255

// runQshape is qshape(1). -N, how often it shows what it has so far, has no meaning: the
// whole table is there at once.
func runQshape(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{name: "qshape", stdin: stdin, stdout: stdout, stderr: stderr}
	var o qshape.Options
	opts, names, err := getopt(args, "lhc:psw:b:t:m:n:N:")
	if err != nil {
		io.WriteString(stderr, "qshape: "+err.Error()+"\n"+qshapeUsage+"\n")
		return exPerl
	}
	terminal := isTerminal(stdout)
	if terminal {
		o.Top = topDomains
	}
	for _, opt := range opts {
		n, _ := strconv.Atoi(opt.value) // no number is 0, the default, as in the original
		switch opt.c {
		case 'h':
			io.WriteString(stderr, qshapeUsage+"\n")
			return exPerl
		case 'c':
			t.dir = opt.value
		case 's':
			o.Senders = true
		case 'p':
			o.Parents = true
		case 'l':
			o.Linear = true
		case 'w':
			o.Width = n
		case 'b':
			o.Buckets = n
		case 't':
			o.Tick = n
		case 'm':
			o.MinSub = n
		case 'n':
			if terminal {
				o.Top = n
			}
		}
	}
	if err := t.load(); err != nil {
		return t.fatal(exPerl, "%v", err)
	}
	if len(names) == 0 {
		names = []string{"incoming", "active"}
	}
	return t.shape(qshape.New(o, time.Now()), names)
}

// shape counts what is in some queues; a path counts as the queue that it ends with.
func (t *tool) shape(s *qshape.Shape, names []string) int {
	for i := range names {
		names[i] = filepath.Base(names[i])
		if _, ok := queue.FolderNamed(names[i]); !ok && names[i] != "maildrop" {
			t.warn("there is no queue %s", visible(names[i]))
		}
	}
	emit := func(l *queue.Listing) error {
		if !slices.Contains(names, l.Queue) {
			return nil
		}
		rcpts := make([]string, len(l.Rcpts))
		for i := range l.Rcpts {
			rcpts[i] = l.Rcpts[i].Addr
		}
		s.Add(time.Unix(l.Arrived, 0), l.Sender, rcpts)
		return nil
	}
	q, err := queue.Use(t.root())
	if err != nil {
		return t.fatal(exPerl, "%s", proc.ErrText(err))
	}
	defer q.Close()
	if slices.Contains(names, "maildrop") {
		err = queue.ListMaildrop(t.root(), emit)
	}
	if err == nil {
		err = q.List(emit)
	}
	if err != nil {
		return t.fatal(exPerl, "%s", proc.ErrText(err))
	}
	s.Print(t.stdout)
	return 0
}
