package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/cmd/internal/grants"
	"packetboat/cmd/internal/wiring"
	"packetboat/internal/send/pipe"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// maxOutput is how much of a command's output is kept for the log and the
// bounce, in octets.
const maxOutput = 4096

// maxRequests is how many requests of an engine are worked on at once, and how
// many deliver processes it may have. An engine that is well needs a few hundred.
const maxRequests = 2000

// starter serves the requests of one engine. It believes nothing: accounts are
// looked up here, paths and numbers are held against the configuration.
type starter struct {
	main   *config.Main
	bin    string
	dir    string
	engine *engineProc
	words  *os.File // standard error of deliver
	send   sync.Mutex
	keys   map[string]bool // files that opOpen may open: keys and certificates
	tables map[string]bool // and tables
	grants *grants.Grants
	locals map[string]*grants.Rules // by service
	pipes  map[string]*pipe.Attrs   // by service
	spools map[string]*spool        // by local service
	users  proc.Users
	watch  *disk.Watch // of folders where a .forward may come; nil = the system has none

	options map[string][]string // -o of a service, for its deliver processes
	slots   chan struct{}       // a place for each request under way
	live    atomic.Int64        // deliver processes
	log     func(format string, args ...any)
}

func newStarter(p *parent, e *engineProc) *starter {
	s := &starter{main: p.main, bin: p.bin, dir: p.main.Dir(), engine: e, words: p.words.in,
		locals: grants.ReadRules(p.main, p.master), pipes: grants.ReadPipes(p.master), options: grants.DeliverOptions(p.master),
		keys: keyFiles(p.main, p.master), tables: tableSet(p), grants: grants.New(p.main, p.master),
		slots: make(chan struct{}, maxRequests), log: p.log.Warn}
	s.spools = s.readSpools(p.main, p.master)
	if w, err := disk.NewWatch(); err == nil {
		s.watch = w
	}
	return s
}

// serve answers requests until the engine is gone.
func (s *starter) serve() {
	defer s.engine.ch.Close()
	for _, p := range s.spools {
		defer p.keeper.Close()
	}
	if s.watch != nil {
		defer s.watch.Close()
		s.engine.ch.Send(parentMessage{Watch: true}, s.watch.File()) // without it the engine asks each time
	}
	for {
		var q request
		files, err := s.engine.ch.Recv(&q)
		if err != nil {
			return
		}
		if q.Op == opReady {
			s.engine.once.Do(func() { close(s.engine.ready) })
			continue
		}
		select {
		case s.slots <- struct{}{}:
			go s.answer(q, files)
		default: // nobody waits behind a thousand commands that hang
			s.reply(reply{ID: q.ID, Err: "too many requests at once"}, nil)
			closeAll(files)
		}
	}
}

// answer does one request; whatever goes wrong ends in the reply.
func (s *starter) answer(q request, files []*os.File) {
	defer func() { <-s.slots }()
	defer closeAll(files)
	r, out := s.do(q, files)
	r.ID = q.ID
	s.reply(r, out)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// reply sends an answer with its file, and closes that.
func (s *starter) reply(r reply, out *os.File) {
	s.send.Lock()
	defer s.send.Unlock()
	var err error
	if out != nil {
		err = s.engine.ch.Send(parentMessage{Reply: &r}, out)
		out.Close()
	} else {
		err = s.engine.ch.Send(parentMessage{Reply: &r})
	}
	if err != nil {
		s.log("reply to the engine: %s", err.Error())
	}
}

func (s *starter) do(q request, files []*os.File) (r reply, out *os.File) {
	var err error
	switch q.Op {
	case opDeliver:
		out, err = s.deliver(q)
	case opVirtual:
		out, err = s.virtual(q)
	case opFile:
		out, err = s.file(q)
	case opCommand:
		r, err = s.command(q, files)
	case opPipe:
		r, err = s.pipe(q, files)
	case opForward:
		r, out, err = s.forward(q)
	case opOpen:
		out, err = s.open(q)
	case opInclude:
		out, err = s.include(q)
	default:
		err = fmt.Errorf("unknown operation %q", q.Op)
	}
	if err != nil {
		r.Err, r.Missing, r.Absent = err.Error(), errors.Is(err, proc.ErrNoUser), errors.Is(err, fs.ErrNotExist)
	}
	return r, out
}

// deliver has the shared deliver write the mailbox of the account, or starts one as
// the account.
func (s *starter) deliver(q request) (*os.File, error) {
	u, err := proc.LookupUser(q.User)
	if err != nil {
		return nil, err
	}
	if conn, err := s.share(q.Service, u); err == nil {
		return conn, nil
	}
	r := proc.Role{User: u, Args: []string{"-d", u.Name}}
	// As group mail, dotlocks and mailboxes can be made in /var/mail (mode 2775
	// root:mail). Without that group it must be writable otherwise.
	if gid, err := proc.LookupGroup("mail"); err == nil {
		r.Group = gid
	}
	return s.conversation(q.Service, r)
}

// virtual starts a deliver process for a virtual mailbox, below
// virtual_mailbox_base and not below virtual_minimum_uid, as virtual(8) demands.
func (s *starter) virtual(q request) (*os.File, error) {
	var opts struct {
		Base string `main:"virtual_mailbox_base"`
		Min  int    `main:"virtual_minimum_uid"`
	}
	if err := s.main.Decode(&opts); err != nil {
		return nil, err
	}
	if q.UID < max(opts.Min, 1) && os.Geteuid() == 0 {
		return nil, fmt.Errorf("bad uid %d in virtual_uid_maps", q.UID)
	}
	if q.GID < 1 && os.Geteuid() == 0 {
		return nil, fmt.Errorf("bad gid %d in virtual_gid_maps", q.GID)
	}
	if opts.Base == "" || !below(q.Mailbox, opts.Base) {
		return nil, fmt.Errorf("mailbox %q is not below virtual_mailbox_base", q.Mailbox)
	}
	return s.conversation(q.Service, mailboxOf(&proc.User{UID: q.UID, GID: q.GID}, q.Mailbox))
}

// file starts a deliver process that appends to a file named by an alias.
func (s *starter) file(q request) (*os.File, error) {
	if !s.granted(q, grants.Grant{Op: opFile, Account: q.User, What: q.Mailbox}) {
		return nil, s.refuse("no alias leads to file %q as %q", q.Mailbox, q.User)
	}
	u, err := s.account(q.User)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(q.Mailbox) {
		return nil, fmt.Errorf("file %q is no absolute path", q.Mailbox)
	}
	return s.conversation(q.Service, mailboxOf(&proc.User{UID: u.UID, GID: u.GID}, q.Mailbox))
}

// mailboxOf is a deliver for a mailbox that does not follow from an account. It
// has the numbers of u and no further groups.
func mailboxOf(u *proc.User, path string) proc.Role {
	return proc.Role{User: u, Args: []string{"--as", fmt.Sprintf("%d:%d", u.UID, u.GID), "--inbox", path}}
}

// below tells whether path, cleaned, lies inside base.
func below(path, base string) bool {
	rel, err := filepath.Rel(filepath.Clean(base), filepath.Clean(path))
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../")
}

// deliverEnv keeps a deliver small and its start cheap: it has one user's mail to
// write, so one processor will do, and its garbage is collected early.
var deliverEnv = [...]string{"GOMAXPROCS=1", "GOGC=50", "GOMEMLIMIT=24MiB"}

// deliverSlack is timerSlack of a deliver: most of the time it waits for the disk,
// and nothing else is to be done meanwhile.
const deliverSlack = 20 * time.Millisecond

// conversation starts deliver -z and returns the engine's end of its socket. The
// process has r.User's rights from its first instruction.
func (s *starter) conversation(service string, r proc.Role) (*os.File, error) {
	ours, theirs, err := proc.SocketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if s.live.Add(1) > maxRequests {
		s.live.Add(-1)
		ours.Close()
		return nil, errors.New("too many delivery processes at once")
	}
	r.Path, r.Args = filepath.Join(s.bin, "deliver"), append(append([]string{"deliver", "-c", s.dir, "-z"}, s.options[service]...), r.Args...)
	r.Env, r.Files, r.Stderr = append(proc.CleanEnv(), deliverEnv[:]...), []*os.File{theirs}, s.words
	r.Slack = deliverSlack
	p, err := proc.Start(r)
	if err != nil {
		s.live.Add(-1)
		ours.Close()
		return nil, err
	}
	go func() {
		p.Wait()
		s.live.Add(-1)
	}()
	return ours, nil
}

// account is the account a command or file delivery runs as; root is never one
// (local(8): default_privs is used instead).
func (s *starter) account(name string) (*proc.User, error) {
	if name == "" {
		name = s.main.Get("default_privs")
	}
	u, err := proc.LookupUser(name)
	if err != nil {
		return nil, err
	}
	if u.UID == 0 && os.Geteuid() == 0 && s.main.Get("mail_owner") != "root" {
		return s.account("")
	}
	return u, nil
}

// refuse tells the log what an engine must not ask for: either the configuration
// has just changed, or the engine is not ours any more.
func (s *starter) refuse(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	s.log("the engine asked for what the configuration does not grant: %s", err.Error())
	return err
}

// include opens an :include: file.
func (s *starter) include(q request) (*os.File, error) {
	if !s.granted(q, grants.Grant{Op: opInclude, Account: q.User, What: q.Path}) {
		return nil, s.refuse("no alias includes %q as %q", q.Path, q.User)
	}
	return grants.OpenInclude(q.User, q.Path)
}

// open opens a key or table that the configuration names.
func (s *starter) open(q request) (*os.File, error) {
	switch {
	case s.keys[q.Path]:
		return os.Open(q.Path)
	case s.tables[q.Path]:
		return disk.OpenConfigured(q.Path)
	}
	return nil, fmt.Errorf("%s is no configured table, key or certificate", q.Path)
}

// tableSet returns the files of all tables.
func tableSet(p *parent) map[string]bool {
	out := map[string]bool{}
	for _, f := range wiring.TableFiles(p.main, p.master, nil) {
		out[f] = true
	}
	return out
}

// keyParams are the parameters whose files only root may read.
var keyParams = [...]string{"smtpd_tls_cert_file", "smtpd_tls_key_file", "smtpd_tls_eccert_file", "smtpd_tls_eckey_file",
	"smtpd_tls_dcert_file", "smtpd_tls_dkey_file", "smtpd_tls_chain_files", "smtp_tls_cert_file", "smtp_tls_key_file",
	"smtp_tls_chain_files", "smtpd_tls_CAfile", "smtp_tls_CAfile", "smtp_tls_trust_anchor_file"}

// keyFiles returns the files that the engine may ask for.
func keyFiles(m *config.Main, services []config.Service) map[string]bool {
	out := map[string]bool{}
	mains := []*config.Main{m}
	for _, s := range services {
		if len(s.Options) > 0 {
			mains = append(mains, m.With(s.Options...))
		}
	}
	for _, m := range mains {
		for _, name := range keyParams {
			for _, f := range strings.FieldsFunc(m.Get(name), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
				out[f] = true
			}
		}
		for _, f := range wiring.SNIFiles(m) {
			out[f] = true
		}
	}
	return out
}
