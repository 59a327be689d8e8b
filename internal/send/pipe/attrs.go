// Package pipe is the transport pipe(8): it gives messages to commands that
// master.cf names. The engine half (Pipe) writes the message; which command is run,
// and as whom, is decided by the parent, which reads master.cf itself (Attrs).
package pipe

import (
	"fmt"
	"strconv"
	"strings"
)

// Flags are the letters of flags= of pipe(8).
type Flags struct {
	Blank      bool // B: an empty line behind the message
	Delivered  bool // D: Delivered-To:, and the search for a loop
	From       bool // F: a From_ line
	OrigTo     bool // O: X-Original-To:
	ReturnPath bool // R: Return-Path:
	Final      bool // X: this is the final delivery, for reports of success
	FoldHost   bool // h: domains in lower case
	FoldUser   bool // u: local parts in lower case
	Quote      bool // q: local parts quoted as in RFC 822
	Dot        bool // .: lines that begin with "." get another one
	Escape     bool // >: ">" before lines that begin with "From "
}

// Attrs is what a line of master.cf says to pipe(8).
type Attrs struct {
	Flags
	User       string // user=
	Group      string // behind the colon of user=; empty = the user's
	Argv       []string
	Directory  string // working directory; empty = queue_directory
	Chroot     string
	EOL        string // ends lines; never empty
	NullSender string // what $sender is of bounces
	Size       int64  // largest message in octets; 0 = any
}

// Parse reads the arguments of a pipe service; options (-o name=value, -v) are
// skipped. Its errors are those that pipe(8) dies of.
func Parse(args []string) (*Attrs, error) {
	a := &Attrs{EOL: "\n", NullSender: "MAILER-DAEMON"}
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-o":
			i++
			continue
		case strings.HasPrefix(args[i], "-"):
			continue
		}
		name, value, _ := strings.Cut(args[i], "=")
		if strings.EqualFold(name, "argv") {
			a.Argv = append([]string{value}, args[i+1:]...)
			break
		}
		if err := a.set(strings.ToLower(name), value); err != nil {
			return nil, err
		}
	}
	switch {
	case a.User == "":
		return nil, fmt.Errorf("missing user= command-line attribute")
	case len(a.Argv) == 0 || a.Argv[0] == "":
		return nil, fmt.Errorf("missing argv= command-line attribute")
	}
	return a, nil
}

// set takes one attribute.
func (a *Attrs) set(name, value string) (err error) {
	switch name {
	case "flags":
		return a.flags(value)
	case "user":
		a.User, a.Group, _ = strings.Cut(value, ":")
	case "directory":
		a.Directory = value
	case "chroot":
		a.Chroot = value
	case "eol":
		a.EOL = unescape(value)
		if a.EOL == "" {
			a.EOL = "\n"
		}
	case "null_sender":
		a.NullSender = value
	case "size":
		if a.Size, err = strconv.ParseInt(value, 10, 64); err != nil || a.Size < 0 {
			return fmt.Errorf("bad size= value: %s", value)
		}
	default:
		return fmt.Errorf("unknown attribute name: %s=%s", name, value)
	}
	return nil
}

func (a *Attrs) flags(letters string) error {
	f := &a.Flags
	known := map[rune]*bool{'B': &f.Blank, 'D': &f.Delivered, 'F': &f.From, 'O': &f.OrigTo, 'R': &f.ReturnPath, 'X': &f.Final,
		'h': &f.FoldHost, 'u': &f.FoldUser, 'q': &f.Quote, '.': &f.Dot, '>': &f.Escape}
	for _, c := range letters {
		set := known[c]
		if set == nil {
			return fmt.Errorf("unknown flag: %c (ignored)", c)
		}
		*set = true
	}
	return nil
}

// unescape replaces the escapes of eol= by what they stand for, as unescape(3)
// of Postfix does: \a \b \f \n \r \t \v \ddd (octal) and \\.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if n := octal(s[i:]); n > 0 {
			v, _ := strconv.ParseUint(s[i:i+n], 8, 16)
			b.WriteByte(byte(v))
			i += n - 1
			continue
		}
		if k := strings.IndexByte("abfnrtv", s[i]); k >= 0 {
			b.WriteByte("\a\b\f\n\r\t\v"[k])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// octal returns how many octal digits s begins with, three at most.
func octal(s string) (n int) {
	for n < len(s) && n < 3 && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	return n
}
