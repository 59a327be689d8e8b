// Package logfile chooses where cmd/mrad's lines go: log_path, info_log_path and
// debug_log_path of dovecot.conf, with log_timestamp before them.
package logfile

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/maillog"
)

// Options are the settings of the log.
type Options struct {
	Path      string `dovecot:"log_path"`
	Info      string `dovecot:"info_log_path"`  // of lines that tell no trouble; empty = Path
	Debug     string `dovecot:"debug_log_path"` // of debugging; empty = Info
	Timestamp string `dovecot:"log_timestamp"`  // strftime(3), for files
}

// Files are the open logs. Each may be the same as another.
type Files struct{ Errors, Info, Debug *maillog.Log }

// Open opens the logs. Files are made where they are missing.
func Open(o Options) (Files, error) {
	if o.Info == "" {
		o.Info = o.Path
	}
	if o.Debug == "" {
		o.Debug = o.Info
	}
	open := make(map[string]*maillog.Log)
	get := func(path string) (*maillog.Log, error) {
		if open[path] != nil {
			return open[path], nil
		}
		l, err := maillog.Open(options(path, o.Timestamp))
		if err == nil {
			open[path] = l.Program("")
		}
		return open[path], err
	}
	var f Files
	var err [3]error
	f.Errors, err[0] = get(o.Path)
	f.Info, err[1] = get(o.Info)
	f.Debug, err[2] = get(o.Debug)
	return f, errors.Join(err[:]...)
}

func options(path, stamp string) maillog.Options {
	o := maillog.Options{Name: "dovecot", Bare: true}
	switch path {
	case "", "syslog":
	case "/dev/stderr":
		o.Handle = os.Stderr
	default:
		o.File = path
	}
	if stamp != "" && stamp != "%b %d %H:%M:%S " {
		o.Stamp = func(b []byte, now time.Time) []byte { return AppendTime(b, stamp, now) }
	}
	return o
}

// For returns the log that a line of a role belongs to, by its severity behind the
// first colon: "auth: Error: ...".
func (f Files) For(line string) *maillog.Log {
	_, rest, _ := strings.Cut(line, ": ")
	for _, word := range []string{"Error: ", "Warning: ", "Fatal: ", "Panic: "} {
		if strings.HasPrefix(rest, word) {
			return f.Errors
		}
	}
	if strings.HasPrefix(rest, "Debug: ") {
		return f.Debug
	}
	return f.Info
}

// layouts are the conversions of strftime(3) as package time has them.
var layouts = map[byte]string{'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'c': "Mon Jan _2 15:04:05 2006", 'd': "02", 'D': "01/02/06",
	'e': "_2", 'F': "2006-01-02", 'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'r': "03:04:05 PM", 'R': "15:04", 'S': "05",
	'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST"}

// AppendTime appends now as a format of strftime(3) says, in the C locale. A
// conversion that is none stays as it is.
func AppendTime(b []byte, format string, now time.Time) []byte {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b = append(b, format[i])
			continue
		}
		i++
		switch c := format[i]; {
		case layouts[c] != "":
			b = now.AppendFormat(b, layouts[c])
		case c == 's':
			b = strconv.AppendInt(b, now.Unix(), 10)
		case c == '%':
			b = append(b, '%')
		case c == 'n':
			b = append(b, '\n')
		case c == 't':
			b = append(b, '\t')
		default:
			b = append(b, '%', c)
		}
	}
	return b
}
