// Deliver puts mail into the mailbox of one user, and runs as that user. It is
// also procmail and dovecot-lda, by the name it is called with:
//
//	deliver -z [-d USER | --as UID:GID --inbox PATH]   LMTP on descriptor 3
//	deliver -z --shared                                many conversations; mailboxes come with them
//	deliver -d USER [-f SENDER] [-a ORIGINAL]          one message on standard input
//	procmail [-f SENDER] [-a ARG] -d USER ...
//	dovecot-lda -d USER [-f SENDER] [-a ORIGINAL] [-m FOLDER] [-p FILE] [-o name=value] [-e] [-c FILE]
//
// Exit codes are those of sysexits.h that Postfix's pipe(8) and local(8) know:
// 0 delivered, 75 try again, 67 no such user, 73 cannot be created, 77 not allowed.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"

	"packetboat/internal/deliver"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

// Exit codes of sysexits.h.
const (
	exOK         = 0
	exUsage      = 64
	exNoUser     = 67
	exCantCreate = 73
	exTempFail   = 75
	exNoPerm     = 77
)

// gcPercent keeps a process small that waits for mail: garbage is collected early.
// mtad says the same in the environment, which costs nothing.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	proc.NoTrace()
	os.Exit(run(os.Args, os.Stdin, os.Stderr))
}

// run is the program without its surroundings.
func run(argv []string, stdin io.Reader, stderr io.Writer) (code int) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintln(stderr, "error: internal error") // what is in hand stays in the sender's queue
			code = exTempFail
		}
	}()
	c, err := parse(argv[0], argv[1:])
	if err == nil {
		err = c.run(stdin)
	}
	if err == nil {
		return exOK
	}
	return report(stderr, err)
}

// failure is an error with its exit code and what to do about it.
type failure struct {
	code int
	text string
	hint string
	bare bool // text is in the words of the program whose name we have
}

func (f *failure) Error() string { return f.text }

// report prints err and returns its exit code.
func report(w io.Writer, err error) int {
	f := &failure{code: exTempFail, text: err.Error()}
	errors.As(err, &f)
	if f.bare {
		fmt.Fprintln(w, f.text)
		return f.code
	}
	fmt.Fprintf(w, "error: %s\n", f.text)
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
	return f.code
}

// run becomes the user before anything is read, and delivers.
func (c *call) run(stdin io.Reader) error {
	if c.lda {
		return c.runLDA(stdin)
	}
	if c.lmtp && c.share {
		return c.shared()
	}
	who, err := c.become()
	if err != nil {
		return err
	}
	if c.lmtp {
		return c.serve(who)
	}
	return c.one(who, stdin)
}

// become takes the identity that the arguments ask for, for ever.
func (c *call) become() (*proc.User, error) {
	switch {
	case c.as != "":
		u, err := asUser(c.as)
		if err != nil {
			return nil, err
		}
		return u, allowed(proc.Become(u, 0))
	case c.user == "":
		u, err := proc.LookupUID(os.Geteuid())
		if err != nil {
			return nil, fmt.Errorf("who runs this? uid %d: %w", os.Geteuid(), err)
		}
		return u, nil
	}
	u, err := proc.LookupUser(c.user)
	if errors.Is(err, proc.ErrNoUser) {
		return nil, c.noUser()
	}
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 && os.Geteuid() == u.UID {
		return u, nil // mtad's parent has started us so
	}
	group, err := proc.LookupGroup("mail")
	if err != nil {
		group = 0 // no such group: /var/mail must be writable otherwise
	}
	return u, allowed(proc.Become(u, group))
}

func allowed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: exNoPerm, text: err.Error(), hint: "only root delivers to other accounts"}
}

// serve is deliver -z: one conversation on descriptor 3, until it ends.
func (c *call) serve(who *proc.User) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	f := os.NewFile(3, "descriptor 3")
	conn, err := net.FileConn(f)
	if err != nil {
		return &failure{code: exNoPerm, text: "descriptor 3 is no socket", hint: "deliver -z is started by mtad"}
	}
	f.Close()
	if c.account != "" {
		return c.serveAccount(conn, who, o)
	}
	a := deliver.Account{User: who.Name, UID: who.UID, Home: who.Home, Inbox: c.inbox}
	return lmtpd.Serve(conn, lmtpd.Options{Host: o.Host, Raw: true}, deliver.NewLMTP(o, deliver.Everyone(a), nil))
}

// one delivers the message on standard input.
func (c *call) one(who *proc.User, stdin io.Reader) error {
	if err := c.rcFiles(who); err != nil {
		return err
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	spool := &lmtpd.Spool{}
	defer spool.Close()
	m, err := c.read(stdin, spool)
	if err != nil {
		return err
	}
	a := deliver.Account{User: who.Name, UID: who.UID, Home: who.Home, Inbox: c.inbox}
	return exit(deliver.New(o, a).Deliver([]deliver.Message{m}, nil)[0])
}

// exit makes the exit code of an answer.
func exit(st *mail.Status) error {
	code := exTempFail
	switch {
	case st.Outcome == mail.Sent:
		return nil
	case st.Outcome == mail.Deferred:
	case len(st.Code) > 3 && st.Code[:3] == "5.7":
		code = exNoPerm
	default:
		code = exCantCreate
	}
	return &failure{code: code, text: st.Text}
}
