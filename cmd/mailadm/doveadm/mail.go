package doveadm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/cmd/internal/quotas"
	"packetboat/cmd/mailadm/doveadm/mails"
	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/auth"
	"packetboat/internal/auth/wire"
	"packetboat/internal/store/location"
	"packetboat/internal/store/quota"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// remoteForm is the form in which the process of one user hands its result to the
// one that prints those of all.
const remoteForm = "remote"

// mail runs a command on the mail of the users that its options name.
func (c *call) mail(name string, cmd *mails.Command, words []string) int {
	short := name[strings.LastIndexByte(name, ' ')+1:]
	a, err := options(short, "AF:S:u:"+cmd.Options, cmd.Long, words, false)
	if err != nil {
		fmt.Fprintln(c.err, err)
		return exUsage
	}
	if a.Has("S") {
		return c.notBuilt("doveadm -S", "run doveadm on the machine where the mail is, for example through ssh")
	}
	user := a.Last("u", "")
	many := a.Has("A") || a.Has("F") || strings.ContainsAny(user, "*?")
	if user == "" && !many && os.Getenv("USER") == "" {
		return c.fatal(exUsage, "USER environment is missing and -u option not used")
	}
	plan, err := cmd.Prepare(a, c.now())
	if err != nil {
		return c.problem(name, cmd, err)
	}
	if code := c.load(name); code != exOK {
		return code
	}
	if many {
		return c.many(name, plan, a)
	}
	out := c.formatter(plan.Form)
	if len(plan.Columns) > 0 {
		out.Columns(plan.Columns)
	}
	code, fatal := c.single(plan, user, out)
	if fatal {
		return code
	}
	if err := out.Flush(); err != nil && code == exOK {
		return c.fatal(exTempFail, "write(stdout) failed: %v", err)
	}
	return code
}

// problem prints why a command cannot be run with these arguments.
func (c *call) problem(name string, cmd *mails.Command, err error) int {
	var p *mails.Problem
	switch {
	case !errors.As(err, &p):
		return c.fatal(exTempFail, "%v", err)
	case p.Usage:
		fmt.Fprintf(c.err, "doveadm %s %s%s\n", name, ofUser, cmd.Usage)
	case strings.HasPrefix(p.Hint, "Available "):
		fmt.Fprintf(c.err, "%s\nFatal: %s\n", p.Hint, p.Text)
	case p.Plain:
		fmt.Fprintf(c.err, "Error: %s\n", p.Text)
	case p.Hint != "":
		fmt.Fprintf(c.err, "error: %s\nhint: %s\n", p.Text, p.Hint)
	default:
		fmt.Fprintf(c.err, "Fatal: %s\n", p.Text)
	}
	return p.Code
}

// account is whose mail is meant, and where it is.
type account struct {
	name     string
	uid, gid int
	home     string
	mail     string            // location, expanded
	system   string            // account of the machine whose groups are the user's
	fields   map[string]string // of the userdb
}

// single runs a command as one user, in this process, which is his from then on.
func (c *call) single(plan *mails.Plan, user string, out show.Formatter) (code int, fatal bool) {
	u, code := c.account(user)
	if code != exOK {
		return code, false
	}
	env := &mails.Env{User: u.name, Location: u.mail, Out: out, In: c.in, Err: c.err, Now: c.now()}
	if err := c.conf.Decode(&env.Options); err != nil {
		return c.fatal(exConfig, "%s", config.Report(err)), false
	}
	if err := c.become(u); err != nil {
		fmt.Fprintf(c.err, "doveadm(%s): Fatal: %v\n", u.name, err)
		return exTempFail, false
	}
	st, err := location.Open(u.mail, env.Options)
	if err != nil {
		fmt.Fprintf(c.err, "doveadm(%s): Error: User initialization failed: Namespace '': %v\n", u.name, err)
		return exTempFail, false
	}
	env.Store = st
	env.Quota = func() (*quota.Account, error) {
		info := &auth.UserInfo{User: u.name, UID: u.uid, GID: u.gid, Home: u.home, Fields: u.fields}
		return quotas.Open(quotas.Of(c.conf, "doveadm", info), u.name, u.mail, c.base, func(string) {})
	}
	plan.Run(env)
	if err := st.Close(); err != nil && env.Code() == exOK {
		fmt.Fprintf(c.err, "doveadm(%s): Error: %v\n", u.name, err)
		return exTempFail, false
	}
	return env.Code(), env.Fatal
}

// become makes the process the user's. Nobody's mail is touched as root.
func (c *call) become(u *account) error {
	if os.Geteuid() != 0 {
		if u.uid != os.Geteuid() {
			return fmt.Errorf("setuid(%d from userdb lookup) failed with euid=%d: Operation not permitted (This binary should probably be called with process user set to %d instead of %d)", u.uid, os.Geteuid(), u.uid, os.Geteuid())
		}
		return nil
	}
	if u.uid == 0 {
		return errors.New("mail of uid 0 is not touched: name a user with -u whose mail it is")
	}
	p := &proc.User{Name: u.name, UID: u.uid, GID: u.gid, Home: u.home}
	groups := []int{u.gid}
	if u.system != "" {
		groups = (&proc.User{Name: u.system, UID: u.uid, GID: u.gid}).Groups()
	}
	if name := c.conf.Get("mail_privileged_group"); name != "" {
		gid, err := proc.LookupGroup(name)
		if err != nil {
			return fmt.Errorf("mail_privileged_group %s: %w", name, err)
		}
		groups = append(groups, gid)
	}
	return proc.BecomeWith(p, groups)
}

// account asks the userdb, or without a name takes the account of the caller.
func (c *call) account(user string) (*account, int) {
	if user == "" {
		return c.caller()
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	sock := c.socket("auth-userdb")
	name, f, _, err := wire.LookupUser(ctx, sock, user, "doveadm")
	if errors.Is(err, wire.ErrNoUser) {
		fmt.Fprintf(c.err, "doveadm(%s): Error: User doesn't exist\n", user)
		return nil, exNoUser
	}
	u := &account{name: name, home: f["home"], system: f["system_groups_user"], fields: f}
	if err == nil {
		err = u.numbers(f)
	}
	if err != nil {
		fmt.Fprintf(c.err, "doveadm(%s): Error: auth-master: userdb lookup(%s): %s\n", user, user, socketError(sock, err))
		fmt.Fprintf(c.err, "doveadm(%s): Error: User lookup failed: Internal error occurred. Refer to server log for more information.\n", user)
		return nil, exTempFail
	}
	return c.place(u, f["mail"])
}

func (u *account) numbers(f map[string]string) (err error) {
	if u.uid, err = strconv.Atoi(f["uid"]); err != nil {
		return fmt.Errorf("userdb gives no uid")
	}
	if u.gid, err = strconv.Atoi(f["gid"]); err != nil {
		return fmt.Errorf("userdb gives no gid")
	}
	return nil
}

// caller is the account of whoever runs doveadm without -u.
func (c *call) caller() (*account, int) {
	name := os.Getenv("USER")
	u, err := proc.LookupUID(os.Geteuid())
	if err != nil || u.Name != name {
		return nil, c.fatal(exUsage, "USER environment is %s, and that is not the account of uid %d: use -u", name, os.Geteuid())
	}
	home := u.Home
	if h := os.Getenv("HOME"); h != "" {
		home = h
	}
	return c.place(&account{name: name, uid: u.UID, gid: u.GID, home: home, system: name}, "")
}

// place finds where the mail is: -o mail_location goes before the userdb, and the
// userdb before the configuration.
func (c *call) place(u *account, mail string) (*account, int) {
	for _, s := range c.over {
		if strings.HasPrefix(s, "mail_location=") || strings.HasPrefix(s, "mail=") {
			mail = ""
		}
	}
	if mail == "" {
		mail = c.conf.Get("mail_location")
	}
	q := &auth.Query{User: u.name, Home: u.home, UID: strconv.Itoa(u.uid), GID: strconv.Itoa(u.gid), Service: "doveadm"}
	mail, err := auth.ExpandPath(mail, q)
	if err != nil {
		return nil, c.fatal(exTempFail, "mail_location: %v", err)
	}
	parts := strings.Split(mail, ":")
	for i, p := range parts {
		key, path, ok := strings.Cut(p, "=")
		if !ok {
			key, path = "", p
		} else {
			key += "="
		}
		if path == "~" || strings.HasPrefix(path, "~/") {
			parts[i] = key + u.home + path[1:]
		}
	}
	u.mail = strings.Join(parts, ":")
	return u, exOK
}

// socketError is an error of a socket in Dovecot's words.
func socketError(path string, err error) string {
	return fmt.Sprintf("connect(%s) failed: %s", path, proc.ErrText(err))
}

// many runs a command for several users, each in a process of its own, and prints
// the results as one.
func (c *call) many(name string, plan *mails.Plan, a *mails.Args) int {
	users, code := c.userList(a)
	out := &show.Merged{Formatter: c.formatter(plan.Form)}
	out.Begin(plan.Columns)
	var input *os.File
	if name == "save" {
		f, err := spoolInput(c.in)
		if err != nil {
			return c.fatal(exTempFail, "standard input: %v", err)
		}
		defer f.Close()
		input = f
	}
	for _, u := range users {
		n := c.child(name, a, u, input, out)
		if n != exOK {
			code = n
		}
	}
	out.Flush()
	return code
}

// spoolInput keeps standard input for several readers.
func spoolInput(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "doveadm-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	_, err = io.Copy(f, r)
	return f, err
}

// userList names the users of -A, -F or a mask of -u.
func (c *call) userList(a *mails.Args) ([]string, int) {
	if a.Has("F") {
		b, err := os.ReadFile(a.Last("F", ""))
		if err != nil {
			fmt.Fprintf(c.err, "Error: read(%[1]s) failed: open(%[1]s) failed: %[2]s\ndoveadm: Error: Failed to iterate through some users\n", a.Last("F", ""), proc.ErrText(err))
			return nil, exTempFail
		}
		return strings.Fields(string(b)), exOK
	}
	mask := a.Last("u", "*")
	if a.Has("A") {
		mask = "*"
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	users, err := wire.ListUsers(ctx, c.socket("auth-userdb"), mask, "doveadm")
	if err != nil {
		fmt.Fprintf(c.err, "Error: auth-master: userdb list: %v\ndoveadm: Error: Failed to iterate through some users\n", err)
		return users, exTempFail
	}
	return users, exOK
}

// childTime bounds the work for one user.
const childTime = 24 * time.Hour

// child runs the command for one user in a process of its own.
func (c *call) child(name string, a *mails.Args, user string, input *os.File, out *show.Merged) int {
	ctx, cancel := context.WithTimeout(context.Background(), childTime)
	defer cancel()
	if _, _, _, err := wire.LookupUser(ctx, c.socket("auth-userdb"), user, "doveadm"); errors.Is(err, wire.ErrNoUser) {
		fmt.Fprintf(c.err, "doveadm(%s): Info: User no longer exists, skipping\n", user)
		return exOK
	}
	self, err := os.Executable()
	if err != nil {
		return c.fatal(exTempFail, "%v", err)
	}
	if input != nil {
		input.Seek(0, io.SeekStart)
	}
	r, w := io.Pipe()
	printed := make(chan error, 1)
	go func() {
		err := out.Replay(r, user)
		io.Copy(io.Discard, r)
		printed <- err
	}()
	code, err := proc.Run(ctx, proc.Role{Path: self, Args: c.childArgs(name, a, user), Env: proc.CleanEnv(), Stdin: input, Stdout: w, Stderr: c.err})
	w.Close()
	if perr := <-printed; err == nil && code == exOK {
		err = perr
	}
	if err != nil {
		fmt.Fprintf(c.err, "doveadm(%s): Error: %v\n", user, err)
		return exTempFail
	}
	return code
}

// childArgs are the arguments of the process for one user.
func (c *call) childArgs(name string, a *mails.Args, user string) []string {
	path, err := filepath.Abs(c.path)
	if err != nil {
		path = c.path
	}
	args := []string{"doveadm", "-c", path, "-f", remoteForm}
	for _, o := range c.over {
		args = append(args, "-o", o)
	}
	args = append(args, strings.Fields(name)...)
	for key, values := range a.Opt {
		for _, v := range values {
			switch {
			case key == "A" || key == "F" || key == "u":
			case len(key) > 1:
				args = append(args, "--"+key+"="+v)
			case v == "":
				args = append(args, "-"+key)
			default:
				args = append(args, "-"+key, v)
			}
		}
	}
	return append(append(args, "-u", user, "--"), a.Rest...)
}
