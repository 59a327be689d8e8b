//go:build cgo

// Pamcheck asks PAM whether a password is right. It is the one program of the
// house that is linked against C code, so that the code of PAM modules never
// shares a process with anything else. mrad's auth process starts it as root,
// once for each question.
//
// Standard input is service, user, remote address and password, each followed by a NUL
// byte. The answer is one line on standard output: "ok USER", with the name as
// PAM has it afterwards, or "fail STEP CODE TEXT". Any exit code but 0 means
// that there is no answer.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/msteinert/pam/v2"
)

// maxInput bounds the question in bytes.
const maxInput = 64 << 10

func main() {
	in, err := io.ReadAll(io.LimitReader(os.Stdin, maxInput))
	if err != nil {
		fail(err)
	}
	f := bytes.Split(in, []byte{0})
	if len(f) != 5 || len(f[4]) != 0 || len(f[0]) == 0 || len(f[1]) == 0 || len(f[3]) == 0 {
		fail(errors.New("malformed question"))
	}
	q := question{string(f[0]), string(f[1]), string(f[2]), string(f[3])}
	if strings.ContainsAny(q.service, "/.") {
		fail(errors.New("malformed service name"))
	}
	answer, err := q.ask()
	if err != nil {
		fail(err)
	}
	fmt.Println(answer)
}

// fail ends without an answer.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "pamcheck:", err)
	os.Exit(1)
}

// question is one password to be checked.
type question struct{ service, user, rip, password string }

// ask runs the two steps that decide: is it the password, and may the account
// be used. No session is opened: mail processes are none of PAM's.
func (q question) ask() (string, error) {
	t, err := pam.StartFunc(q.service, q.user, q.converse)
	if err != nil {
		return "", err
	}
	defer t.End()
	if q.rip != "" {
		t.SetItem(pam.Rhost, q.rip) // pam_access and the log use it
	}
	t.SetItem(pam.Tty, "dovecot")
	if err := t.Authenticate(pam.Silent | pam.DisallowNullAuthtok); err != nil {
		return refusal("pam_authenticate", err)
	}
	if err := t.AcctMgmt(pam.Silent | pam.DisallowNullAuthtok); err != nil {
		return refusal("pam_acct_mgmt", err)
	}
	user, err := t.GetItem(pam.User)
	if err != nil || strings.ContainsAny(user, "\r\n") {
		user = q.user
	}
	return "ok " + user, nil
}

// converse answers what a module asks: the password where it must not be
// shown, the name where it may; texts are dropped.
func (q question) converse(style pam.Style, _ string) (string, error) {
	switch style {
	case pam.PromptEchoOff:
		return q.password, nil
	case pam.PromptEchoOn:
		return q.user, nil
	case pam.ErrorMsg, pam.TextInfo:
		return "", nil
	}
	return "", errors.New("unknown kind of question")
}

// refusal writes PAM's return value and text.
func refusal(step string, err error) (string, error) {
	var e pam.Error
	if !errors.As(err, &e) {
		return "", fmt.Errorf("%s: %w", step, err)
	}
	return fmt.Sprintf("fail %s %d %s", step, int(e), strings.NewReplacer("\n", " ", "\r", " ").Replace(e.Error())), nil
}
