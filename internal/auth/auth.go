// Package auth answers who is asking: it holds Dovecot's passdbs (is this the
// password of that account?) and userdbs (where is its mail, and whose user
// number reads it?), and the SASL mechanisms on top of them. cmd/mrad runs it
// in a process of its own and puts a wire.Server before it.
//
// Nothing here logs: what the log wants to know goes to Options.Log, and never
// holds a password unless auth_verbose_passwords asks for it. A user name from the network is data and stays data: it is
// put into patterns literally, never read as one.
package auth

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"strings"
	"time"

	"packetboat/internal/auth/ldapauth"
	"packetboat/internal/auth/sqlauth"
	"packetboat/internal/auth/wire"
)

// Level says how loud a line of Options.Log is.
type Level uint8

// The values of Level.
const (
	Info  Level = iota // a failure of the client's, told when auth_verbose is on
	Error              // a failure of ours
)

// Options configures an Auth. The zero value has no database and refuses all.
type Options struct {
	Mechanisms   []string      `dovecot:"auth_mechanisms"`            // empty = plain
	Format       string        `dovecot:"auth_username_format"`       // empty = %Lu; "%u" keeps the name as it is
	Separator    string        `dovecot:"auth_master_user_separator"` // between a user's name and a master user's; empty = none
	Chars        string        `dovecot:"auth_username_chars"`        // bytes allowed in a user name
	AnyChars     bool          // auth_username_chars was set to nothing: every byte but NUL is allowed
	DefaultRealm string        `dovecot:"auth_default_realm"`
	Delay        time.Duration `dovecot:"auth_failure_delay"`     // of each refusal; 0 = 2 s, below 0 = none
	Verbose      bool          `dovecot:"auth_verbose"`           // tell Log of wrong passwords and unknown users
	Passwords    string        `dovecot:"auth_verbose_passwords"` // no, plain (or yes), sha1, each with ":N" for its first N characters
	Host         string        // for CRAM-MD5 challenges and %{hostname}
	Passdbs      []DB
	Userdbs      []DB
	MailLocation string `dovecot:"mail_location"`   // of users whose userdb gives no mail field
	FirstUID     int    `dovecot:"first_valid_uid"` // 0 = 500, as Dovecot's default
	LastUID      int    `dovecot:"last_valid_uid"`  // 0 = no bound
	FirstGID     int    `dovecot:"first_valid_gid"` // 0 = 1, as Dovecot's default; below 0 = no bound
	LastGID      int    `dovecot:"last_valid_gid"`  // 0 = no bound
	MailUID      string `dovecot:"mail_uid"`        // of users whose userdb gives no uid
	MailGID      string `dovecot:"mail_gid"`        // of users whose userdb gives no gid
	MailHome     string `dovecot:"mail_home"`       // of users whose userdb gives no home
	PAM          PAM    // asks PAM; nil = a pam passdb is an error
	NoPenalty    bool   // do not slow down clients by their address
	Log          func(Level, string)
}

// DB is one passdb {} or userdb {} block.
type DB struct {
	Driver   string // passwd-file, pam, passwd, shadow, static, prefetch, sql, ldap
	Args     string
	Default  string // default_fields
	Override string // override_fields
	Deny     bool   // passdb: whoever is listed here is refused
	Master   bool   // passdb: holds master users
	Pass     bool   // passdb: the next ones must know the user, too
	Rules
}

// defaultChars is auth_username_chars' default.
const defaultChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@"

// DefaultDelay is auth_failure_delay's default.
const DefaultDelay = 2 * time.Second

// Auth judges. It is safe for many goroutines.
type Auth struct {
	o       Options
	passdbs []*block
	userdbs []*userBlock
	mechs   []mechanism
	masters []*block               // passdbs with master = yes
	sql     map[string]*sqlauth.DB // by settings file
	ldap    map[string]*ldapauth.DB
	penalty *penalties
	secret  [32]byte                             // for SCRAM's decoys
	hashing chan struct{}                        // a place for each hash that is computed at once
	sleep   func(context.Context, time.Duration) // a test's clock
}

// New makes an Auth. It fails on a database or mechanism that it does not know
// and names it: nothing of a configuration is passed over in silence.
func New(o Options) (*Auth, error) {
	if o.Format == "" {
		o.Format = "%Lu"
	}
	if o.Chars == "" {
		o.Chars = defaultChars
	}
	if o.Delay == 0 {
		o.Delay = DefaultDelay
	}
	if o.FirstUID == 0 {
		o.FirstUID = 500
	}
	if o.FirstGID == 0 {
		o.FirstGID = 1
	}
	if len(o.Mechanisms) == 0 {
		o.Mechanisms = []string{"plain"}
	}
	a := &Auth{o: o, penalty: newPenalties(), sleep: sleep, hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
	rand.Read(a.secret[:])
	if err := checkPasswords(o.Passwords); err != nil {
		return nil, err
	}
	if err := a.open(); err != nil {
		return nil, err
	}
	for _, name := range o.Mechanisms {
		m, ok := mechanismNamed(strings.ToUpper(name))
		if !ok {
			return nil, fmt.Errorf("auth_mechanisms: unknown mechanism %q", name)
		}
		a.mechs = append(a.mechs, m)
	}
	return a, nil
}

func (a *Auth) open() error {
	for i, d := range a.o.Passdbs {
		p, err := a.newPassdb(d)
		if err != nil {
			return fmt.Errorf("passdb %d (driver %s): %w", i+1, d.Driver, err)
		}
		if d.Master {
			a.masters = append(a.masters, p)
		} else {
			a.passdbs = append(a.passdbs, p)
		}
	}
	for i, d := range a.o.Userdbs {
		u, err := a.newUserdb(d)
		if err != nil {
			return fmt.Errorf("userdb %d (driver %s): %w", i+1, d.Driver, err)
		}
		a.userdbs = append(a.userdbs, u)
	}
	return nil
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Mechs implements wire.Backend.
func (a *Auth) Mechs() []wire.Mech {
	list := make([]wire.Mech, len(a.mechs))
	for i, m := range a.mechs {
		list[i] = m.mech
	}
	return list
}

// Begin implements wire.Backend.
func (a *Auth) Begin(r wire.Request) wire.Conversation {
	for _, m := range a.mechs {
		if m.mech.Name == r.Mech {
			q := newQuery(r)
			return &conversation{a: a, q: q, dialogue: m.begin(a, q)}
		}
	}
	return nil
}

// info tells of a client's failure, error of one of ours. subject is what asked:
// a database or a mechanism.
func (a *Auth) info(subject string, q *Query, format string, args ...any) {
	if a.o.Verbose && a.o.Log != nil {
		a.o.Log(Info, subject+q.where()+": "+fmt.Sprintf(format, args...))
	}
}

func (a *Auth) error(subject string, q *Query, format string, args ...any) {
	if a.o.Log != nil {
		a.o.Log(Error, subject+q.where()+": "+fmt.Sprintf(format, args...))
	}
}
