package maillog

import (
	"os"
	"strconv"
	"strings"
)

// Tagged returns a voice with a tag of the caller's own, for postlog(1): the
// tag is "tag[pid]". Control characters in it become "?".
func (l *Logger) Tagged(tag string) *Log {
	tag = string(Printable([]byte(tag), 0, maxTag))
	return &Log{l, tag + "[" + strconv.Itoa(os.Getpid()) + "]: "}
}

// maxTag is the longest tag in bytes.
const maxTag = 128

// Posted writes one line of postlog(1) at a priority of that command: info,
// warn, warning, error, err, fatal, crit, panic. It returns false for another.
func (g *Log) Posted(priority, text string) bool {
	switch strings.ToLower(priority) {
	case "info":
		g.Info("%s", text)
	case "warn", "warning":
		g.Warn("%s", text)
	case "error", "err":
		g.Error("%s", text)
	case "fatal", "crit":
		g.Fatal("%s", text)
	case "panic":
		g.write(sevErr, "panic: ", "%s", []any{text})
	default:
		return false
	}
	return true
}
