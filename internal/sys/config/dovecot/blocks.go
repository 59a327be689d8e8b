package dovecot

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"packetboat/internal/sys/config/base"
)

// Passdb is a passdb { } block: where passwords are checked.
type Passdb struct {
	Driver             string   `dovecot:"driver"`
	Args               string   `dovecot:"args"`
	DefaultFields      []string `dovecot:"default_fields"`
	OverrideFields     []string `dovecot:"override_fields"`
	Mechanisms         []string `dovecot:"mechanisms"`
	UsernameFilter     []string `dovecot:"username_filter"`
	Skip               string   `dovecot:"skip"`
	ResultSuccess      string   `dovecot:"result_success"`
	ResultFailure      string   `dovecot:"result_failure"`
	ResultInternalfail string   `dovecot:"result_internalfail"`
	Deny               bool     `dovecot:"deny"`
	Pass               bool     `dovecot:"pass"`
	Master             bool     `dovecot:"master"`
	File               string   // where the block begins
	Line               int
}

// Userdb is a userdb { } block: where a user's uid, gid and home come from.
type Userdb struct {
	Driver             string   `dovecot:"driver"`
	Args               string   `dovecot:"args"`
	DefaultFields      []string `dovecot:"default_fields"`
	OverrideFields     []string `dovecot:"override_fields"`
	Skip               string   `dovecot:"skip"`
	ResultSuccess      string   `dovecot:"result_success"`
	ResultFailure      string   `dovecot:"result_failure"`
	ResultInternalfail string   `dovecot:"result_internalfail"`
	File               string
	Line               int
}

// Namespace is a namespace { } block; an empty Location means mail_location.
type Namespace struct {
	Name          string
	Type          string `dovecot:"type"` // private shared public
	Separator     string `dovecot:"separator"`
	Prefix        string `dovecot:"prefix"`
	Location      string `dovecot:"location"`
	AliasFor      string `dovecot:"alias_for"`
	Inbox         bool   `dovecot:"inbox"`
	Hidden        bool   `dovecot:"hidden"`
	List          string `dovecot:"list"` // yes no children
	Subscriptions bool   `dovecot:"subscriptions"`
	Disabled      bool   `dovecot:"disabled"`
	Mailboxes     []Mailbox
}

// Mailbox is a mailbox NAME { } block of a namespace.
type Mailbox struct {
	Name        string
	Auto        string        `dovecot:"auto"` // no create subscribe
	SpecialUse  []string      `dovecot:"special_use"`
	Autoexpunge time.Duration `dovecot:"autoexpunge"`
	MaxMails    int           `dovecot:"autoexpunge_max_mails"`
}

// Service is a service NAME { } block over Dovecot's own definition of
// that service.
type Service struct {
	Name            string
	Protocol        string        `dovecot:"protocol"`
	Type            string        `dovecot:"type"`
	Executable      string        `dovecot:"executable"`
	User            string        `dovecot:"user"`
	Group           string        `dovecot:"group"`
	ExtraGroups     []string      `dovecot:"extra_groups"`
	Chroot          string        `dovecot:"chroot"`
	ProcessMinAvail int           `dovecot:"process_min_avail"`
	ProcessLimit    int           `dovecot:"process_limit"` // 0 = default_process_limit
	ClientLimit     int           `dovecot:"client_limit"`  // 0 = default_client_limit
	ServiceCount    int           `dovecot:"service_count"`
	IdleKill        time.Duration `dovecot:"idle_kill"`
	VszLimit        int64         `dovecot:"vsz_limit"` // bytes; -1 = default_vsz_limit
	Unix            []UnixListener
	Fifo            []UnixListener
	Inet            []InetListener
}

// UnixListener is a unix_listener or fifo_listener; Path is relative to
// base_dir. Mode 0 means that it is not made.
type UnixListener struct {
	Path  string
	Mode  uint32 `dovecot:"mode"`
	User  string `dovecot:"user"`
	Group string `dovecot:"group"`
}

// InetListener is an inet_listener; Port 0 means none, no Address listen.
type InetListener struct {
	Name    string
	Address []string `dovecot:"address"`
	Port    int      `dovecot:"port"`
	SSL     bool     `dovecot:"ssl"`
	HAProxy bool     `dovecot:"haproxy"`
}

// decodeAll makes one T of each block.
func decodeAll[T any](d *Config, blocks []*Block, path string, finish func(*T, *Block) error) ([]T, error) {
	var list []T
	var errs []error
	for _, b := range blocks {
		var t T
		err := d.DecodeBlock(b, path, &t)
		if err == nil && finish != nil {
			err = finish(&t, b)
		}
		errs = append(errs, err)
		list = append(list, t)
	}
	return list, errors.Join(errs...)
}

// Passdbs returns the passdb blocks in their order.
func (d *Config) Passdbs() ([]Passdb, error) {
	return decodeAll(d, d.Blocks("passdb"), "passdb", func(p *Passdb, b *Block) error {
		p.File, p.Line = b.File, b.Line
		return needDriver(p.Driver, b)
	})
}

// Userdbs returns the userdb blocks in their order.
func (d *Config) Userdbs() ([]Userdb, error) {
	return decodeAll(d, d.Blocks("userdb"), "userdb", func(u *Userdb, b *Block) error {
		u.File, u.Line = b.File, b.Line
		return needDriver(u.Driver, b)
	})
}

func needDriver(driver string, b *Block) error {
	if driver != "" {
		return nil
	}
	return &base.Error{File: b.File, Line: b.Line, Text: b.Kind + " is missing driver", Hint: "add a line such as driver = passwd-file"}
}

// Namespaces returns the namespaces that are not disabled; with none, the one
// private namespace that Dovecot makes.
func (d *Config) Namespaces() ([]Namespace, error) {
	list, err := decodeAll(d, d.Blocks("namespace"), "namespace", func(n *Namespace, b *Block) error {
		n.Name = b.Name
		var err error
		n.Mailboxes, err = decodeAll(d, b.sub("mailbox"), "namespace/mailbox", func(m *Mailbox, b *Block) error {
			m.Name = b.Name
			return nil
		})
		return err
	})
	list = slices.DeleteFunc(list, func(n Namespace) bool { return n.Disabled })
	if len(list) == 0 && err == nil {
		return []Namespace{{Type: "private", Inbox: true, List: "yes", Subscriptions: true}}, nil
	}
	return list, err
}

// sub returns the blocks of one kind inside b.
func (b *Block) sub(kind string) []*Block {
	var list []*Block
	for _, s := range b.Blocks {
		if s.Kind == kind {
			list = append(list, s)
		}
	}
	return list
}

// BuiltinServices returns the service blocks that Dovecot has without any
// configuration.
func BuiltinServices() ([]*Block, error) {
	const name = "built-in services"
	r := newReader(name)
	if err := r.Read(name, builtins); err != nil || len(r.Errors) > 0 {
		return nil, fmt.Errorf("%s: %w", name, errors.Join(append(r.Errors, err)...))
	}
	return r.d.root.Blocks, nil
}

// Services returns every service, the built-in ones included, by name.
func (d *Config) Services() ([]Service, error) {
	builtin, err := BuiltinServices()
	if err != nil {
		return nil, err
	}
	blocks := mergeBlocks(builtin, d.Blocks("service"), "service")
	return decodeAll(d, blocks, "service", func(s *Service, b *Block) error {
		s.Name = b.Name
		var err1, err2, err3 error
		s.Unix, err1 = d.listeners(b, "unix_listener")
		s.Fifo, err2 = d.listeners(b, "fifo_listener")
		s.Inet, err3 = decodeAll(d, b.sub("inet_listener"), "service/inet_listener", func(l *InetListener, b *Block) error {
			l.Name = b.Name
			return nil
		})
		return errors.Join(err1, err2, err3)
	})
}

func (d *Config) listeners(b *Block, kind string) ([]UnixListener, error) {
	return decodeAll(d, b.sub(kind), "service/"+kind, func(l *UnixListener, b *Block) error {
		l.Path = b.Name
		return nil
	})
}

// Service returns the service of a name.
func (d *Config) Service(name string) (Service, error) {
	list, err := d.Services()
	for _, s := range list {
		if s.Name == name {
			return s, err
		}
	}
	return Service{Name: name}, err
}
