package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"packetboat/internal/deliver"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// call is what the command line asks for, whatever the program's name was.
type call struct {
	name     string // of the program, for texts
	lda      bool   // called as dovecot-lda or deliver of Dovecot
	procmail bool
	lmtp     bool     // -z
	share    bool     // --shared: conversations about many mailboxes come over descriptor 3
	user     string   // -d
	named    bool     // -d was given, perhaps with an empty name
	as       string   // --as UID:GID
	inbox    string   // --inbox, or DEFAULT= of procmail
	sender   *string  // -f; nil = as the From_ line says
	orig     string   // -a of dovecot-lda: the original recipient
	final    string   // -r
	folder   string   // -m
	path     string   // -p
	config   string   // -c
	set      []string // -o
	exit     bool     // -e of dovecot-lda: what is refused is not answered by a mail
	account  string   // --account: a dovecot.Account as JSON
	rc       []string // procmail: rc files
}

// parse reads the arguments after the program's name. Dovecot has dovecot-lda
// under the name /usr/lib/dovecot/deliver, too.
func parse(argv0 string, args []string) (*call, error) {
	name := filepath.Base(argv0)
	c := &call{name: name}
	if name == "procmail" {
		return c, c.parseProcmail(args)
	}
	c.lda = name == "dovecot-lda" || filepath.Base(filepath.Dir(argv0)) == "dovecot"
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVarP(&c.lmtp, "lmtp", "z", false, "LMTP on descriptor 3")
	fs.StringVarP(&c.user, "user", "d", "", "whose mail it is")
	fs.StringVar(&c.as, "as", "", "UID:GID of a virtual mailbox")
	fs.StringVar(&c.inbox, "inbox", "", "path of the mailbox")
	fs.BoolVar(&c.share, "shared", false, "many mailboxes, which mtad opens")
	sender := fs.StringP("sender", "f", "", "envelope sender")
	fs.StringVarP(&c.orig, "orig", "a", "", "original recipient")
	fs.StringVarP(&c.final, "final", "r", "", "final recipient")
	fs.StringVarP(&c.folder, "mailbox", "m", "", "folder")
	fs.StringVarP(&c.path, "path", "p", "", "file with the message")
	fs.StringVarP(&c.config, "config", "c", "", "configuration")
	fs.StringArrayVarP(&c.set, "set", "o", nil, "name=value")
	fs.BoolVarP(&c.exit, "exit", "e", false, "what is refused ends in an exit code, not in a mail to the sender")
	fs.StringVar(&c.account, "account", "", "of mrad: whose mail it is, and how it is delivered")
	fs.BoolP("keep", "k", false, "keep the environment: it is never used")
	if err := fs.Parse(args); err != nil {
		if c.lda {
			return nil, ldaUsage(argv0, err)
		}
		return nil, usage(err.Error())
	}
	if fs.NArg() > 0 {
		if c.lda {
			return nil, &failure{code: exUsage, text: "lda: Fatal: Unknown argument: " + fs.Arg(0) + "\n" + ldaArgs, bare: true}
		}
		return nil, usage("unexpected argument " + strconv.Quote(fs.Arg(0)))
	}
	if c.lda && !fs.Changed("user") && os.Geteuid() == 0 {
		return nil, &failure{code: exUsage, text: "lda: Fatal: destination user parameter (-d user) not given", bare: true}
	}
	c.named = fs.Changed("user")
	if fs.Changed("sender") {
		c.sender = sender
	}
	if (c.as == "") != (c.inbox == "") {
		return nil, usage("--as and --inbox belong together")
	}
	return c, nil
}

func usage(text string) error {
	return &failure{code: exTempFail, text: text, hint: "deliver -z | deliver -d USER [-f SENDER]; see deliver(8)"}
}

// parseProcmail reads procmail's command line: options, then variables and rc
// files, or with -d the recipients.
func (c *call) parseProcmail(args []string) error {
	fs := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.SetInterspersed(false)
	deliverTo := fs.BoolP("deliver", "d", false, "the arguments are recipients")
	sender := fs.StringP("from", "f", "", "sender of the From_ line")
	fs.StringArrayP("arg", "a", nil, "$1, $2 ... of an rc file: none is run yet")
	mode := fs.BoolP("filter", "m", false, "general purpose filter")
	for _, flag := range []string{"t", "o", "Y", "p", "v"} {
		fs.BoolP("procmail-"+flag, flag, false, "no effect on a plain delivery")
	}
	if err := fs.Parse(args); err != nil {
		return usage(err.Error())
	}
	if *mode {
		return &failure{code: exTempFail, text: "procmail -m runs an rc file, which this version cannot", hint: "mail stays in the queue; use the default mailbox"}
	}
	if fs.Changed("from") && *sender != "-" {
		c.sender = sender
	}
	c.procmail = true
	for _, arg := range fs.Args() {
		if *deliverTo {
			if c.user != "" {
				return usage("procmail -d takes one recipient at a time")
			}
			c.user = arg
			continue
		}
		if name, value, ok := strings.Cut(arg, "="); ok {
			if name == "DEFAULT" || name == "ORGMAIL" {
				c.inbox = value
			}
			continue
		}
		c.rc = append(c.rc, arg)
	}
	if *deliverTo && c.user == "" {
		return usage("procmail -d wants a recipient")
	}
	return nil
}

// rcFiles refuses to deliver past a user's own rules: this version does not
// run rc files, and mail that ignores them would be in the wrong place.
func (c *call) rcFiles(who *proc.User) error {
	if !c.procmail {
		return nil
	}
	list := c.rc
	if len(list) == 0 {
		list = []string{filepath.Join(who.Home, ".procmailrc")}
	}
	for _, rc := range list {
		st, err := os.Stat(rc)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (rc == os.DevNull || st.Mode().IsRegular() && st.Size() == 0) {
			continue
		}
		return &failure{code: exTempFail, text: rc + ": procmail rc files are not run by this version",
			hint: "mail stays in the queue until the file is moved away or mailbox_command is removed"}
	}
	return nil
}

func (c *call) noUser() error {
	return &failure{code: exNoUser, text: "no such user: " + c.user}
}

// asUser reads UID:GID. Root is nobody's mailbox.
func asUser(s string) (*proc.User, error) {
	u, g, ok := strings.Cut(s, ":")
	uid, err1 := strconv.Atoi(u)
	gid, err2 := strconv.Atoi(g)
	if !ok || err1 != nil || err2 != nil || uid < 0 || gid < 0 {
		return nil, usage("--as wants UID:GID, not " + strconv.Quote(s))
	}
	return &proc.User{Name: u, UID: uid, GID: gid}, nil
}

// options reads main.cf. dovecot-lda has no need of one.
func (c *call) options() (deliver.Options, error) {
	dir := os.Getenv("MAIL_CONFIG")
	if c.config != "" && !c.lda {
		dir = c.config
	}
	var o deliver.Options
	// dovecot-lda and procmail work on a machine without Postfix; so does mrad's
	// LMTP, which names no configuration as mtad does.
	if (c.lda || c.procmail || c.lmtp && dir == "") && noMain(dir) {
		return o, nil
	}
	main, _, err := config.LoadMain(dir)
	if err != nil {
		return o, err
	}
	if c.lmtp { // the options of the service in master.cf that we deliver for
		for _, s := range c.set {
			name, value, _ := strings.Cut(s, "=")
			main = main.With(config.Setting{Name: name, Value: value})
		}
	}
	if err := main.Decode(&o); err != nil {
		return o, err
	}
	if c.lda || c.procmail {
		o.Home, o.Limit = "", 0 // parameters of local(8), not of these programs
	}
	if c.as != "" {
		var v struct {
			Limit int64 `main:"virtual_mailbox_limit"`
		}
		if err := main.Decode(&v); err != nil {
			return o, err
		}
		o.Limit = v.Limit
	}
	return o, nil
}

// noMain tells whether there is no main.cf at all.
func noMain(dir string) bool {
	if dir == "" {
		dir = config.DefaultDir
	}
	_, err := os.Stat(filepath.Join(dir, "main.cf"))
	return errors.Is(err, fs.ErrNotExist)
}

// read takes the message in, before any mailbox is locked.
func (c *call) read(r io.Reader, spool *lmtpd.Spool) (deliver.Message, error) {
	br := bufio.NewReaderSize(r, 32<<10)
	from, date, found := deliver.Input(br)
	if _, err := io.Copy(spool, br); err != nil {
		return deliver.Message{}, fmt.Errorf("reading the message: %w", err)
	}
	if err := spool.End(); err != nil {
		return deliver.Message{}, err
	}
	m := deliver.Message{Body: spool.Reader(), Date: date}
	if found {
		m.Sender = deliver.EnvelopeSender(from)
	}
	if c.sender != nil {
		m.Sender = mail.Address(strings.Trim(*c.sender, "<>"))
		m.ReturnPath = !c.procmail && !c.lda && !found // dovecot-lda leaves it to the MTA
	}
	if !c.procmail && !c.lda && !found {
		m.ReturnPath, m.OrigTo, m.To = true, c.orig, c.final
	}
	return m, nil
}
