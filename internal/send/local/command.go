package local

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/sys/proc"
)

// commandChars is command_expansion_filter of postconf(5): what may stand in an
// environment variable of a command.
const commandChars = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// plainChars are the bytes of a command that needs no shell.
const plainChars = "1234567890!@%-_=+:,./ \tabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// maxOutput bounds what of a command's output is told, in bytes.
const maxOutput = 4096

// command runs a command with the message on its standard input.
func (d *delivery) command(t *alias.Dest, via Via) mail.Result {
	if d.job.Env.VerifyOnly {
		return d.result(mail.OK("2.0.0", "delivers to command: %s", t.Text))
	}
	env, err := d.environment(t)
	if err != nil {
		return d.result(mail.Defer("4.3.0", "%v", err))
	}
	content, err := d.job.Open()
	if err != nil {
		return d.result(mail.Defer("4.3.0", "cannot read the message: %v", err))
	}
	defer content.Close()
	c := Command{Via: via, Query: t.Query(d.l.o.Expander.Delimiter), Argv: Argv(t.Text, d.l.o.CommandShell), Env: env,
		Input: Input{Head: d.head(t), Content: content}, Timeout: d.l.o.CommandTime}
	if via == ViaForward {
		c.Query = t.Listed
	}
	began := time.Now()
	exit, output, err := d.l.start.Command(d.ctx, Who{User: t.Account}, c)
	res := d.result(ExitStatus(t.Text, exit, output, err))
	res.Send = time.Since(began)
	return res
}

// listedBy tells what names the command of a destination.
func listedBy(t *alias.Dest) Via {
	if t.Listed.User != "" {
		return ViaForward
	}
	return ViaAlias
}

// Argv makes the words of a command of an alias; shell is local_command_shell.
// Without characters of the shell it is started directly, as exec_command(3) does.
func Argv(command, shell string) []string {
	if shell != "" {
		return append(strings.Fields(shell), command)
	}
	if words := strings.Fields(command); len(words) > 0 && onlyOf(command, plainChars) {
		return words
	}
	return []string{"sh", "-c", command}
}

func onlyOf(s, chars string) bool {
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(chars, s[i]) < 0 {
			return false
		}
	}
	return true
}

// environment is what local(8) gives to commands; the values that strangers
// choose hold harmless characters only.
func (d *delivery) environment(t *alias.Dest) ([]string, error) {
	env := []string{"PATH=/usr/bin:/bin"}
	set := func(name, value string) {
		env = append(env, name+"="+alias.Safe(value, d.l.o.CommandChars))
	}
	var u *proc.User
	if t.Account != "" {
		var err error
		if u, err = d.l.o.LookupUser(t.Account); err != nil {
			return nil, fmt.Errorf("account %s: %w", t.Account, err)
		}
		set("HOME", u.Home)
	}
	set("LOGNAME", t.User)
	set("USER", t.User)
	set("SENDER", string(d.sender(t)))
	set("RECIPIENT", string(t.Addr))
	set("LOCAL", t.Local)
	if u != nil {
		set("SHELL", u.Shell)
	}
	set("DOMAIN", t.Addr.Domain())
	if t.Ext != "" {
		set("EXTENSION", t.Ext)
	}
	set("ORIGINAL_RECIPIENT", string(d.orig()))
	d.client(set)
	return append(env, environ(d.l.o.Export)...), nil
}

// client tells who handed the message over.
func (d *delivery) client(set func(name, value string)) {
	p := d.job.Env.Peer
	if !p.Addr.IsValid() {
		return
	}
	for _, v := range [...][2]string{{"CLIENT_HOSTNAME", p.Name}, {"CLIENT_ADDRESS", p.Addr.String()}, {"CLIENT_HELO", p.Helo},
		{"CLIENT_PROTOCOL", p.Proto}, {"SASL_METHOD", p.SASL}, {"SASL_SENDER", p.SASLFrom}, {"SASL_USERNAME", p.User}} {
		if v[1] != "" {
			set(v[0], v[1])
		}
	}
}

// head is what stands before the message on a command's input.
func (d *delivery) head(t *alias.Dest) []byte {
	var b bytes.Buffer
	sender := d.sender(t)
	from := sender.Quoted()
	if from == "" {
		from = "MAILER-DAEMON"
	}
	fmt.Fprintf(&b, "From %s  %s\n", oneWord(from), time.Now().Format(time.ANSIC))
	fmt.Fprintf(&b, "Return-Path: <%s>\n", oneLine(sender.Quoted()))
	fmt.Fprintf(&b, "X-Original-To: %s\n", oneLine(d.orig().Quoted()))
	if contains(d.l.o.PrependHeaders, "command") {
		fmt.Fprintf(&b, "Delivered-To: %s\n", oneLine(t.Delivered.Fold().Quoted()))
	}
	return b.Bytes()
}

// oneLine takes control characters out of what becomes a header.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, s)
}

// oneWord also takes out the blanks, for the From_ line.
func oneWord(s string) string { return strings.ReplaceAll(oneLine(s), " ", "_") }

// file appends to a file that an alias names, or delivers to its maildir.
func (d *delivery) file(t *alias.Dest) mail.Result {
	if d.job.Env.VerifyOnly {
		return d.result(mail.OK("2.0.0", "delivers to file: %s", t.Text))
	}
	text := "delivered to file: " + t.Text
	if strings.HasSuffix(t.Text, "/") {
		text = "delivered to maildir"
	}
	res := d.send(Who{User: t.Account, Mailbox: t.Text, Listed: t.Listed}, t, text)
	if res.Status.Outcome == mail.Sent {
		res.Status = mail.OK(res.Status.Code, "%s", text)
	}
	return res
}

// exitCode is one line of sysexits.h, with Postfix's text (sys_exits(3)).
type exitCode struct{ code, text string }

// exits begins with EX_USAGE (64).
func exits() []exitCode {
	return []exitCode{
		{"5.3.0", "command line usage error"},
		{"5.6.0", "data format error"},
		{"5.3.0", "cannot open input"},
		{"5.1.1", "user unknown"},
		{"5.1.2", "host name unknown"},
		{"5.3.0", "service unavailable"},
		{"5.3.0", "internal software error"},
		{"4.3.0", "system resource problem"},
		{"5.3.0", "critical OS file missing"},
		{"5.2.0", "can't create user output file"},
		{"5.3.0", "input/output error"},
		{"4.3.0", "temporary failure"},
		{"5.5.0", "remote error in protocol"},
		{"5.7.0", "permission denied"},
		{"5.3.5", "local configuration error"},
	}
}

// firstExit is EX_USAGE, the first of exits.
const firstExit = 64

// ExitStatus makes a status of a command's end, in the words of pipe_command(3).
// An output that begins with an enhanced code of a failure says what became of the
// message; exit codes from 64 mean what sysexits.h says.
func ExitStatus(command string, exit int, output string, err error) *mail.Status {
	output = Tidy(output)
	said := ""
	if output != "" {
		said = ". Command output: " + output
	}
	switch {
	case errors.Is(err, ErrLate):
		return mail.Bounce("5.3.0", "Command time limit exceeded: \"%s\"%s", command, said)
	case err != nil:
		return mail.Defer("4.3.0", "%v", err)
	case exit == 0:
		return mail.OK("2.0.0", "delivered to command: %s", command)
	}
	if code, text, _ := strings.Cut(output, " "); isStatus(code) {
		if code[0] == '2' { // a failure that calls itself a success
			return failure("5.0.0", text)
		}
		return failure(code, text)
	}
	if n := exit - firstExit; n >= 0 && n < len(exits()) {
		e := exits()[n]
		return failure(e.code, e.text+said)
	}
	if exit < 0 {
		// Someone killed it: the machine goes down, or a limit was hit.
		return mail.Defer("4.3.0", "Command died with signal %d: \"%s\"%s", -exit, command, said)
	}
	return mail.Bounce("5.3.0", "Command died with status %d: \"%s\"%s", exit, command, said)
}

// failure makes a status of a failure's code.
func failure(code, text string) *mail.Status {
	if code[0] == '4' {
		return mail.Defer(code, "%s", text)
	}
	return mail.Bounce(code, "%s", text)
}

// Tidy makes one line of a command's output: line ends become blanks, and what
// cannot be printed "_", as in Postfix's log.
func Tidy(s string) string {
	if len(s) > maxOutput {
		s = s[:maxOutput]
	}
	b := make([]byte, 0, len(s))
	for i, n := 0, 0; i < len(s); i += n {
		var c rune
		c, n = utf8.DecodeRuneInString(s[i:])
		switch {
		case c == '\n':
			b = append(b, ' ')
		case c < ' ' || c == 0x7f || c == utf8.RuneError && n == 1:
			b = append(b, '_')
		default:
			b = append(b, s[i:i+n]...)
		}
	}
	return string(b)
}

// isStatus is isCode for successes, too.
func isStatus(s string) bool {
	return isCode(s) || s != "" && s[0] == '2' && isCode("5"+s[1:])
}

// isCode tells whether s is the enhanced code of a failure (RFC 3463).
func isCode(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || !onlyOf(p, "0123456789") {
			return false
		}
	}
	return true
}

func contains(list []string, word string) bool {
	for _, s := range list {
		if strings.EqualFold(s, word) {
			return true
		}
	}
	return false
}
