// Postdrop is the one set-id program of the house: set-gid to the group that may
// write into maildrop. It reads one message as sendmail hands it over (package
// maildrop tells the format), checks it, and leaves it as maildrop/ID, owned by
// the caller. Nothing in argv, the environment, the open files or the input
// decides where it writes: only main.cf does, in a folder the administrator named.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"packetboat/internal/sys/config"
)

const maxRecord = 64 << 10                         // octets of data in one record
const statusBad, statusWrite, statusSize = 1, 2, 4 // exit codes, bits of Postfix's cleanup_user(3)
var errBad, errCancelled = errors.New("malformed input"), errors.New("sendmail went away")

func main() {
	// A panic of a set-id program prints nothing of the process.
	debug.SetTraceback("none")
	defer func() {
		if recover() != nil {
			os.Exit(statusWrite)
		}
	}()
	// The end of the input stops us, also when sendmail dies; signals do not.
	signal.Ignore()
	syscall.Umask(0o022)
	limit, err := prepare()
	if err == nil {
		err = receive(limit)
	}
	os.Exit(report(err))
}

// prepare goes to the queue directory and returns message_size_limit.
func prepare() (limit int64, err error) {
	conf, err := configuration(os.Getenv("MAIL_CONFIG"))
	if os.Clearenv(); err == nil {
		err = errors.Join(conf.MayUser("authorized_submit_users", os.Getuid()), os.Chdir(conf.Get("queue_directory")))
	}
	if err != nil {
		return 0, err
	}
	limit, err1 := strconv.ParseInt(conf.Get("message_size_limit"), 10, 64)
	want, err2 := strconv.ParseInt(conf.Get("queue_minfree"), 10, 64)
	var st syscall.Statfs_t
	err = errors.Join(err1, err2, syscall.Statfs("maildrop", &st))
	if free := int64(st.Bavail) * int64(st.Bsize); err == nil && free < want {
		err = fmt.Errorf("%d octets free, queue_minfree is %d", free, want)
	}
	return limit, err
}

// configuration loads the main.cf of dir, or the system's for "". Set-gid and
// not called by root, it takes only folders that the system's main.cf lists.
func configuration(dir string) (*config.Main, error) {
	conf, _, err := config.LoadMain("")
	if dir = strings.TrimRight(dir, "/"); dir == "" || dir == config.DefaultDir {
		return conf, err
	}
	own := os.Getuid() == 0 || os.Getgid() == os.Getegid() && os.Getuid() == os.Geteuid()
	if !own && (err != nil || !slices.Contains(config.Fields(conf.Get("alternate_config_directories")+
		" "+conf.Get("multi_instance_directories")), dir)) {
		return nil, fmt.Errorf("unauthorized configuration directory name: %q", dir)
	}
	conf, _, err = config.LoadMain(dir)
	return conf, err
}

// receive reads the message, tells sendmail its id, and makes the file.
func receive(limit int64) error {
	now := time.Now()
	name := fmt.Sprintf("maildrop/tmp.%d.%d", os.Getpid(), now.UnixNano())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { os.Remove(name) }() // after success no file has this name any more
	var st syscall.Stat_t
	if err = syscall.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	id := fmt.Sprintf("%05X%X", now.Nanosecond()/1000, st.Ino)
	fmt.Print("protocol\x00postdrop_protocol\x00queue_id\x00" + id + "\x00\x00")
	in, out := bufio.NewReaderSize(os.Stdin, maxRecord+8), bufio.NewWriterSize(f, 32<<10)
	stamp := fmt.Sprintf("%d %d", now.Unix(), now.Nanosecond()/1000) // never the caller's
	fmt.Fprintf(out, "T%c%s", len(stamp), stamp)
	err = copyRecords(in, out, limit)
	if err = errors.Join(err, out.Flush()); err != nil {
		io.Copy(io.Discard, in) // sendmail would die of SIGPIPE before it reads our answer
		return err
	}
	if err = os.Rename(name, "maildrop/"+id); err == nil {
		if err = finish(f); err != nil {
			name = "maildrop/" + id
		}
	}
	return err
}

// finish shows the file to pickup and makes it durable: the flush carries name
// and mode, too. The folder is flushed where its mode lets us open it.
func finish(f *os.File) error {
	if err := errors.Join(f.Chmod(0o744), f.Sync(), f.Close()); err != nil {
		return err
	}
	// Postfix's pickup(8) sleeps until it is told; ours watches the folder.
	if c, err := net.DialTimeout("unix", "public/pickup", time.Second); err == nil {
		c.Write([]byte("W"))
	}
	if d, err := os.Open("maildrop"); err == nil {
		return d.Sync()
	}
	return nil
}

// report tells sendmail the status and returns it as the exit code.
func report(err error) (status int) {
	text := fmt.Sprintf("warning: uid=%d: %s", os.Getuid(), strings.ReplaceAll(fmt.Sprint(err), "\n", "; "))
	switch status = statusWrite; {
	case errors.Is(err, errCancelled):
		return 0
	case err == nil:
		status = 0
	case errors.Is(err, errBad):
		status = statusBad
	case errors.Is(err, config.ErrUser):
		status, text = statusBad, "fatal: "+err.Error()
	case errors.Is(err, syscall.EFBIG):
		status, text = statusSize, fmt.Sprintf("warning: uid=%d: File too large", os.Getuid())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "postdrop: %s\n", text)
	}
	fmt.Printf("status\x00%d\x00reason\x00\x00\x00", status)
	return status
}

// copyRecords copies records until the one that ends the last segment.
func copyRecords(in *bufio.Reader, out *bufio.Writer, limit int64) error {
	segments := []string{"MFSRVA", "XLN", "ERA"} // what may stand there; the first ends the segment
	attributes := strings.Fields("dsn_orig_rcpt encoding envelope_id notify_flags ret_flags rewrite_context trace_flags")
	count := map[byte]int{}
	for part, total := 0, int64(0); part < len(segments); {
		raw, data, err := next(in)
		if err != nil {
			return err
		}
		kind := raw[0]
		attr, _, _ := strings.Cut(string(data[:min(len(data), 20)]), "=")
		switch count[kind]++; {
		case strings.IndexByte(segments[part], kind) < 0, kind == 'A' && !slices.Contains(attributes, attr):
			return fmt.Errorf("%w: unexpected record type: %d", errBad, kind)
		case kind == segments[part][0]:
			part++
		}
		if total += int64(len(raw)); limit > 0 && total > limit {
			return syscall.EFBIG
		}
		out.Write(raw) // an error stays until Flush
	}
	if count['S'] != 1 || count['R'] == 0 {
		return errBad
	}
	return nil
}

// next returns a whole record, and the data in it: a byte of type, the length
// in groups of seven bits, the data. Both hold until the next call.
func next(in *bufio.Reader) (raw, data []byte, err error) {
	size, n := 1, 0
	for b := byte(0x80); b >= 0x80; size++ {
		if raw, err = in.Peek(size + 1); err != nil {
			return nil, nil, errCancelled
		}
		b = raw[size]
		if n |= int(b&0x7f) << (7 * (size - 1)); size > 3 || n > maxRecord {
			return nil, nil, errBad
		}
	}
	if raw, err = in.Peek(size + n); err != nil {
		return nil, nil, errCancelled
	}
	in.Discard(size + n)
	return raw, raw[size:], nil
}
