package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/queue"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

const postsuperUsage = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id (expire and/or un-hold)] " +
	"[-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] " +
	"[-S (redundant structure fix)][-v (verbose)] [queue...]"

// super is one run of postsuper(1).
type super struct {
	tool
	q       *queue.Queue
	log     *maillog.Log
	folders []queue.Folder
	deed    map[byte]*deed
	touched []string // ids that the scheduler must look at
	all     bool     // too many to name: it must look at all
}

// deed is one kind of work: what it is called, how it is done, how often it was.
type deed struct {
	one, sum string
	do       func(q *queue.Queue, id string) (bool, error)
	from     []queue.Folder // where it makes sense
	n        int
	asked    bool
}

// sumOrder is the order of the last lines, as postsuper(1) prints them.
const sumOrder = "redhH"

func newDeeds() map[byte]*deed {
	mail := []queue.Folder{queue.Incoming, queue.Active, queue.Deferred}
	all := append(mail[:3:3], queue.Hold)
	return map[byte]*deed{
		'd': {one: "removed", sum: "Deleted", do: (*queue.Queue).Delete, from: all},
		'h': {one: "placed on hold", sum: "Placed on hold", do: (*queue.Queue).Hold, from: mail},
		'H': {one: "released from hold", sum: "Released from hold", do: (*queue.Queue).Release, from: []queue.Folder{queue.Hold}},
		'r': {one: "requeued", sum: "Requeued", do: (*queue.Queue).Requeue, from: all},
		'e': {one: "expired", sum: "Force-expired", do: (*queue.Queue).Expire, from: all},
	}
}

// runPostsuper is postsuper(1). Root becomes the queue's owner before it touches
// the folders, which a broken daemon could have filled with links.
func runPostsuper(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return postsuper(args, stdin, stdout, stderr, func(uid int) error {
		u, err := proc.LookupUID(uid)
		if err != nil {
			return err
		}
		return proc.Become(u, u.GID)
	})
}

func postsuper(args []string, stdin io.Reader, stdout, stderr io.Writer, become func(uid int) error) int {
	s := &super{tool: tool{name: "postsuper", stdin: stdin, stdout: stdout, stderr: stderr}, deed: newDeeds()}
	opts, names, err := getopt(args, "c:d:e:f:h:H:pr:sSv")
	if err != nil {
		fmt.Fprintf(stderr, "postsuper: %v\n", err)
		return s.fatal(1, postsuperUsage)
	}
	for _, o := range opts {
		if o.c == 'c' {
			s.dir = o.value
		}
	}
	if err := s.load(); err != nil {
		return s.fatal(1, "%v", err)
	}
	if code := s.open(names, become); code != 0 {
		return code
	}
	defer s.q.Close()
	code := s.run(opts)
	s.tellScheduler()
	return code
}

// open checks who calls and opens log and queue.
func (s *super) open(names []string, become func(uid int) error) int {
	owner, err := disk.StatPath(filepath.Join(s.root(), queue.Incoming.String()))
	me := os.Geteuid()
	if me != 0 && (err != nil || owner.UID != me) {
		return s.fatal(1, "use of this command is reserved for the superuser")
	}
	if err != nil {
		return s.fatal(1, "open queue: %s", proc.ErrText(err))
	}
	l, err := maillog.Open(maillog.Options{File: s.main.Get("maillog_file"), Name: s.main.Get("syslog_name"), Facility: s.main.Get("syslog_facility")})
	if err == nil {
		s.log = l.Program("postsuper")
	}
	if me == 0 && owner.UID != 0 {
		if err := become(owner.UID); err != nil {
			return s.fatal(1, "become the owner of the queue: %v", err)
		}
	}
	if s.q, err = queue.Use(s.root()); err != nil {
		return s.fatal(1, "open queue: %s", proc.ErrText(err))
	}
	return s.choose(names)
}

// choose takes the queue names behind the options; without any, all are meant.
func (s *super) choose(names []string) int {
	s.folders = []queue.Folder{queue.Incoming, queue.Active, queue.Deferred, queue.Hold}
	if len(names) > 0 {
		s.folders = nil
	}
	for _, n := range names {
		f, ok := queue.FolderNamed(n)
		if !ok && n != "maildrop" {
			return s.fatal(1, "invalid directory name: %s", n)
		}
		if ok {
			s.folders = append(s.folders, f)
		}
	}
	return 0
}

// run does what the options say, in their order, and prints the sums.
func (s *super) run(opts []option) int {
	work := false
	for _, o := range opts {
		var err error
		switch o.c {
		case 'd', 'h', 'H', 'r', 'e':
			err = s.each(o, o.c)
		case 'f':
			if err = s.each(o, 'e'); err == nil && o.value != "-" {
				err = s.each(o, 'H')
			}
		case 'p':
			err = s.q.PurgeTemps()
		case 's', 'S':
			err = s.structure()
		default:
			continue
		}
		work = true
		if err != nil {
			return s.fatal(1, "%v", err)
		}
	}
	if !work {
		if err := s.structure(); err != nil {
			return s.fatal(1, "%v", err)
		}
	}
	s.sums()
	return 0
}

// structure renames copied files and purges, the default work of postsuper(1).
func (s *super) structure() error {
	r := &queue.Recovered{}
	if err := s.q.Rename(r); err != nil {
		return err
	}
	for _, n := range r.Renamed {
		s.tell(n[0] + ": renamed to " + n[1])
		s.touched = append(s.touched, n[0], n[1])
	}
	if len(r.Renamed) > 0 {
		s.tell(fmt.Sprintf("Renamed to match inode number: %d message%s", len(r.Renamed), plural(len(r.Renamed))))
	}
	return s.q.PurgeTemps()
}

// each works on one id, on those of standard input, or on ALL.
func (s *super) each(o option, kind byte) error {
	d := s.deed[kind]
	d.asked = true
	switch o.value {
	case "ALL":
		return s.everyone(d)
	case "-":
		sc := bufio.NewScanner(s.stdin)
		for sc.Scan() {
			id := strings.TrimSpace(sc.Text())
			err := s.one(d, id)
			if err == nil && o.c == 'f' {
				s.deed['H'].asked = true
				err = s.one(s.deed['H'], id)
			}
			if err != nil {
				return err
			}
		}
		return sc.Err()
	}
	return s.one(d, o.value)
}

// one works on one message; the named folders must hold it.
func (s *super) one(d *deed, id string) error {
	if !plausible(id) {
		s.warning("invalid mail queue id: " + id)
		return nil
	}
	where, there := s.q.Find(id)
	if !there || !holds(s.folders, where) {
		return nil
	}
	ok, err := d.do(s.q, id)
	if ok {
		d.n++
		s.touch(id)
		s.tell(id + ": " + d.one)
	}
	return err
}

// plausible is Postfix's test of an id: letters and digits only.
func plausible(id string) bool {
	for i := 0; i < len(id); i++ {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return id != ""
}

// everyone works on all messages of the chosen folders. Names are gathered first:
// what is moved must not be met again.
func (s *super) everyone(d *deed) error {
	for _, f := range s.folders {
		if !holds(d.from, f) {
			continue
		}
		var ids []string
		if err := s.q.IDs(f, func(id string) error { ids = append(ids, id); return nil }); err != nil {
			return err
		}
		for _, id := range ids {
			ok, err := d.do(s.q, id)
			if err != nil {
				return err
			}
			if ok {
				d.n++
				s.touch(id)
			}
		}
	}
	return nil
}

func holds(list []queue.Folder, f queue.Folder) bool {
	for _, l := range list {
		if l == f {
			return true
		}
	}
	return false
}

// manyTouched is from how many ids on the scheduler looks at all messages.
const manyTouched = 5000

// touch notes that the scheduler must look at a message.
func (s *super) touch(id string) {
	if len(s.touched) >= manyTouched {
		s.all = true
		return
	}
	s.touched = append(s.touched, id)
}

// tellScheduler makes mtad look at what we moved; when it is down it will look at
// everything at its start.
func (s *super) tellScheduler() {
	cmds := []string{"A"}
	if !s.all {
		cmds = cmds[:0]
		for _, id := range s.touched {
			cmds = append(cmds, "C "+id)
		}
	}
	if len(cmds) > 0 {
		control(s.root(), cmds)
	}
}

// sums prints how many messages each deed was done to.
func (s *super) sums() {
	for i := 0; i < len(sumOrder); i++ {
		if d := s.deed[sumOrder[i]]; d.asked {
			s.tell(fmt.Sprintf("%s: %d message%s", d.sum, d.n, plural(d.n)))
		}
	}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// tell writes to the terminal and to the log.
func (s *super) tell(text string) {
	fmt.Fprintf(s.stderr, "postsuper: %s\n", text)
	s.log.Superuser(text)
}

func (s *super) warning(text string) {
	s.warn("%s", visible(text))
	s.log.Warn("%s", text)
}
