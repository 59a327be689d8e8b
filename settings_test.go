package house

import (
	"go/ast"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
)

// settingTellers speak of all of Dovecot's settings, whatever is done with them.
var settingTellers = []string{"internal/sys/config", "cmd/mailadm", "cmd/mrad/unbuilt"}

// unwired are settings that a package's Options name and that no door fills
// yet; their rows say refused, or accepted, until one does.
var unwired = []string{"imap_id_send", "mail_temp_dir", "quota_max_mail_size"}

// schema is the file whose structs hold whole sections: reading one is not yet
// acting on it.
const schema = "internal/sys/config/dovecot/blocks.go"

// byName are settings that other names stand for, or that a section is named by.
var byName = []string{"mail", "mail_location", "name", "path"}

// TestSettings holds that the table of Dovecot's settings tells the truth, as
// TestParams does for main.cf. Whoever builds a setting gives its row in
// internal/sys/config/dovecot/settings.txt the state done, with a test that
// shows its behaviour.
func TestSettings(t *testing.T) {
	root, sections := readSettings(t)
	for _, p := range dovecot.Params("") {
		where := root[p.Name]
		switch {
		case p.State == base.StateDone && where == "" && !contains(byName, p.Name):
			t.Errorf("settings.txt: %s is done, but no code reads it", p.Name)
		case p.State != base.StateDone && where != "" && !contains(unwired, p.Name):
			t.Errorf("settings.txt: %s is %s, but %s reads it: is it done?", p.Name, p.State, where)
		}
	}
	for _, block := range []string{"passdb", "userdb", "namespace", "namespace/mailbox", "service", "service/unix_listener", "service/inet_listener"} {
		for _, p := range dovecot.Params(block) {
			if p.State == base.StateDone && !sections[p.Name] && !contains(byName, p.Name) {
				t.Errorf("settings.txt: %s %s is done, but %s does not read it", block, p.Name, schema)
			}
		}
	}
	for name, where := range root {
		if _, ok := dovecot.Lookup("", name); !ok && !strings.Contains(name, "/") && !contains(unwired, name) {
			t.Errorf("%s: no setting %s", where, name)
		}
	}
}

// readSettings returns the settings that code reads by tags of Options structs,
// and where; sections are those of the schema.
func readSettings(t *testing.T) (root map[string]string, sections map[string]bool) {
	root, sections = map[string]string{}, map[string]bool{}
	for _, f := range load(t) {
		if f.test || f.path != schema && within(f.pkg, settingTellers) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag, _ := strconv.Unquote(field.Tag.Value)
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("dovecot"), ",")
			switch {
			case name == "":
			case f.path == schema:
				sections[name] = true
			default:
				root[name] = "tag in " + f.path
			}
			return true
		})
	}
	return root, sections
}
