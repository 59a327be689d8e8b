package dovecot

import (
	"fmt"
	"strconv"
	"strings"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot/lex"
)

// legacyState follows the sections of Dovecot 1.x that 2.3 still understands.
type legacyState struct {
	auth   int // depth inside auth { }
	listen int // depth inside socket listen { }
	socket struct{ path, mode, user, group string }
	master bool
}

func (r *reader) obsolete(format string, args ...any) {
	r.Warn(fmt.Sprintf(format, args...), "Obsolete setting in %s:%d: %s")
}

// legacyLine handles what Dovecot 2.3 accepts from older configurations; it
// returns false for a line that means what it says.
func (r *reader) legacyLine(l lex.Line) bool {
	switch l.Kind {
	case lex.Value:
		if t := r.top(); t.path == "" {
			return r.legacyAuth(l) || r.legacyProtocol(l) || r.legacyRoot(l)
		} else if t.path == "plugin" && l.Key == "imap_zlib_compress_level" {
			r.obsolete("%s has been replaced by imap_compress_deflate_level", l.Key)
			r.rename(l, "imap_compress_deflate_level")
			return true
		}
		return r.legacyAuth(l)
	case lex.Begin:
		return r.legacyBegin(l)
	case lex.End:
		return r.legacyEnd()
	}
	return false
}

// rename applies a setting under another name.
func (r *reader) rename(l lex.Line, key string) { r.assign(key, l.Value) }

// assign applies key = value in the current section.
func (r *reader) assign(key, value string) {
	// An error is noted by setting and ends the reading at the next line.
	_ = r.setting(lex.Line{Kind: lex.Value, Key: key, Value: value})
}

// legacyRenames are settings that only have another name now.
func legacyRename(key string) string {
	switch key {
	case "dbox_rotate_size":
		return "mdbox_rotate_size"
	}
	if rest, ok := strings.CutPrefix(key, "mail_cache_compress_"); ok {
		return "mail_cache_purge_" + rest
	}
	return ""
}

// legacyRoot handles settings of the root and of filters.
func (r *reader) legacyRoot(l lex.Line) bool {
	if to := legacyRename(l.Key); to != "" {
		r.obsolete("%s has been renamed to %s", l.Key, to)
		r.rename(l, to)
		return true
	}
	switch l.Key {
	case "protocols":
		r.legacyProtocols(l.Value)
	case "ssl_cert_file", "ssl_key_file", "ssl_ca_file":
		r.legacyFile(l)
	case "ssl_disable":
		r.legacyInverse(l, "ssl", "no", "yes")
	case "fsync_disable":
		r.legacyInverse(l, "mail_fsync", "never", "optimized")
	case "ssl_parameters_regenerate", "ssl_dh_parameters_length":
		r.obsolete("%s is no longer needed", l.Key)
	case "ssl_protocols":
		r.legacySSL(l)
	case "sieve":
		r.obsolete("%s has been moved into plugin {} section", l.Key)
		r.plugin(l.Key, l.Value)
	case "sieve_storage":
		r.obsolete("sieve_storage has been moved into plugin { sieve_dir }")
		r.plugin(l.Key, l.Value)
	case "auth_cache_size":
		n, err := strconv.ParseUint(l.Value, 10, 32)
		if err != nil || n == 0 || n >= 1024 {
			return false
		}
		r.obsolete("auth_cache_size value no longer defaults to megabytes. Use %dM", n)
		r.assign(l.Key, l.Value+"M")
	case "imap_client_workarounds":
		r.legacyWorkarounds(l.Value)
	case "login_dir", "dbox_rotate_min_size", "dbox_rotate_days", "director_consistent_hashing", "mail_log_max_lines_per_sec", "maildir_copy_preserve_filename":
		r.obsolete("%s has been removed", l.Key)
	default:
		return false
	}
	return true
}

// plugin sets a plugin setting from outside plugin { }.
func (r *reader) plugin(key, value string) {
	b := openSub(r.top().block, "plugin", "", r.File, r.Line)
	b.set(Value{Name: key, Value: value, Show: value, File: r.File, Line: r.Line})
}

func (r *reader) legacyFile(l lex.Line) {
	if l.Value == "" {
		return
	}
	key := strings.TrimSuffix(l.Key, "_file")
	r.obsolete("%s has been replaced by %s = <file", l.Key, key)
	_ = r.setting(lex.Line{Kind: lex.File, Key: key, Value: l.Value})
}

// legacyInverse renames a setting of the kind "disable".
func (r *reader) legacyInverse(l lex.Line, to, yes, no string) {
	value := l.Value
	switch {
	case strings.EqualFold(value, "yes"):
		value = yes
	case strings.EqualFold(value, "no"):
		value = no
	}
	r.obsolete("%s has been renamed to %s", l.Key, to)
	r.assign(to, value)
}

// legacyProtocols takes imaps, pop3s and managesieve out of protocols.
func (r *reader) legacyProtocols(value string) {
	var list []string
	have := map[string]bool{}
	for _, p := range strings.Fields(value) {
		have[p] = true
		switch p {
		case "imaps", "pop3s":
			continue
		case "managesieve":
			r.obsolete("protocols=managesieve has been renamed to protocols=sieve")
			p = "sieve"
		}
		list = append(list, p)
	}
	for _, p := range []string{"imap", "pop3"} {
		switch {
		case have[p+"s"] && have[p]:
			r.obsolete("'%ss' protocol is no longer necessary, remove it", p)
		case have[p+"s"]:
			r.obsolete("'%[1]ss' protocol can no longer be specified (use protocols=%[1]s). to disable non-ssl %[1]s, "+
				"use service %[1]s-login { inet_listener %[1]s { port=0 } }", p)
			list = append(list, p)
			r.service(p+"-login", "inet_listener", p, "port", "0")
		}
	}
	r.assign("protocols", strings.Join(list, " "))
}

// service sets a setting of a service or, with kind, of one of its listeners.
func (r *reader) service(name, kind, listener, key, value string) {
	b := openSub(r.d.root, "service", name, r.File, r.Line)
	path := "service"
	if kind != "" {
		b, path = openSub(b, kind, listener, r.File, r.Line), "service/"+kind
	}
	f := frame{block: b, outer: r.d.root, path: path}
	_ = r.put(&f, Value{Name: key, Value: value, Show: value, File: r.File, Line: r.Line})
}

func (r *reader) legacyWorkarounds(value string) {
	var list []string
	for _, w := range strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == ',' }) {
		switch w {
		case "outlook-idle":
			r.obsolete("imap_client_workarounds=outlook-idle is no longer necessary")
			list = append(list, "")
		case "netscape-eoh":
			r.obsolete("imap_client_workarounds=netscape-eoh is no longer supported")
			list = append(list, "")
		default:
			list = append(list, w)
		}
	}
	r.assign("imap_client_workarounds", strings.Join(list, " "))
}

// legacySSL turns a list of protocols into the oldest one that is allowed.
func (r *reader) legacySSL(l lex.Line) {
	r.obsolete("%s has been replaced by ssl_min_protocol", l.Key)
	lowest, err := lowestProtocol(l.Value)
	if err != "" {
		text := fmt.Sprintf("Could not find a minimum ssl_min_protocol setting from ssl_protocols = %s: %s", l.Value, err)
		r.Warnings = append(r.Warnings, base.Warning{File: r.File, Line: r.Line, Text: text, Postfix: text})
		return
	}
	r.assign("ssl_min_protocol", lowest)
}

func lowestProtocol(value string) (lowest, problem string) {
	versions := [...]string{"SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"}
	var state [len(versions)]int
	explicit := false
words:
	for _, w := range strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == ',' }) {
		name, not := strings.CutPrefix(w, "!")
		for i, v := range versions {
			if v != name {
				continue
			}
			state[i] = -1
			if !not {
				state[i], explicit = 1, true
			}
			continue words
		}
		return "", fmt.Sprintf("Unrecognized protocol '%s'", name)
	}
	for i, v := range versions {
		if explicit && state[i] > 0 || !explicit && state[i] == 0 {
			return v, ""
		}
	}
	return "", "All protocols disabled"
}

// legacyServices are settings that became settings of services: those of the
// login services, of the mail services, and of auth.
func legacyService(key string) (services []string, to string) {
	login := []string{"imap-login", "pop3-login", "managesieve-login"}
	mail := []string{"imap", "pop3", "managesieve"}
	auth := []string{"auth"}
	switch key {
	case "login_chroot":
		return login, "chroot"
	case "login_user":
		return login, "user"
	case "login_executable":
		return login, "executable"
	case "login_process_size":
		return login, "vsz_limit"
	case "login_process_per_connection":
		return login, "service_count"
	case "login_processes_count":
		return login, "process_min_avail"
	case "login_max_processes_count":
		return login, "process_limit"
	case "login_max_connections":
		return login, "client_limit"
	case "max_mail_processes":
		return mail, "process_limit"
	case "mail_executable":
		return mail, "executable"
	case "mail_process_size":
		return mail, "vsz_limit"
	case "mail_drop_priv_before_exec":
		return mail, "drop_priv_before_exec"
	case "auth_executable":
		return auth, "executable"
	case "auth_process_size":
		return auth, "vsz_limit"
	case "auth_user":
		return auth, "user"
	case "auth_chroot":
		return auth, "chroot"
	}
	return nil, ""
}

// legacyProtocol handles settings that moved into services and listeners.
func (r *reader) legacyProtocol(l lex.Line) bool {
	services, to := legacyService(l.Key)
	if services == nil {
		return r.legacyListen(l)
	}
	value := l.Value
	switch l.Key {
	case "login_chroot":
		value = map[bool]string{true: "", false: "login"}[value == "no"]
	case "login_process_per_connection":
		value = map[bool]string{true: "0", false: "1"}[value == "no"]
	case "login_process_size", "mail_process_size", "auth_process_size":
		value += " M"
	}
	if services[0] == "auth" {
		r.obsolete("%s has been replaced by service auth { %s }", l.Key, to)
	} else {
		r.obsolete("%s has been replaced by service { %s }", l.Key, to)
	}
	for _, s := range services {
		if r.protocolMeans(s) {
			r.service(s, "", "", to, value)
		}
	}
	return true
}

// protocolMeans tells whether a setting of the current filter is about a service.
func (r *reader) protocolMeans(service string) bool {
	p := r.top().filter.Protocol
	name := strings.TrimSuffix(service, "-login")
	return p == "" || p == name || p == "sieve" && name == "managesieve" || service == "auth"
}

// legacyListen handles listen with a port or inside protocol { }, and ssl_listen.
func (r *reader) legacyListen(l lex.Line) bool {
	root := r.top().filter == Filter{}
	ssl := ""
	switch {
	case l.Key == "ssl_listen":
		ssl = "s"
	case l.Key != "listen" || root && !listenHasPort(l.Value):
		return false
	}
	if l.Value == "" {
		return true
	}
	value := l.Value
	if i := strings.LastIndexByte(value, ':'); i >= 0 && listenHasPort(value) {
		r.obsolete("%s=..:port has been replaced by service { inet_listener { port } }", l.Key)
		r.listeners(ssl, "port", value[i+1:])
		value = value[:i]
	}
	if root && ssl == "" {
		r.assign(l.Key, value)
		return true
	}
	r.obsolete("protocol { %s } has been replaced by service { inet_listener { address } }", l.Key)
	r.listeners(ssl, "address", value)
	return true
}

func (r *reader) listeners(ssl, key, value string) {
	for _, p := range []string{"imap", "pop3"} {
		if r.protocolMeans(p) {
			r.service(p+"-login", "inet_listener", p+ssl, key, value)
		}
	}
	if ssl == "" && r.protocolMeans("managesieve") {
		r.service("managesieve-login", "inet_listener", "managesieve", key, value)
	}
}

func listenHasPort(value string) bool {
	if !strings.Contains(value, ":") {
		return false
	}
	for _, a := range strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == ',' }) {
		if a == "*" || a == "::" || a == "[::]" {
			continue
		}
		if _, err := parseNet(a); err != nil {
			return true
		}
	}
	return false
}

// legacyBegin handles sections of old.
func (r *reader) legacyBegin(l lex.Line) bool {
	atRoot := r.top().path == ""
	switch {
	case r.legacy.auth > 0:
		return r.legacySocket(l)
	case atRoot && l.Key == "auth":
		r.obsolete("add auth_ prefix to all settings inside auth {} and remove the auth {} section completely")
		r.legacy.auth = 1
		return true
	case atRoot && l.Key == "protocol" && l.Value == "managesieve":
		r.obsolete("protocol managesieve {} has been replaced by protocol sieve { }")
		_ = r.begin("protocol", "sieve")
		return true
	case atRoot && l.Key == "service" && l.Value == "dns_client":
		r.obsolete("service dns_client {} has been replaced by service dns-client { }")
		_ = r.begin("service", "dns-client")
		return true
	}
	return false
}

// legacySocket handles the sections inside auth { }.
func (r *reader) legacySocket(l lex.Line) bool {
	s := &r.legacy
	s.auth++
	switch {
	case (l.Key == "passdb" || l.Key == "userdb") && s.auth == 2:
		r.obsolete("%[1]s %[2]s {} has been replaced by %[1]s { driver=%[2]s }", l.Key, l.Value)
		_ = r.begin(l.Key, "")
		r.assign("driver", l.Value)
		return true
	case l.Key == "socket" && s.auth == 2 && l.Value == "listen":
		s.listen++
		return true
	}
	if s.listen > 0 {
		s.listen++
	}
	if (l.Key == "master" || l.Key == "client") && s.listen == 2 {
		s.master = l.Key == "master"
		return true
	}
	return false
}

// legacyAuth handles settings inside auth { }.
func (r *reader) legacyAuth(l lex.Line) bool {
	s := &r.legacy
	if s.listen == 2 {
		switch l.Key {
		case "path":
			s.socket.path = l.Value
		case "mode":
			s.socket.mode = l.Value
		case "user":
			s.socket.user = l.Value
		case "group":
			s.socket.group = l.Value
		default:
			return false
		}
		return true
	}
	if s.auth != 1 || strings.HasPrefix(l.Key, "auth_") {
		return false
	}
	l.Key = "auth_" + l.Key
	if !r.legacyProtocol(l) {
		r.assign(l.Key, l.Value)
	}
	return true
}

// legacyEnd closes a section that legacyBegin opened.
func (r *reader) legacyEnd() bool {
	s := &r.legacy
	if s.auth > 0 {
		if s.auth--; s.auth == 0 {
			return true
		}
	}
	if s.listen == 0 {
		return false
	}
	if s.listen == 2 {
		r.socketListener()
	}
	s.listen--
	return true
}

// socketListener turns socket listen { client { path } } into a listener of the
// service auth.
func (r *reader) socketListener() {
	s := r.legacy.socket
	r.legacy.socket = struct{ path, mode, user, group string }{}
	if s.path == "" {
		_ = r.Fail("socket listen {} is missing path", "")
		return
	}
	path := strings.TrimPrefix(s.path, "/run/dovecot/")
	openSub(openSub(r.d.root, "service", "auth", r.File, r.Line), "unix_listener", path, r.File, r.Line)
	for _, kv := range [][2]string{{"mode", s.mode}, {"user", s.user}, {"group", s.group}} {
		if kv[1] != "" {
			r.service("auth", "unix_listener", path, kv[0], kv[1])
		}
	}
}
