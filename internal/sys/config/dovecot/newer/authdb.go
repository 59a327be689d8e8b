package newer

import (
	"strings"
)

// authArgs makes the args of 2.3 from the settings of a passdb or userdb; driver
// says which they are.
func (r *reader) authArgs(s *scope, driver string) string {
	get := func(name string) string {
		x := s.find(name)
		if x == nil {
			return ""
		}
		return r.expand(x)
	}
	pass := s.kind == "passdb"
	var args []string
	add := func(key, value string) {
		if value != "" {
			args = append(args, key+value)
		}
	}
	switch driver {
	case "passwd-file":
		if pass {
			add("scheme=", get("passdb_default_password_scheme"))
		}
		add("username_format=", get("auth_username_format"))
		add("", get("passwd_file_path"))
	case "pam":
		for _, k := range []string{"session", "setcred", "failure_show_msg"} {
			if get("passdb_pam_"+k) == "yes" {
				args = append(args, k+"=yes")
			}
		}
		add("max_requests=", get("passdb_pam_max_requests"))
		add("", get("passdb_pam_service_name"))
	case "static":
		if pass {
			add("password=", get("passdb_static_password"))
		}
		args = append(args, r.fields(s, func(name string) (string, bool) { return name, !strings.HasSuffix(name, ":default") })...)
		if get("userdb_static_allow_all_users") == "yes" {
			args = append(args, "allow_all_users=yes")
		}
	}
	return strings.Join(args, " ")
}

// expand writes a setting's value in the words of 2.3.
func (r *reader) expand(s *setting) string {
	old, err := Expression(s.name, s.value)
	if err != nil {
		r.bad(s, err.Error(), "use variables such as %{user}, %{user | username}, %{user | domain} and %{home}")
	}
	return old
}

// fields lists the extra fields of a passdb or userdb that pick chooses, under
// the name that it gives them.
func (r *reader) fields(s *scope, pick func(string) (string, bool)) (list []string) {
	x := s.find(s.kind + "_fields")
	if x == nil {
		return nil
	}
	for _, it := range x.items {
		name, ok := pick(it.name)
		if !ok {
			continue
		}
		old, err := Expression(x.name, it.value)
		if err != nil {
			r.bad(x, err.Error(), "")
		}
		if it.value == "" {
			list = append(list, name)
			continue
		}
		list = append(list, name+"="+old)
	}
	return list
}

// authSettings are the settings of passdb and userdb that only have another name.
var authSettings = [][2]string{{"mechanisms_filter", "mechanisms"}, {"username_filter", "username_filter"}, {"skip", "skip"},
	{"result_success", "result_success"}, {"result_failure", "result_failure"}, {"result_internalfail", "result_internalfail"}, {"deny", "deny"},
	{"master", "master"}}

// writeAuth writes a passdb or userdb section.
func (r *reader) writeAuth(s *scope, o *out) {
	driver := s.name
	if x := s.find(s.kind + "_driver"); x != nil {
		driver = x.value
	}
	o.begin(s, s.kind, "")
	o.put(s.file, s.line, "driver", driver)
	if s.name != driver && strings.TrimRight(s.name, "0123456789") != driver {
		o.put(s.file, s.line, "name", s.name)
	}
	if args := r.authArgs(s, driver); args != "" {
		o.put(s.file, s.line, "args", args)
	}
	for _, n := range authSettings {
		if x := s.find(s.kind + "_" + n[0]); x != nil {
			o.put(x.file, x.line, n[1], x.text())
		}
	}
	if driver != "static" {
		if f := r.fields(s, func(n string) (string, bool) { return n, !strings.HasSuffix(n, ":default") }); f != nil {
			o.put(s.file, s.line, "override_fields", strings.Join(f, " "))
		}
	}
	if f := r.fields(s, func(n string) (string, bool) { return strings.CutSuffix(n, ":default") }); f != nil {
		o.put(s.file, s.line, "default_fields", strings.Join(f, " "))
	}
	r.authRest(s, driver)
	o.end(s)
}

// authRest refuses what a database's section says and its driver does not take in.
func (r *reader) authRest(s *scope, driver string) {
	for _, x := range s.settings {
		row, known := rename(x.name)
		switch {
		case known && row.turn == "accepted" || known && row.turn == "refused" && x.value == row.old:
		case strings.HasPrefix(x.name, s.kind+"_") && !isQuery(x.name) && !strings.HasSuffix(x.name, "default_password_scheme"):
		case x.name == "passwd_file_path" && driver == "passwd-file", x.name == "auth_username_format" && driver == "passwd-file":
		case x.name == "passdb_default_password_scheme" && driver == "passwd-file":
		case driver == "sql" || driver == "ldap" || driver == "lua" || driver == "oauth2": // the driver is refused as a whole
		default:
			r.refuse(x, "is not supported inside "+s.kind+" "+s.name+" { }")
		}
	}
}
