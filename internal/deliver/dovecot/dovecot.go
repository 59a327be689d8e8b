// Package dovecot delivers mail as Dovecot's LDA and LMTP server do: into the inbox
// or a folder of one user's mail_location, which is made if the configuration says
// so, and held to the user's quota. cmd/deliver runs it as that user, for mrad's
// LMTP service and as dovecot-lda.
package dovecot

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"packetboat/internal/deliver"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/store/quota"
	"packetboat/internal/sys/script"
)

// Options are the settings of a delivery. The zero value delivers to the inbox.
type Options struct {
	Autocreate    bool   `dovecot:"lda_mailbox_autocreate"`
	Autosubscribe bool   `dovecot:"lda_mailbox_autosubscribe"`
	TempFail      bool   `dovecot:"quota_full_tempfail"` // a full mailbox is a matter of time
	BaseDir       string `dovecot:"base_dir"`            // where sockets of warnings are
	Address       string `dovecot:"lmtp_hdr_delivery_address"`
	Prefix        string // of the namespace that has INBOX
	Separator     byte   // of its names; 0 = that of the location
	Quota         quota.Settings
	Agent         deliver.Options
}

// Account is whose mail it is and how it is delivered, as mrad hands it to deliver.
type Account struct {
	User    string
	Home    string
	Mail    string // location, expanded
	Options Options
}

// User is one user's mail. It is safe for the two goroutines of a conversation.
type User struct {
	o       Options
	account deliver.Account
	loc     location.Location

	mu     sync.Mutex
	st     store.Store    // opened when it is needed
	quota  *quota.Account // nil = no limits
	agents map[string]*deliver.Agent
	failed error // why the settings of the quota cannot be read
}

// Open returns the mail of an account whose location is loc.
func Open(o Options, a deliver.Account, loc location.Location) *User {
	u := &User{o: o, account: a, loc: loc, agents: map[string]*deliver.Agent{}}
	if o.Separator == 0 {
		u.o.Separator = loc.Separator()
	}
	if len(o.Quota) == 0 {
		return u
	}
	c, err := quota.Parse(o.Quota, nil)
	if err != nil || len(c.Roots) == 0 && c.MaxMail == 0 {
		u.failed = err
		return u
	}
	u.quota = quota.New(c, quota.User{Name: a.User, Root: loc.Folders, Dirs: u.dirs(), Run: u.run})
	u.quota.Begin()
	return u
}

// dirs are what a quota of driver dirsize adds up.
func (u *User) dirs() []string {
	dirs := []string{u.loc.Folders}
	if !strings.HasPrefix(u.loc.Inbox, u.loc.Folders+"/") && u.loc.Inbox != u.loc.Folders {
		dirs = append(dirs, u.loc.Inbox)
	}
	return dirs
}

// run asks the service of a warning to run its command. A service that is not there
// keeps no mail back.
func (u *User) run(c quota.Command) {
	path := c.Socket
	if !filepath.IsAbs(path) {
		path = filepath.Join(u.o.BaseDir, path)
	}
	script.Call(path, c.Args)
}

// Close gives everything back.
func (u *User) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.st != nil {
		u.st.Close()
		u.st = nil
	}
}

// store opens the store, and puts the quota to it; mu is held.
func (u *User) store() (store.Store, error) {
	if u.st != nil {
		return u.st, nil
	}
	st, err := location.OpenParsed(u.loc, location.Options{})
	if err != nil {
		return nil, err
	}
	u.st = st
	if u.quota != nil {
		u.quota.Add(st, u.o.Prefix, u.o.Separator, true)
	}
	return st, nil
}

// Rcpt implements lmtpd.Backend. Whether there is room is told here only when it is
// asked for: by lmtp_rcpt_check_quota and by quota-status.
func (u *User) Rcpt(r *lmtpd.Rcpt) *mail.Status {
	if !r.Ask {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.admit("INBOX", r.Size)
	if st != nil && u.quota != nil && u.failed == nil {
		var full *quota.Error
		if err := u.quota.Check("INBOX", []int64{r.Size}, true); errors.As(err, &full) && full.Kind != quota.Full {
			return mail.Bounce("5.2.3", "%s", full.Text).WithReply(552) // there will never be room for it
		}
	}
	return st
}

// admit holds a message against the quota; mu is held.
func (u *User) admit(box string, size int64) *mail.Status {
	if u.failed != nil {
		return mail.Defer("4.3.0", "quota: %v", u.failed)
	}
	if u.quota == nil {
		return nil
	}
	_, err := u.store()
	if err == nil {
		err = u.quota.Check(box, []int64{size}, true)
	}
	var full *quota.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &full):
		return mail.Defer("4.2.0", "Internal error occurred: %v", err)
	case full.Kind == quota.TooLong && size > 0:
		return mail.Defer("4.2.0", "%s", full.Text)
	case u.o.TempFail:
		return mail.Defer("4.2.2", "%s", full.Text).WithReply(452)
	}
	return mail.Bounce("5.2.2", "%s", full.Text).WithReply(552)
}

// Deliver implements lmtpd.Backend.
func (u *User) Deliver(batch []*lmtpd.Message) {
	for _, m := range batch {
		for _, r := range m.Rcpts {
			msg := deliver.Message{Sender: m.Sender, ReturnPath: true, OrigTo: r.Orig, To: u.delivered(r), Body: m.Reader()}
			_, r.Status = u.Save(r.Folder, msg, m.Reader(), func() bool { return !m.Unwanted() })
		}
	}
}

// delivered is what Delivered-To says (lmtp_hdr_delivery_address); mrad asks for none
// with "-", which is no address.
func (u *User) delivered(r *lmtpd.Rcpt) string {
	if r.Delivered == "-" {
		return ""
	}
	switch u.o.Address {
	case "none":
		return ""
	case "original":
		if _, addr, ok := strings.Cut(r.ORCPT, ";"); ok {
			if s, err := mail.Unxtext(addr); err == nil {
				return s
			}
		}
	}
	if r.Delivered != "" {
		return r.Delivered
	}
	return r.Addr.Quoted()
}

// Save delivers one message, whose octets again reads once more, and returns the name
// of the mailbox that has it. wanted is package deliver's; nil = it is.
func (u *User) Save(folder string, m deliver.Message, again io.Reader, wanted func() bool) (box string, st *mail.Status) {
	u.mu.Lock()
	defer u.mu.Unlock()
	path, box := u.place(folder)
	var size, lines int64
	if u.quota != nil || u.failed != nil {
		var err error
		if size, lines, err = measure(io.MultiReader(strings.NewReader(head(&m)), again)); err != nil {
			return box, mail.Defer("4.3.0", "%v", err)
		}
		if st := u.admit(box, size+lines); st != nil {
			return box, st
		}
	}
	st = u.agent(path).Deliver([]deliver.Message{m}, wanted)[0]
	if st.Outcome == mail.Sent {
		if u.quota != nil {
			u.quota.Changed(box, size, size+lines, 1, false)
		}
		st = mail.OK("2.0.0", "saved mail to %s", box)
	}
	return box, st
}

// agent returns the agent of a mailbox; mu is held.
func (u *User) agent(path string) *deliver.Agent {
	a := u.agents[path]
	if a == nil {
		account := u.account
		account.Inbox = path
		a = deliver.New(u.o.Agent, account)
		u.agents[path] = a
	}
	return a
}

// head is as long as what the agent writes before a message.
func head(m *deliver.Message) (s string) {
	if m.ReturnPath {
		s = "Return-Path: <" + m.Sender.Quoted() + ">\n"
	}
	if m.OrigTo != "" {
		s += "X-Original-To: " + m.OrigTo + "\n"
	}
	if m.To != "" {
		s += "Delivered-To: " + m.To + "\n"
	}
	return s
}

// measure returns the octets of a message and those that CRLF line ends would add.
func measure(r io.Reader) (size, lines int64, err error) {
	buf := make([]byte, 32<<10)
	cr := false
	for {
		n, err := r.Read(buf)
		b := buf[:n]
		size += int64(n)
		lines += int64(bytes.Count(b, []byte{'\n'}) - bytes.Count(b, []byte("\r\n")))
		if n > 0 {
			if cr && b[0] == '\n' {
				lines--
			}
			cr = b[n-1] == '\r'
		}
		if err == io.EOF {
			return size, lines, nil
		}
		if err != nil {
			return size, lines, err
		}
	}
}

// placer is a store that tells where the file or the Maildir of a folder is; "/"
// at the end of the path says which.
type placer interface {
	Path(name string) (string, error)
}

// place finds the mailbox of a folder. One that is not there is made if the
// configuration says so; else, as with Dovecot, the inbox gets the mail.
func (u *User) place(folder string) (path, box string) {
	inbox := u.loc.Mailbox()
	name, ok := u.inner(folder)
	if !ok {
		return inbox, "INBOX"
	}
	st, err := u.store()
	if err != nil {
		return inbox, "INBOX"
	}
	p, is := st.(placer)
	if !is {
		return inbox, "INBOX"
	}
	if path, err = p.Path(name); err != nil {
		return inbox, "INBOX"
	}
	if exists(path) {
		return path, folder
	}
	if !u.o.Autocreate {
		return inbox, "INBOX"
	}
	if err := st.Create(name); err != nil && !errors.Is(err, store.ErrExists) {
		return inbox, "INBOX"
	}
	if u.o.Autosubscribe {
		st.Subscribe(name, true) // the mail is there without it
	}
	return path, folder
}

// inner returns a folder's name as the store has it; ok is false for the inbox.
func (u *User) inner(folder string) (string, bool) {
	if strings.EqualFold(folder, "INBOX") || folder == "" {
		return "", false
	}
	name, ok := strings.CutPrefix(folder, u.o.Prefix)
	if !ok || name == "" || strings.ContainsAny(name, "\x00\r\n") {
		return "", false
	}
	if u.o.Separator != '/' {
		if strings.Contains(name, "/") {
			return "", false
		}
		name = strings.ReplaceAll(name, string(u.o.Separator), "/")
	}
	return name, true
}

func exists(path string) bool {
	if dir, ok := strings.CutSuffix(path, "/"); ok {
		fi, err := os.Stat(dir + "/cur")
		return err == nil && fi.IsDir()
	}
	fi, err := os.Lstat(path)
	return err == nil && fi.Mode().IsRegular()
}
