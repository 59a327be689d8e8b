package newer

import (
	"slices"
	"strings"
)

// locationKeys are the settings of 2.4 that 2.3 has as keys of mail_location,
// in the order in which they are written. A key that ends in = takes the
// value; another stands for the value named after it.
var locationKeys = []struct{ name, key, when string }{
	{"mailbox_list_layout", "LAYOUT=", ""}, {"mail_inbox_path", "INBOX=", ""}, {"mail_index_path", "INDEX=", ""}, {"mail_control_path", "CONTROL=", ""},
	{"mail_index_private_path", "INDEXPVT=", ""}, {"mail_cache_path", "INDEXCACHE=", ""}, {"mail_volatile_path", "VOLATILEDIR=", ""},
	{"mail_alt_path", "ALT=", ""}, {"mailbox_directory_name", "DIRNAME=", ""}, {"mailbox_root_directory_name", "MAILBOXDIR=", ""},
	{"mailbox_subscriptions_filename", "SUBSCRIPTIONS=", ""}, {"mailbox_list_index_prefix", "LISTINDEX=", ""},
	{"mailbox_list_visible_escape_char", "BROKENCHAR=", ""}, {"mailbox_list_iter_from_index_dir", "ITERINDEX", "yes"},
	{"mailbox_list_utf8", "UTF-8", "yes"}, {"mailbox_list_drop_noselect", "NO-NOSELECT", "yes"}, {"mail_alt_check", "ALTNOCHECK", "no"},
	{"mailbox_list_validate_fs_names", "NO-FS-VALIDATION", "no"}, {"mailbox_directory_name_legacy", "FULLDIRNAME", "no"},
}

// isLocation tells the settings of which mail_location is made.
func isLocation(name string) bool {
	return name == "mail_driver" || name == "mail_path" || slices.ContainsFunc(locationKeys, func(k struct{ name, key, when string }) bool { return k.name == name })
}

// Location takes a mail_location of 2.3 apart into settings of 2.4. Keys that 2.4
// does not have are left out.
func Location(value string) (list [][2]string) {
	driver, rest, _ := strings.Cut(value, ":")
	parts := strings.Split(rest, ":")
	list = append(list, [2]string{"mail_driver", driver})
	if parts[0] != "" {
		list = append(list, [2]string{"mail_path", parts[0]})
	}
	for _, p := range parts[1:] {
		for _, k := range locationKeys {
			switch {
			case k.key == p:
				list = append(list, [2]string{k.name, k.when})
			case strings.HasSuffix(k.key, "=") && strings.HasPrefix(p, k.key):
				list = append(list, [2]string{k.name, p[len(k.key):]})
			}
		}
	}
	return list
}

// location makes the mail_location of a section, "" when it says nothing
// about where mail is. Settings that it does not have are those around it.
func (r *reader) location(s *scope) (value string, at *setting) {
	for _, x := range s.settings {
		if isLocation(x.name) {
			at = x
		}
	}
	if at == nil {
		return "", nil
	}
	get := func(name string) *setting { return s.outer(name) }
	driver := get("mail_driver")
	if driver == nil {
		if get("mail_path") != nil {
			r.bad(get("mail_path"), "mail_driver is not set", "write mail_driver = maildir or mbox")
		}
		return "", nil
	}
	value = driver.value + ":"
	if p := get("mail_path"); p != nil {
		value += p.value
	}
	for _, k := range locationKeys {
		x := get(k.name)
		switch {
		case x == nil:
		case k.when == "" && x.value != "":
			value += ":" + k.key + x.value
		case k.when != "" && x.value == k.when:
			value += ":" + k.key
		}
	}
	old, err := Expression("mail_location", value)
	if err != nil {
		r.bad(at, err.Error(), "use variables such as %{user}, %{user | username}, %{user | domain} and %{home}")
	}
	return old, at
}
