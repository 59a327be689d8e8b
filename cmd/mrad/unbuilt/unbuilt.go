// Package unbuilt finds what a dovecot.conf asks for and mrad does not do.
// Nothing of a configuration is passed over in silence: a setting that differs
// from its default is one that mrad acts on, one that has no meaning here and
// whose absence changes nothing, or an error with its place. cmd/mrad asks it
// whenever it reads a configuration.
package unbuilt

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"packetboat/cmd/mrad/extras"
	"packetboat/internal/auth"
	"packetboat/internal/serve/login"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/checks"
)

// perProtocol are those that may differ between protocols; others in a
// protocol section are an error.
const perProtocol = ` auth_verbose disable_plaintext_auth imap_idle_notify_interval login_greeting login_trusted_networks
imap_capability imap_metadata imap_client_workarounds imap_id_send mail_max_userip_connections mbox_dotlock_change_timeout mbox_lock_timeout pop3_client_workarounds pop3_no_flag_updates pop3_uidl_format imap_max_line_length haproxy_timeout haproxy_trusted_networks login_log_format login_log_format_elements
lmtp_add_received_header lmtp_hdr_delivery_address lmtp_proxy lmtp_rcpt_check_quota lmtp_save_to_detail_mailbox lmtp_user_concurrency_limit lda_mailbox_autocreate lda_mailbox_autosubscribe quota_full_tempfail `

// logPaths do nothing inside a protocol section: the lines of Dovecot's services go
// to its log process, which reads these settings outside of all sections.
const logPaths = ` log_path info_log_path debug_log_path `

// rejections are what a mail says that refuses another one: dovecot-lda sends such
// mails, and reads these settings in its own protocol section; no other protocol
// does as long as there is no Sieve.
const rejections = ` postmaster_address rejection_reason rejection_subject sendmail_path submission_host lda_original_recipient_header `

// sameAs are values that say in other words what mrad does anyway.
var sameAs = map[string][]string{
	"mbox_read_locks":  {"fcntl"},
	"mbox_write_locks": {"fcntl dotlock", "dotlock fcntl", "fcntl", "dotlock"}, // both are taken in any case
	"shutdown_clients": {"yes"},
	"syslog_facility":  {"mail"},
	"mail_plugins":     {""},
	"mail_temp_dir":    {"/tmp"},
	"ssl_key_password": {""},
	"mail_chroot":      {""},
}

// Checker holds a configuration against what there is.
type Checker struct {
	Conf      *config.Dovecot
	Protocols []string           // that are switched on
	Services  []string           // that have ports
	Location  func(string) error // reads a mail location without variables
}

// Check returns every problem that keeps mrad from starting, joined, each a
// *config.Error.
func (s Checker) Check() error { return config.Stop(s.Problems(), false) }

// Problems returns every setting that would change something and is not built
// (refused), and what Dovecot's own checks find, or nothing here could work with
// (errors).
func (s Checker) Problems() []config.Problem {
	refused := slices.Concat(s.unbuiltValues(s.Conf.Root(), ""), s.Conf.Refused)
	s.Conf.Filters(func(f config.Filter, b *config.Block) {
		if f != (config.Filter{}) {
			refused = append(refused, s.unbuiltFilter(f, b)...)
		}
	})
	refused = append(refused, s.unbuiltBlocks(s.Conf.Root())...)
	return append(problems(slices.Concat(s.Conf.Unknown, checks.Check(s.Conf), s.unbuiltPatterns(), s.badQuota()), config.SeverityError),
		problems(refused, config.SeverityRefused)...)
}

func problems(errs []error, severity config.Severity) (list []config.Problem) {
	for _, err := range errs {
		p := config.Problem{Severity: severity, Text: err.Error()}
		var e *config.Error
		if errors.As(err, &e) {
			p.File, p.Line, p.Text, p.Hint = e.File, e.Line, e.Text, e.Hint
		}
		list = append(list, p)
	}
	return list
}

func (s Checker) errorAt(name, text, hint string) error {
	file, line := s.Conf.Where(name)
	if file == "" {
		file = s.Conf.Path
	}
	return &config.Error{File: file, Line: line, Text: name + ": " + text, Hint: hint}
}

func has(list, name string) bool {
	for word := range strings.FieldsSeq(list) {
		if word == name {
			return true
		}
	}
	return false
}

// unbuiltValues looks at the settings of the root or of a protocol section.
func (s Checker) unbuiltValues(b *config.Block, proto string) (errs []error) {
	for _, v := range b.Values {
		p, _ := dovecot.Lookup("", v.Name)
		built := p.State == base.StateDone
		if v.Name == "mail_attribute_dict" && v.Value != "" && !strings.HasPrefix(v.Value, "file:") {
			built = false // other drivers of dict
		}
		known := built && (proto == "" || has(perProtocol, v.Name) || has(logPaths, v.Name) || has(rejections, v.Name) || s.Conf.Get(v.Name) == v.Value)
		if known || p.State == base.StateAccepted || v.Value == p.Default || slices.Contains(sameAs[v.Name], strings.Join(strings.Fields(v.Value), " ")) {
			continue
		}
		if strings.TrimSpace(v.Value) == "" && p.Default == "" {
			continue
		}
		text := "is not supported"
		if v.Name == "mail_plugins" {
			missing := unbuiltPlugins(v.Value)
			if missing == "" {
				continue
			}
			text = pluginText(missing)
		}
		if proto != "" && built {
			text = "is not supported inside protocol " + proto + " { }"
		}
		errs = append(errs, notBuilt(v.File, v.Line, setting(v), text))
	}
	return errs
}

// setting writes a setting for an error; a secret's value is left out.
func setting(v config.Value) string {
	if strings.Contains(v.Name, "password") || len(v.Value) > 60 {
		return v.Name
	}
	return v.Name + " = " + v.Value
}

func notBuilt(file string, line int, what, text string) error {
	return &config.Error{File: file, Line: line, Text: what + ": " + text, Hint: "remove it, or set its default"}
}

// unbuiltFilter looks at what differs for some clients only.
func (s Checker) unbuiltFilter(f config.Filter, b *config.Block) (errs []error) {
	proto := f.Protocol
	if f.LocalName != "" || f.Local.IsValid() || f.Remote.IsValid() || strings.HasPrefix(proto, "!") {
		for _, v := range b.Values {
			if p, _ := dovecot.Lookup("", v.Name); p.State == base.StateAccepted || s.Conf.Get(v.Name) == v.Value {
				continue
			}
			if f == (config.Filter{LocalName: f.LocalName}) && (v.Name == "ssl_cert" || v.Name == "ssl_key") {
				continue
			}
			if f.LocalName == "" && !strings.HasPrefix(proto, "!") && forNetworks(v) {
				continue
			}
			errs = append(errs, notBuilt(v.File, v.Line, setting(v), "sections local, local_name, remote and protocol !name are not supported"))
		}
	} else if slices.Contains(s.Protocols, proto) {
		errs = s.unbuiltValues(b, proto)
	} else {
		return nil // of dovecot-lda, doveadm, or a protocol that is not switched on
	}
	for _, sub := range b.Blocks {
		if sub.Kind != "plugin" { // plugins are mail_plugins' matter
			errs = append(errs, notBuilt(sub.File, sub.Line, sub.Kind, "is only supported outside of other sections"))
		}
	}
	return errs
}

// forNetworks tells whether a setting may differ between networks.
func forNetworks(v config.Value) bool {
	return v.Name == "disable_plaintext_auth" || v.Name == "ssl" && (v.Value == "yes" || v.Value == "required")
}

// unbuiltBlocks looks into the sections.
func (s Checker) unbuiltBlocks(root *config.Block) (errs []error) {
	for _, b := range root.Blocks {
		switch b.Kind {
		case "passdb":
			errs = append(errs, unbuiltIn(b)...)
		case "userdb":
			errs = append(errs, unbuiltIn(b)...)
		case "service":
			errs = append(errs, s.unbuiltService(b)...)
		}
	}
	for _, b := range s.Conf.Blocks("namespace") {
		if v := b.Find("disabled"); v == nil || v.Value != "yes" {
			errs = append(errs, s.unbuiltNamespace(b)...)
		}
	}
	return errs
}

// unbuiltIn refuses what differs from its default in b, but for the settings that
// are acted on or have no meaning here.
func unbuiltIn(b *config.Block) (errs []error) {
	path := b.Kind
	switch path {
	case "mailbox":
		path = "namespace/mailbox"
	case "inet_listener":
		path = "service/inet_listener"
	}
	for _, v := range b.Values {
		p, _ := dovecot.Lookup(path, v.Name)
		if p.State == base.StateRefused && v.Value != p.Default {
			errs = append(errs, notBuilt(v.File, v.Line, b.Kind+" { "+setting(v)+" }", "is not supported"))
		}
	}
	return errs
}

// unbuiltNamespace: mail of other users, and an inbox that POP3 and deliveries
// would not find, are not supported.
func (s Checker) unbuiltNamespace(b *config.Block) []error {
	errs := unbuiltIn(b)
	value := func(name string) string {
		if v := b.Find(name); v != nil {
			return v.Value
		}
		return ""
	}
	refuse := func(name, text string) {
		v := b.Find(name)
		errs = append(errs, notBuilt(v.File, v.Line, "namespace { "+setting(*v)+" }", text))
	}
	if value("type") == "shared" {
		refuse("type", "is not supported")
	}
	if strings.Contains(value("prefix"), "%") {
		refuse("prefix", "is not supported with variables")
	}
	if where := value("location"); where != "" && where != s.Conf.Get("mail_location") {
		if value("inbox") == "yes" {
			refuse("location", "is not supported for the inbox: set mail_location")
		} else if err := s.Location(strings.ReplaceAll(auth.Expand(where, &auth.Query{User: "x@y.z", Home: "/x"}), "~", "/x")); err != nil {
			refuse("location", err.Error())
		}
	}
	for _, m := range b.Blocks {
		errs = append(errs, unbuiltIn(m)...)
	}
	return errs
}

// unbuiltService: users, limits and numbers of processes are Dovecot's matter;
// another program, or a port of a service that mrad does not have, is not.
func (s Checker) unbuiltService(b *config.Block) (errs []error) {
	ours := slices.Contains(s.Services, b.Name) || own(b)
	errs = badScript(b)
	for _, v := range b.Values {
		runs := ours && !own(b) || b.Name == "imap" || b.Name == "pop3" || b.Name == "auth"
		if runs && (v.Name == "executable" && path.Base(v.Value) != b.Name || v.Name == "chroot" && v.Value != "" && v.Value != "login") {
			errs = append(errs, notBuilt(v.File, v.Line, "service "+b.Name+" { "+setting(v)+" }", "is not supported"))
		}
	}
	for _, l := range b.Blocks {
		if l.Kind != "inet_listener" {
			continue
		}
		port := l.Find("port")
		if !ours && b.Name != "auth" && port != nil && port.Value != "0" && !strings.HasPrefix(b.Name, "submission") {
			errs = append(errs, notBuilt(l.File, l.Line, "service "+b.Name+" { inet_listener "+l.Name+" }", "this service has no ports here"))
		}
		if v := l.Find("haproxy"); v != nil && v.Value == "yes" && b.Name == "lmtp" {
			errs = append(errs, notBuilt(v.File, v.Line, "inet_listener { haproxy }", "is not supported for lmtp"))
		}
		errs = append(errs, unbuiltIn(l)...)
	}
	return errs
}

// unbuiltPatterns looks at values that hold variables, and at the mail location.
func (s Checker) unbuiltPatterns() (errs []error) {
	for _, name := range []string{"mail_location", "mail_home", "auth_username_format"} {
		if err := auth.CheckPattern(s.Conf.Get(name)); err != nil {
			errs = append(errs, s.errorAt(name, err.Error(), "use variables such as %u, %n, %d, %h and %1n"))
		}
	}
	if format := s.Conf.Get("pop3_uidl_format"); !uidsOnly(format, strings.HasPrefix(s.Conf.Get("mail_location"), "maildir:")) {
		errs = append(errs, s.errorAt("pop3_uidl_format", "only %u and %v are supported, and %f for a Maildir", "write %08Xu%08Xv, and know that clients fetch their mail again"))
	}
	for _, name := range strings.Fields(s.Conf.Get("auth_mechanisms")) {
		if !auth.KnowsMechanism(name) {
			errs = append(errs, s.errorAt("auth_mechanisms", fmt.Sprintf("mechanism %q is not supported", name), "the mechanisms are "+auth.Mechanisms))
		}
	}
	for _, kind := range []string{"passdb", "userdb"} {
		for _, b := range s.Conf.Blocks(kind) {
			errs = append(errs, unbuiltDB(b)...)
		}
	}
	if err := auth.CheckPasswords(s.Conf.Get("auth_verbose_passwords")); err != nil {
		errs = append(errs, s.errorAt("auth_verbose_passwords", "is none of no, plain, sha1 and sha1:6", "write auth_verbose_passwords = sha1:6"))
	}
	if _, err := cert.CipherList(s.Conf.Get("ssl_cipher_list")); err != nil {
		errs = append(errs, s.errorAt("ssl_cipher_list", err.Error(), "remove the setting"))
	}
	format := login.LogFormat{Line: s.Conf.Get("login_log_format"), Elements: s.Conf.Get("login_log_format_elements")}
	if err := format.Check(); err != nil {
		errs = append(errs, s.errorAt("login_log_format_elements", err.Error(), "use variables such as %u, %r, %l, %m, %c and %{session}"))
	}
	errs = append(errs, s.unbuiltWords("pop3_client_workarounds", "outlook-no-nuls", "oe-ns-eoh")...)
	errs = append(errs, s.unbuiltWords("ssl_options", "no_compression", "compression", "no_ticket")...)
	if _, err := extras.ReadAll(s.Conf); err != nil {
		errs = append(errs, s.errorAt("mail_plugins", err.Error(), "correct the setting in plugin { }, or take the plugin out"))
	}
	return append(errs, s.badLocation()...)
}

// unbuiltWords tells of words in a list that are none of those known.
func (s Checker) unbuiltWords(name string, known ...string) (errs []error) {
	for _, w := range strings.FieldsFunc(s.Conf.Get(name), func(r rune) bool { return r == ' ' || r == ',' }) {
		if !slices.Contains(known, w) {
			errs = append(errs, s.errorAt(name, "unknown word "+w, "the words are "+strings.Join(known, ", ")))
		}
	}
	return errs
}

// uidsOnly tells whether pop3_uidl_format is made of the variables %u and %v, and
// %f where messages are files, and of one at least.
func uidsOnly(format string, files bool) bool {
	found := false
	for {
		_, rest, ok := strings.Cut(format, "%")
		if !ok {
			return found
		}
		rest = strings.TrimLeft(rest, "0123456789X")
		if rest == "" || rest[0] != 'u' && rest[0] != 'v' && (rest[0] != 'f' || !files) {
			return false
		}
		found, format = true, rest[1:]
	}
}

// unbuiltDB looks at a passdb or userdb section without opening its files.
func unbuiltDB(b *config.Block) (errs []error) {
	var d auth.DB
	for _, v := range b.Values {
		switch v.Name {
		case "driver":
			d.Driver = v.Value
			continue
		case "args":
			d.Args = v.Value
		case "default_fields", "override_fields":
		default:
			continue
		}
		if err := auth.CheckPattern(v.Value); err != nil {
			errs = append(errs, notBuilt(v.File, v.Line, b.Kind+" { "+v.Name+" }", err.Error()))
		}
	}
	check := d.CheckPassdb
	if b.Kind == "userdb" {
		check = d.CheckUserdb
	}
	if err := check(); err != nil && d.Driver != "" {
		at := b.Find("driver")
		if v := b.Find("args"); v != nil {
			at = v
		}
		errs = append(errs, &config.Error{File: at.File, Line: at.Line, Text: b.Kind + " { driver = " + d.Driver + " }: " + err.Error(),
			Hint: "the drivers are " + auth.Drivers(b.Kind)})
	}
	return errs
}

// badLocation reads mail_location with a name in place of its variables. It may
// be empty when each userdb gives its own.
func (s Checker) badLocation() []error {
	mail := s.Conf.Get("mail_location")
	if mail == "" && len(s.Conf.Blocks("userdb")) == 0 {
		return nil
	}
	if mail == "" {
		for _, b := range s.Conf.Blocks("userdb") {
			if v := b.Find("driver"); v != nil && v.Value == "passwd" {
				return []error{s.errorAt("mail_location", "is not set, and userdb passwd gives none", "write mail_location = mbox:~/mail:INBOX=/var/mail/%u")}
			}
		}
		return nil
	}
	mail = strings.NewReplacer("~", "/home/x", "%h", "/home/x", "%{home}", "/home/x").Replace(mail)
	if err := s.Location(auth.Expand(mail, &auth.Query{User: "x@y.z"})); err != nil {
		return []error{s.errorAt("mail_location", fmt.Sprintf("%v", err), "write mail_location = mbox:~/mail:INBOX=/var/mail/%u")}
	}
	return nil
}
