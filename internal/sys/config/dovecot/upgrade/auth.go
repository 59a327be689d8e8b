package upgrade

import (
	"fmt"
	"strings"

	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/newer"
)

// auth writes a passdb or userdb. A section is named by its driver, and a number
// from the second on.
func (w *writer) auth(b *dovecot.Block) {
	driver := text(b, "driver")
	if driver == "" {
		driver = "unnamed"
	}
	key := b.Kind + "/" + driver
	w.used[key]++
	name := driver
	if n := w.used[key]; n > 1 {
		name = fmt.Sprintf("%s%d", driver, n)
	}
	external := w.external(b, driver)
	w.open(b.Kind, name)
	if name != driver {
		w.line("driver", driver)
	}
	for _, l := range external {
		w.line(l[0], l[1])
	}
	w.args(b, driver)
	for _, v := range b.Values {
		switch v.Name {
		case "skip", "result_success", "result_failure", "result_internalfail", "deny", "master", "username_filter":
			w.line(v.Name, v.Value)
		case "mechanisms":
			w.line("mechanisms_filter", v.Value)
		}
	}
	w.close()
}

func text(b *dovecot.Block, name string) string {
	if v := b.Find(name); v != nil {
		return v.Value
	}
	return ""
}

// args writes what 2.3 has in args, default_fields and override_fields.
func (w *writer) args(b *dovecot.Block, driver string) {
	words := strings.Fields(text(b, "args"))
	fields := pairs(strings.Fields(text(b, "default_fields")), ":default")
	over := pairs(strings.Fields(text(b, "override_fields")), "")
	switch driver {
	case "passwd-file":
		w.passwdFile(b, words)
	case "pam":
		w.pam(words)
	case "static":
		rest := words[:0]
		for _, x := range words {
			if value, ok := strings.CutPrefix(x, "password="); ok && b.Kind == "passdb" {
				w.variable("password", value)
			} else if x == "allow_all_users=yes" && b.Kind == "userdb" {
				w.line("static_allow_all_users", "yes")
			} else {
				rest = append(rest, x)
			}
		}
		over = pairs(rest, "") // an override_fields of its own comes back by a comment
	}
	if fields = append(over, fields...); len(fields) > 0 {
		w.open("fields", "")
		for _, f := range fields {
			w.variable(f[0], f[1])
		}
		w.close()
	}
}

// variable writes a setting whose value may hold variables.
func (w *writer) variable(name, value string) {
	if v, err := newer.ExpressionNewer(name, value); err == nil {
		w.line(name, v)
	}
}

func pairs(words []string, suffix string) (list [][2]string) {
	for _, x := range words {
		name, value, _ := strings.Cut(x, "=")
		list = append(list, [2]string{name + suffix, value})
	}
	return list
}

func (w *writer) passwdFile(b *dovecot.Block, words []string) {
	for i, x := range words {
		switch key, value, _ := strings.Cut(x, "="); {
		case key == "scheme" && b.Kind == "passdb":
			w.line("default_password_scheme", value)
		case key == "username_format":
			w.variable("auth_username_format", value)
		case i == len(words)-1:
			w.variable("passwd_file_path", x)
		}
	}
}

func (w *writer) pam(words []string) {
	for i, x := range words {
		switch key, value, ok := strings.Cut(x, "="); {
		case ok && (key == "session" || key == "setcred" || key == "failure_show_msg") || key == "max_requests":
			w.line(key, value)
		case i == len(words)-1 && !ok:
			w.line("service_name", x)
		}
	}
}

// external takes in the file that args names for SQL: 2.4 has its settings in
// the configuration itself. The server's section is written before the database's;
// what belongs into the latter is returned.
func (w *writer) external(b *dovecot.Block, driver string) (inside [][2]string) {
	if driver != "sql" || w.files == nil {
		return nil
	}
	contents, err := w.files(text(b, "args"))
	if err != nil {
		return nil
	}
	settings := map[string]string{}
	for line := range strings.Lines(strings.ReplaceAll(contents, "\\\n", " ")) {
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); ok && !strings.HasPrefix(name, "#") {
			settings[name] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	if w.used["sql server"]++; w.used["sql server"] == 1 {
		w.server(settings)
	}
	add := func(old, name string) {
		if v, err := newer.ExpressionNewer(name, settings[old]); err == nil && v != "" {
			inside = append(inside, [2]string{name, strings.Join(strings.Fields(v), " ")})
		}
	}
	if b.Kind == "passdb" {
		add("default_pass_scheme", "default_password_scheme")
		add("password_query", "query")
		return inside
	}
	add("user_query", "query")
	add("iterate_query", "iterate_query")
	return inside
}

// server writes the section of the SQL server: mysql HOST { } and the like.
func (w *writer) server(settings map[string]string) {
	driver := settings["driver"]
	if driver == "" {
		return
	}
	w.line("sql_driver", driver)
	connect := map[string]string{}
	for _, kv := range pairs(strings.Fields(settings["connect"]), "") {
		connect[kv[0]] = kv[1]
	}
	if driver == "sqlite" {
		w.line("sqlite_path", settings["connect"])
		return
	}
	w.open(driver, orName(connect["host"], "localhost"))
	for _, k := range [][2]string{{"port", "port"}, {"dbname", "dbname"}, {"user", "user"}, {"password", "password"}} {
		if v := connect[k[0]]; v != "" && driver == "mysql" {
			w.line(k[1], v)
		}
	}
	if driver == "pgsql" {
		w.open("parameters", "")
		for _, k := range []string{"port", "dbname", "user", "password"} {
			if connect[k] != "" {
				w.line(k, connect[k])
			}
		}
		w.close()
	}
	w.close()
}
