package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"packetboat/cmd/mrad/authconf"
	"packetboat/cmd/mrad/extras"
	"packetboat/cmd/mrad/keyring"
	"packetboat/cmd/mrad/lmtp"
	"packetboat/cmd/mrad/logfile"
	"packetboat/cmd/mrad/scripts"
	"packetboat/cmd/mrad/spaces"
	"packetboat/cmd/mrad/unbuilt"
	"packetboat/internal/auth"
	"packetboat/internal/serve/login"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// settings is dovecot.conf as the parent needs it.
type settings struct {
	BaseDir      string `dovecot:"base_dir"`
	Log          logfile.Options
	Protocols    []string `dovecot:"protocols"`
	Listen       []string `dovecot:"listen"`
	SSL          string   `dovecot:"ssl"`
	Cert         string   `dovecot:"ssl_cert,path"`
	Key          string   `dovecot:"ssl_key,path"`
	MinProtocol  string   `dovecot:"ssl_min_protocol"`
	Ciphers      string   `dovecot:"ssl_cipher_list"`
	SSLOptions   []string `dovecot:"ssl_options"`
	LoginUser    string   `dovecot:"default_login_user"`
	InternalUser string   `dovecot:"default_internal_user"`
	MailGroup    string   `dovecot:"mail_privileged_group"`
	FirstUID     int      `dovecot:"first_valid_uid"`
	Hostname     string   `dovecot:"hostname"`
	Delimiters   string   `dovecot:"recipient_delimiter"`

	conf     *config.Dovecot
	path     string
	services []config.DovecotService
	limits   map[string]int // mail_max_userip_connections by protocol
	without  []config.Problem
}

// setup is what roles without files are told.
type setup struct {
	Greeting         string
	DisablePlaintext bool
	Verbose          bool
	RequireTLS       bool
	Trusted          []netip.Prefix
	Balancers        []netip.Prefix
	BalancerTimeout  time.Duration
	CertPEM, KeyPEM  []byte
	Names            []keyring.Named
	TLS              cert.Options
	Chroot           string // empty folder
	RunAs            *proc.User
	Groups           []int // with RunAs: supplementary groups of a mail process
	LockTimeout      time.Duration
	DotlockStale     time.Duration
	IdleNotify       time.Duration
	UIDL             string
	NoFlagUpdates    bool
	Workarounds      []string // of POP3's clients
	MaxLine          int      // of IMAP commands
	Hostname         string
	Spaces           []spaces.Space // namespaces of IMAP
	IDSend           string         // imap_id_send
	Capability       string         // imap_capability
	Bends            []string       // imap_client_workarounds
	Attributes       string         // mail_attribute_dict
	LMTP             *lmtp.Options
	Policy           *lmtp.Policy
	Script           *scripts.Service
	BaseDir          string // where sockets of warnings are
	LogFormat        login.LogFormat
	Exceptions       []login.Exception
	Extras           map[string]extras.Options // by protocol
}

func (u *setup) keys() keyring.Keys {
	return keyring.Keys{Cert: u.CertPEM, Key: u.KeyPEM, Names: u.Names}
}

// load reads the configuration; every problem is in the error. With force,
// settings that are not built are none: without has them.
func load(path string, force bool) (*settings, error) {
	conf, err := config.LoadDovecot(path)
	if err != nil {
		return nil, err
	}
	s := &settings{conf: conf, path: path, limits: make(map[string]int)}
	if err := conf.Decode(s); err != nil {
		return nil, err
	}
	if s.services, err = conf.Services(); err != nil {
		return nil, err
	}
	for _, proto := range []string{"imap", "pop3"} {
		var o struct {
			Limit int `dovecot:"mail_max_userip_connections"`
		}
		if err := conf.For(config.Context{Protocol: proto}).Decode(&o); err != nil {
			return nil, err
		}
		s.limits[proto] = o.Limit
	}
	if s.BaseDir, err = filepath.Abs(s.BaseDir); err != nil {
		return nil, err
	}
	if s.Hostname == "" {
		s.Hostname, _ = os.Hostname()
	}
	problems := s.unbuilt()
	s.without = slices.DeleteFunc(slices.Clone(problems), func(p config.Problem) bool { return p.Severity != config.SeverityRefused })
	return s, errors.Join(s.check(), config.Stop(problems, force))
}

// known are the protocols that mrad speaks. sieve is listened to, so that
// whoever asks is told; see serveSieve.
var known = []string{"imap", "pop3", "lmtp", "sieve"}

func (s *settings) check() error {
	for _, p := range s.Protocols {
		if !slices.Contains(known, p) && p != "none" {
			return s.errorAt("protocols", fmt.Sprintf("protocol %q is not supported", p), "the protocols are "+strings.Join(known, ", "))
		}
	}
	switch s.SSL {
	case "yes", "no", "required":
	default:
		return s.errorAt("ssl", "value "+strconv.Quote(s.SSL)+" is none of yes, no, required", "write ssl = required")
	}
	if s.SSL != "no" && s.Cert == "" && s.conf.IsSet("ssl") {
		return s.errorAt("ssl", "ssl_cert is not set", "write ssl_cert = </path/to/certificate.pem and ssl_key likewise, or ssl = no")
	}
	return nil
}

// unbuilt tells what the configuration asks for that there is not.
func (s *settings) unbuilt() []config.Problem {
	c := unbuilt.Checker{Conf: s.conf, Protocols: s.Protocols, Location: func(mail string) error { _, err := location.Parse(mail); return err }}
	for _, i := range inetServices {
		c.Services = append(c.Services, i.service)
	}
	return c.Problems()
}

func (s *settings) errorAt(name, text, hint string) error {
	file, line := s.conf.Where(name)
	if file == "" {
		file = s.path
	}
	return &config.Error{File: file, Line: line, Text: name + ": " + text, Hint: hint}
}

// tls tells whether TLS is offered at all.
func (s *settings) tls() bool { return s.SSL != "no" && s.Cert != "" }

func (s *settings) speaks(proto string) bool { return slices.Contains(s.Protocols, proto) }

// service returns the service of a name.
func (s *settings) service(name string) config.DovecotService {
	for _, v := range s.services {
		if v.Name == name {
			return v
		}
	}
	return config.DovecotService{Name: name}
}

// setupFor decodes what a role needs; it reads no file.
func (s *settings) setupFor(proto string) (*setup, error) {
	var o struct {
		Greeting         string        `dovecot:"login_greeting"`
		DisablePlaintext bool          `dovecot:"disable_plaintext_auth"`
		Verbose          bool          `dovecot:"auth_verbose"`
		Trusted          string        `dovecot:"login_trusted_networks"`
		Balancers        string        `dovecot:"haproxy_trusted_networks"`
		BalancerTimeout  time.Duration `dovecot:"haproxy_timeout"`
		LockTimeout      time.Duration `dovecot:"mbox_lock_timeout"`
		DotlockStale     time.Duration `dovecot:"mbox_dotlock_change_timeout"`
		IdleNotify       time.Duration `dovecot:"imap_idle_notify_interval"`
		UIDL             string        `dovecot:"pop3_uidl_format"`
		NoFlagUpdates    bool          `dovecot:"pop3_no_flag_updates"`
		Workarounds      []string      `dovecot:"pop3_client_workarounds"`
		MaxLine          int64         `dovecot:"imap_max_line_length"`
		IDSend           string        `dovecot:"imap_id_send"`
		Capability       string        `dovecot:"imap_capability"`
		Bends            []string      `dovecot:"imap_client_workarounds"`
		LogFormat        login.LogFormat
	}
	if err := s.conf.For(config.Context{Protocol: proto}).Decode(&o); err != nil {
		return nil, err
	}
	trusted, err := prefixes(o.Trusted)
	if err != nil {
		return nil, s.errorAt("login_trusted_networks", err.Error(), "write networks as 192.0.2.0/24")
	}
	balancers, err := prefixes(o.Balancers)
	if err != nil {
		return nil, s.errorAt("haproxy_trusted_networks", err.Error(), "write networks as 192.0.2.0/24")
	}
	u := &setup{Balancers: balancers, BalancerTimeout: o.BalancerTimeout, Greeting: greeting(o.Greeting), DisablePlaintext: o.DisablePlaintext, Verbose: o.Verbose, RequireTLS: s.SSL == "required",
		Trusted: trusted, LockTimeout: o.LockTimeout, DotlockStale: o.DotlockStale, IdleNotify: o.IdleNotify,
		UIDL: o.UIDL, NoFlagUpdates: o.NoFlagUpdates, Workarounds: o.Workarounds, MaxLine: int(min(o.MaxLine, maxLine)), Hostname: s.Hostname, IDSend: o.IDSend, Capability: o.Capability, Bends: o.Bends}
	u.TLS, u.LogFormat = s.tlsOptions(), o.LogFormat.Custom()
	u.Exceptions, u.BaseDir = s.exceptions(proto), s.BaseDir
	return u, nil
}

// exceptions are the sections for some networks, from the one that says least to
// the one that counts most, and between them those of the protocol.
func (s *settings) exceptions(proto string) (list []login.Exception) {
	s.conf.Filters(func(f config.Filter, b *config.Block) {
		if f == (config.Filter{}) || f.LocalName != "" || f.Contradicts(config.Context{Protocol: proto}) {
			return
		}
		x := login.Exception{Remote: f.Remote, Local: f.Local}
		if v := b.Find("disable_plaintext_auth"); v != nil {
			yes := v.Value == "yes"
			x.DisablePlaintext = &yes
		}
		if v := b.Find("ssl"); v != nil {
			yes := v.Value == "required"
			x.RequireTLS = &yes
		}
		if x.DisablePlaintext != nil || x.RequireTLS != nil {
			list = append(list, x)
		}
	})
	if !slices.ContainsFunc(list, func(x login.Exception) bool { return x.Remote.IsValid() || x.Local.IsValid() }) {
		return nil // what only the protocol says is in the settings already
	}
	return list
}

// tlsOptions are the settings of TLS but for certificates. What ssl_options can
// say beside no_ticket is so anyway: Go compresses nothing.
func (s *settings) tlsOptions() cert.Options {
	o := cert.Options{CipherList: s.Ciphers, NoTickets: slices.Contains(s.SSLOptions, "no_ticket")}
	if s.MinProtocol != "" {
		o.Protocols = []string{">=" + s.MinProtocol}
	}
	return o
}

// maxLine bounds imap_max_line_length, in octets: each session may hold as much.
const maxLine = 64 << 20

// mailSetup decodes what a user's process needs for its sessions of all protocols.
func (s *settings) mailSetup() (*setup, error) {
	u, err := s.setupFor("imap")
	if err != nil {
		return nil, err
	}
	pop3, err := s.setupFor("pop3")
	if err != nil {
		return nil, err
	}
	u.UIDL, u.NoFlagUpdates, u.Workarounds = pop3.UIDL, pop3.NoFlagUpdates, pop3.Workarounds
	if u.Attributes, err = spaces.Attributes(s.conf); err != nil {
		return nil, err
	}
	if u.Spaces, err = spaces.Read(s.conf); err == nil {
		u.Extras, err = extras.ReadAll(s.conf)
	}
	return u, err
}

// greeting keeps an administrator's text. Dovecot's own default is not said:
// it would name another program.
func greeting(s string) string {
	if s == "Dovecot ready." || s == "Dovecot (Debian) ready." {
		return ""
	}
	return s
}

func prefixes(s string) (list []netip.Prefix, err error) {
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' }) {
		p, err := netip.ParsePrefix(word)
		if a, aerr := netip.ParseAddr(word); err != nil && aerr == nil {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// authOptions makes package auth's options.
func (s *settings) authOptions() (auth.Options, error) { return authconf.Options(s.conf, s.Hostname) }
